import type { IncomingMessage, ServerResponse } from 'node:http';
import { MillraceError } from '../errors.js';
import type { AnyHub, Hub, HubEvent, HubSubscription, LagPolicy, Pattern } from '../hub/index.js';
import { encodeChunk } from '../wire/chunked.js';
import { positionOfEventId, SSE_SUBSCRIBED, type SseLabel, sseEvent } from '../wire/events.js';
import { SSE_HEARTBEAT, SSE_TYPE } from '../wire/sse.js';
import { baseFields } from './base-fields.js';
import { type Exchange, SILENT } from './context.js';
import { EncodedEvents } from './encoded-events.js';
import { type LiveBody, openLiveBody } from './live-body.js';
import { sendProblem } from './problem.js';
import { defaultSendBudget, type EventTarget, type SendBudget } from './send-budget.js';

/** Options of {@link sendEvents}. */
export interface SendEventsOptions {
  /** How often a comment is sent, so that nothing in between takes the connection for dead (default 10 s). */
  readonly heartbeatIntervalMs?: number;
  /** How many events a slow client may be behind (default {@link DEFAULT_EVENTS_MAX_LAG}). */
  readonly maxLag?: number;
  /** How many bytes of messages (default {@link DEFAULT_EVENTS_MAX_LAG_BYTES}); one message may always wait. */
  readonly maxLagBytes?: number;
  /** What happens then: the client is told of a `gap` (default), or its connection is closed. */
  readonly whenLagging?: LagPolicy;
  /** What bounds the large messages that are on their way to slow clients, shared with others (default: one for the process). */
  readonly sendBudget?: SendBudget;
  /** What the `event:` field of a message holds (default `message`: it is left out). */
  readonly label?: SseLabel;
  /** Where to go on (default: the request's `Last-Event-ID`). */
  readonly lastEventId?: string;
  /** Ends the response properly when it aborts. */
  readonly signal?: AbortSignal;
}

/** Default of {@link SendEventsOptions.heartbeatIntervalMs}: the seed's. */
export const DEFAULT_EVENTS_HEARTBEAT_MS = 10_000;
/** Default of `maxLag` of SSE and WebSocket clients. */
export const DEFAULT_EVENTS_MAX_LAG = 1024;
/** Default of `maxLagBytes` of SSE and WebSocket clients. */
export const DEFAULT_EVENTS_MAX_LAG_BYTES = 16 * 1024 * 1024;

/** Each event is encoded once for all responses that send it the same way. */
const encoded = {
  message: new EncodedEvents((event, body) => sseEvent(event, 'message', body)),
  channel: new EncodedEvents((event, body) => sseEvent(event, 'channel', body)),
};
const chunked = {
  message: new EncodedEvents((event, body) => sseEvent(event, 'message', body), encodeChunk),
  channel: new EncodedEvents((event, body) => sseEvent(event, 'channel', body), encodeChunk),
};

/**
 * Answers a request with the messages of some channels as server-sent events (`text/event-stream`), for as long as the
 * client stays: `data: <json>` for each. Works in any Node server, behind any framework.
 *
 * - The headers are sent once the broker has confirmed the subscription. If it does not, and for channels that cannot
 *   be, the answer is `application/problem+json` with the code of the error.
 * - Each message carries an id; a client that comes back with `Last-Event-ID` goes on from there where the broker keeps a
 *   history, and gets an event `gap` where something is missing. The first id comes with the headers.
 * - A client that reads slowly costs at most `maxLag` events and `maxLagBytes`, then it is told of a gap or cut off.
 *
 * Resolves when the response is over. Never rejects.
 */
export function sendEvents(
  request: IncomingMessage,
  response: ServerResponse,
  hub: AnyHub,
  channels: Channels,
  options: SendEventsOptions = {},
): Promise<void> {
  const base = baseFields(request, response, undefined);
  return serveEvents({ req: request, res: response, base }, hub as Hub, channels, options);
}

type Channels = string | Pattern | readonly (string | Pattern)[];

/** The same for a response whose first fields are known. */
export async function serveEvents(
  exchange: Pick<Exchange, 'req' | 'res' | 'base'>,
  hub: Hub,
  channels: Channels,
  options: SendEventsOptions,
): Promise<void> {
  const { req: request, res: response } = exchange;
  const { label = 'message', whenLagging = 'gap', signal } = options;
  const { maxLag = DEFAULT_EVENTS_MAX_LAG, maxLagBytes = DEFAULT_EVENTS_MAX_LAG_BYTES } = options;
  const lastEventId = options.lastEventId ?? singleHeader(request.headers['last-event-id']);
  let subscription: HubSubscription<HubEvent>;
  try {
    subscription = hub.subscribe(channels, {
      maxLag,
      maxLagBytes,
      whenLagging,
      ...(lastEventId === undefined ? {} : { after: positionOfEventId(lastEventId) }),
    });
    response.once('close', () => subscription.close());
    if (response.destroyed) subscription.close();
    await subscription.ready;
  } catch (error) {
    if (!response.destroyed) sendProblem({ ...exchange, context: { log: SILENT } }, error);
    return;
  }
  if (response.destroyed) return;

  const { heartbeatIntervalMs = DEFAULT_EVENTS_HEARTBEAT_MS, sendBudget = defaultSendBudget } = options;
  const body = openLiveBody(exchange, {
    contentType: SSE_TYPE,
    heartbeatIntervalMs,
    comment: SSE_HEARTBEAT,
  });
  body.comment(lastEventId === undefined ? greeting(subscription.position) : SSE_SUBSCRIBED);
  const onAbort = () => subscription.close();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    if (signal?.aborted) onAbort();
    await subscription.consume(senderTo(response, body, label, sendBudget));
  } catch {
    // Too slow, or the hub lost what it needs for this subscriber: the client comes back and is told of the gap.
  } finally {
    signal?.removeEventListener('abort', onAbort);
    // Whoever comes back from a server that goes down is not to do so on this connection.
    body.end({ close: signal?.aborted === true });
  }
}

/** Sends an event. Answers with a promise when the client has to catch up first. */
function senderTo(response: ServerResponse, body: LiveBody, label: SseLabel, sendBudget: SendBudget) {
  const events = (body.isChunked ? chunked : encoded)[label];
  let resume: (() => void) | undefined;
  const onReady = () => {
    resume?.();
    resume = undefined;
  };
  body.onDrain(onReady);
  response.once('close', onReady);
  const client: EventTarget = {
    write: (bytes) => body.write(bytes) || response.destroyed,
    drained: () =>
      new Promise((resolve) => {
        resume = resolve;
      }),
    get isOpen() {
      return !response.destroyed;
    },
    cut: () => response.destroy(),
  };
  return (event: HubEvent): Promise<void> | undefined => {
    const bytes = events.of(event);
    if (bytes instanceof Uint8Array) return body.write(bytes) || response.destroyed ? undefined : client.drained();
    body.holdComments(true);
    return sendBudget.send(bytes, client).finally(() => body.holdComments(false));
  };
}

/**
 * Sent as soon as the subscription stands. An id without data is no event, but an `EventSource` keeps it: one that is
 * away before it has got any event comes back with it, and misses nothing.
 */
function greeting(position: string | undefined): Uint8Array {
  return position === undefined ? SSE_SUBSCRIBED : new TextEncoder().encode(`:subscribed\nid: @${position}\n\n`);
}

function singleHeader(value: string | string[] | undefined): string | undefined {
  if (Array.isArray(value)) throw new MillraceError('INVALID_REQUEST', 'Send one Last-Event-ID.');
  return value;
}
