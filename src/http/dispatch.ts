import { MillraceError } from '../errors.js';
import { append } from './append.js';
import { appendChunked } from './append-chunked.js';
import { preflightFields, STREAM_METHODS } from './base-fields.js';
import type { Exchange, MillraceHandler, StreamHandler } from './context.js';
import { create } from './create.js';
import { remove } from './delete.js';
import { events, publish } from './events.js';
import { followChunked, liveRaw } from './follow-chunked.js';
import { get } from './get.js';
import { head } from './head.js';
import { health } from './health.js';
import { listStreams } from './list-streams.js';
import { longPoll } from './long-poll.js';
import { read } from './read.js';
import { requireMethod } from './respond.js';
import type { MillraceRoute, StreamRoute, SubscriptionRoute } from './route.js';
import { sse } from './sse.js';
import { subscriptions } from './subscriptions.js';
import { upgradeRequired } from './upgrade-required.js';

/**
 * Picks the one handler for a request.
 * Errors: `METHOD_NOT_ALLOWED`, `NOT_FOUND`, `INVALID_REQUEST`, `UPGRADE_REQUIRED`, `SHUTTING_DOWN`.
 */
export function dispatch(exchange: Exchange): void | Promise<void> {
  const { route, req, res, context } = exchange;
  if (route.method === 'OPTIONS') {
    if (route.kind === 'stream' || route.kind === 'server') res.setHeader('Allow', STREAM_METHODS);
    res.writeHead(204, preflightFields(req, res, context.originCheck)).end();
    return;
  }
  // Health is for those who have to know that the server is going down.
  if (context.draining && !(route.kind === 'millrace' && route.name === 'health')) {
    throw new MillraceError('SHUTTING_DOWN', 'The server is going down: try again in a moment.');
  }
  switch (route.kind) {
    case 'stream':
      return streamHandler(exchange as Exchange<StreamRoute>)(exchange as Exchange<StreamRoute>);
    case 'millrace':
      return millraceHandler(route)(exchange as Exchange<MillraceRoute>);
    case 'subscription':
      return subscriptions(exchange as Exchange<SubscriptionRoute>);
    case 'server':
      // OPTIONS alone goes there, and is answered.
      return;
  }
}

/** Which handler answers for a stream: by verb, else by method and `?live=`. */
function streamHandler(exchange: Exchange<StreamRoute>): StreamHandler {
  const { route } = exchange;
  if (route.verb === 'append') return route.method === 'GET' ? upgradeRequired : appendChunked;
  if (route.live === 'ws') return upgradeRequired;
  // Never an append by mistake, nor a deletion.
  if (route.verb === 'follow') requireMethod(exchange, 'GET', 'HEAD');
  switch (route.method) {
    case 'PUT':
      return create;
    case 'POST':
      return append;
    case 'GET':
      return route.verb === 'follow' && route.live === undefined ? followChunked : readHandler(route);
    case 'HEAD':
      return head;
    case 'DELETE':
      return remove;
    default:
      exchange.res.setHeader('Allow', STREAM_METHODS);
      throw new MillraceError('METHOD_NOT_ALLOWED', `${route.method} is no method of a stream.`);
  }
}

function readHandler(route: StreamRoute): StreamHandler {
  switch (route.live) {
    case undefined:
      return route.query.has('offset') ? read : get;
    case 'raw':
      return liveRaw;
    case 'long-poll':
      return longPoll;
    case 'sse':
      return sse;
    default:
      throw new MillraceError('INVALID_REQUEST', 'live must be long-poll, sse or raw, or ws over WebSocket.');
  }
}

/** Resources below `/-/`, by name. */
const millraceHandlers: Readonly<Record<string, MillraceHandler>> = {
  events,
  health,
  publish,
  streams: listStreams,
};

function millraceHandler(route: MillraceRoute): MillraceHandler {
  const handler = Object.hasOwn(millraceHandlers, route.name) ? millraceHandlers[route.name] : undefined;
  if (handler === undefined) {
    throw new MillraceError('NOT_FOUND', 'There is nothing at this place below /-/. Streams live at all other paths.');
  }
  return handler;
}
