import type { StreamInfo } from '../log/index.js';
import { OFFSET_START, parseStartOffset, type StartOffset } from '../wire/offset.js';
import type { Exchange, StreamHandler } from './context.js';
import { raw } from './formats.js';
import { sendContent } from './get.js';
import { placeIn, sendLive } from './live-response.js';
import { startOffset } from './read.js';
import { requireMethod } from './respond.js';
import type { StreamRoute } from './route.js';

/** `GET ?live=raw`: the bytes from an offset on (default: the beginning), then live until the stream is closed. */
export const liveRaw: StreamHandler = async (exchange) => {
  requireMethod(exchange, 'GET');
  await sendRaw(exchange, 'closed');
};

/**
 * `GET ?verb=follow`: with an appender the bytes so far, then live until it leaves; without one the bytes as a plain
 * GET has them. With `&resume=true` a stream without an appender is followed for a while: it may come back.
 */
export const followChunked: StreamHandler = async (exchange) => {
  requireMethod(exchange, 'GET', 'HEAD');
  await sendRaw(exchange, 'appender');
};

async function sendRaw(exchange: Exchange<StreamRoute>, until: 'closed' | 'appender'): Promise<void> {
  const { res, route, context } = exchange;
  const start = followStart(route);
  const stream = await context.follow.open(route.stream);
  if (res.destroyed) return stream.release();
  const { info } = stream;
  if (until === 'appender' && !isFollowable(info, route)) {
    stream.release();
    return sendContent(exchange, info, contentStart(info, start));
  }
  sendLive(exchange, stream, {
    start,
    format: raw,
    until,
    graceMs: graceMs(exchange),
    tellsEnd: until === 'appender',
    // A JSON stream goes out as its lines.
    contentType: info.json ? 'application/x-ndjson' : info.contentType,
    // Where the end of the connection is the end of the body, a killed server looks like the stream's end.
    fields: res.req.httpVersion === '1.0' ? ['Stream-End', 'unmarked'] : [],
  });
}

/** Where a follower begins: `?offset=`, default the beginning. Errors: `INVALID_OFFSET`. */
export function followStart(route: StreamRoute): StartOffset {
  return startOffset(route.query) ?? parseStartOffset(OFFSET_START);
}

/** Where the contents begin that one gets who finds no appender. Errors: `OFFSET_OF_ANOTHER_STREAM`, `OFFSET_OUT_OF_RANGE`. */
export function contentStart(info: StreamInfo, start: StartOffset): number {
  const place = placeIn(info, start);
  return place === 'tail' ? info.tail : place;
}

/** Whether following this stream is more than reading it: it has an appender, or may soon have one again. */
export function isFollowable(info: StreamInfo, route: StreamRoute): boolean {
  return info.appender || (!info.closed && wantsResume(route));
}

/** How long a follower waits for an appender to come back. */
export function graceMs({ route, context }: Pick<Exchange<StreamRoute>, 'route' | 'context'>): number {
  return wantsResume(route) ? context.limits.resumeGraceMs : 0;
}

function wantsResume(route: StreamRoute): boolean {
  return route.query.get('resume')?.toLowerCase() === 'true';
}
