import { isMillraceError, MillraceError } from '../errors.js';
import { appenderActive } from '../log/append.js';
import type { StreamInfo } from '../log/index.js';
import { streamClosed } from '../log/rules.js';
import type { HttpContext, StreamHandler } from './context.js';
import { followStart } from './follow-chunked.js';
import { placeIn } from './live-response.js';
import type { StreamRoute } from './route.js';

/**
 * What needs a WebSocket, asked for without one. Browsers do not show why an upgrade was refused, so their clients ask
 * once more in this way: a refusal that the upgrade would get comes first.
 * Errors: `STREAM_NOT_FOUND`, `STREAM_GONE`, `STREAM_CLOSED`, `APPENDER_ACTIVE`, `OFFSET_OUT_OF_RANGE`,
 * `OFFSET_OF_ANOTHER_STREAM`, `INVALID_OFFSET`, else `UPGRADE_REQUIRED`.
 */
export const upgradeRequired: StreamHandler = async ({ req, res, route, context }) => {
  if (route.verb === 'append') await checkAppend(context, route);
  else checkFollow(await context.store.stat(route.stream), route);
  // HTTP/2 has no upgrades, and forbids these fields.
  if (req.httpVersionMajor === 1) {
    res.setHeader('Upgrade', 'websocket');
    res.setHeader('Connection', 'Upgrade');
  }
  const otherwise = route.verb === 'append' ? 'PUT or POST with the data as the body' : 'GET with ?live=raw';
  throw new MillraceError(
    'UPGRADE_REQUIRED',
    `This needs a WebSocket handshake (Upgrade: websocket), or ${otherwise}. If one was sent, a proxy has taken it away.`,
  );
};

async function checkAppend(context: HttpContext, route: StreamRoute): Promise<void> {
  let info: StreamInfo;
  try {
    info = await context.store.stat(route.stream);
  } catch (error) {
    // An appender makes the stream that it does not find.
    if (isMillraceError(error, 'STREAM_NOT_FOUND')) return;
    throw error;
  }
  if (info.closed) throw streamClosed(info);
  if (info.appender) throw appenderActive(info.path);
}

function checkFollow(info: StreamInfo, route: StreamRoute): void {
  placeIn(info, followStart(route));
}
