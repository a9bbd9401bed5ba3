import type { Duplex } from 'node:stream';
import { isMillraceError, MillraceError } from '../errors.js';
import { EncodedMessage, type Hub, type Pattern } from '../hub/index.js';
import type { SseLabel } from '../wire/events.js';
import { withBody } from './body.js';
import { clientAddress } from './client-address.js';
import type { HttpContext, MillraceHandler } from './context.js';
import { serveEvents } from './events-sse.js';
import { serveEventSocket } from './events-websocket.js';
import { requireMethod } from './respond.js';
import { scanJson } from './scan-json.js';
import { SendBudget } from './send-budget.js';
import { tight } from './tight.js';
import type { MillraceUpgrade } from './upgrade.js';
import { closeWebSocket } from './websocket-close.js';
import { readFrames } from './websocket-frames.js';

/** How many `channel` and `pattern` parameters one URL may have. */
const CHANNELS_PER_REQUEST_MAX = 64;

/** `GET /-/events?channel=…&pattern=…`: server-sent events. See docs/events.md. */
export const events: MillraceHandler = async (exchange) => {
  requireMethod(exchange, 'GET');
  const { req, res, route, context } = exchange;
  const hub = requireHub(context);
  const targets = targetsOf(route.query);
  const release = admit(context);
  const stop = new AbortController();
  const untrack = context.track({ stop: () => stop.abort(), abort: () => res.destroy() });
  // An `EventSource` comes back with the same URL: then its header knows better.
  const lastEventId = req.headers['last-event-id'] === undefined ? route.query.get('lastEventId') : null;
  try {
    await serveEvents(exchange, hub, targets, {
      ...limitsOf(context),
      signal: stop.signal,
      label: labelOf(route.query),
      ...(lastEventId === null ? {} : { lastEventId }),
    });
  } finally {
    untrack();
    release();
  }
};

/** The same over WebSocket; there the client may also follow other channels, leave them, and publish. */
export const eventSocket: MillraceUpgrade = async ({ route, context, socket, accept }) => {
  const hub = requireHub(context);
  const targets = route.query.size === 0 ? [] : targetsOf(route.query);
  const release = admit(context);
  const ws = accept();
  if (ws === undefined) return release();
  const stop = new AbortController();
  const untrack = context.track({ stop: () => stop.abort(), abort: () => ws.terminate() });
  readFrames(ws, socket, context, { onRefused: (error) => closeWebSocket(ws, socket, 1013, error.code) });
  const { hold, end } = publishIntake(context, socket);
  await serveEventSocket(ws, socket, hub, targets, { ...limitsOf(context), signal: stop.signal, hold });
  end();
  untrack();
  release();
};

/** Counts what a client's publishes have under way; its socket is not read while there is no room for more. */
function publishIntake({ intake }: HttpContext, socket: Duplex & { readonly remoteAddress?: string }) {
  const onFull = (full: boolean) => void (full ? socket.pause() : socket.resume());
  const publishes = intake.open({ onFull }, clientAddress(socket));
  // Whoever paused it for a reason of its own does not know of this one.
  socket.on('resume', () => {
    if (publishes.isWaiting) socket.pause();
  });
  // What came before the end is still read and published, and counts until that is done.
  let ended = false;
  const closeWhenDone = () => {
    if (ended && publishes.bytes === 0) publishes.close();
  };
  return {
    hold(bytes: number) {
      publishes.take(bytes);
      return () => {
        publishes.give(bytes);
        closeWhenDone();
      };
    },
    end() {
      ended = true;
      closeWhenDone();
    },
  };
}

/**
 * `POST /-/publish?channel=…`: the body is the message: JSON, or, of any other declared type than JSON and the form
 * type that curl declares by default, the bytes as they are. 204 when the broker has taken it.
 */
export const publish: MillraceHandler = async (exchange) => {
  requireMethod(exchange, 'POST');
  const { req, res, route, context, base } = exchange;
  const hub = requireHub(context);
  const channels = route.query.getAll('channel');
  if (channels.length === 0 || channels.length > CHANNELS_PER_REQUEST_MAX) throw channelsMissing();
  await withBody(exchange, async (body) => hub.publish(channels, await messageOf(body, req.headers['content-type'])));
  res.writeHead(204, [...base]).end();
};

/** The body as a message. It stays the bytes that it is: what is passed on keeps its text. */
async function messageOf(body: Buffer, contentType = 'application/json'): Promise<EncodedMessage> {
  const type = contentType.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  const bytes = tight(body);
  if (type !== 'application/x-www-form-urlencoded' && type !== 'application/json' && !type.endsWith('+json')) {
    return new EncodedMessage(bytes, 'binary');
  }
  try {
    await scanJson(bytes);
  } catch (error) {
    if (!isMillraceError(error, 'INVALID_JSON')) throw error;
    throw new MillraceError(
      'INVALID_JSON',
      `${error.message} For bytes as they are, send another Content-Type (application/octet-stream).`,
      error.details,
    );
  }
  return new EncodedMessage(bytes, 'json');
}

function requireHub({ hub }: HttpContext): Hub {
  if (hub === undefined) throw new MillraceError('NOT_FOUND', 'This server has no hub.');
  return hub;
}

function targetsOf(query: URLSearchParams): (string | Pattern)[] {
  const patterns = query.getAll('pattern').map((pattern) => ({ pattern }));
  const targets = [...query.getAll('channel'), ...patterns];
  if (targets.length === 0 || targets.length > CHANNELS_PER_REQUEST_MAX) throw channelsMissing();
  return targets;
}

function channelsMissing(): MillraceError {
  return new MillraceError(
    'INVALID_REQUEST',
    `Name channels like this: ?channel=a&channel=b, from one to ${CHANNELS_PER_REQUEST_MAX}.`,
  );
}

function labelOf(query: URLSearchParams): SseLabel {
  const label = query.get('label') ?? 'message';
  if (label === 'message' || label === 'channel') return label;
  throw new MillraceError('INVALID_REQUEST', 'label must be message or channel.');
}

/** What bounds large messages on their way to clients, by handler. */
const sendBudgets = new WeakMap<HttpContext, SendBudget>();

function limitsOf(context: HttpContext) {
  const { heartbeatIntervalMs, eventsMaxLag, eventsMaxLagBytes, eventsSendBytesMax } = context.limits;
  const sendBudget = sendBudgets.get(context) ?? new SendBudget(eventsSendBytesMax);
  sendBudgets.set(context, sendBudget);
  return { heartbeatIntervalMs, maxLag: eventsMaxLag, maxLagBytes: eventsMaxLagBytes, sendBudget };
}

/** How many follow channels now, by handler. */
const followers = new WeakMap<HttpContext, number>();

/** Counts one more; the answer takes it back. */
function admit(context: HttpContext): () => void {
  const { followersMax } = context.limits;
  const count = followers.get(context) ?? 0;
  if (count >= followersMax) {
    throw new MillraceError('TOO_MANY_FOLLOWERS', 'The server has as many followers as it may: try again later.', {
      followersMax,
    });
  }
  followers.set(context, count + 1);
  return () => followers.set(context, (followers.get(context) ?? 1) - 1);
}
