import { MillraceError } from '../errors.js';
import type { Exchange, MillraceHandler, StreamHandler } from './context.js';
import { health } from './health.js';
import { listStreams } from './list-streams.js';
import type { MillraceRoute, Route, StreamRoute } from './route.js';
import { preflightHeaders } from './security-headers.js';

/** Picks the one handler for a request. Errors: `METHOD_NOT_ALLOWED`, `NOT_FOUND`, `INVALID_REQUEST`. */
export function dispatch(exchange: Exchange): void | Promise<void> {
  const { route, res } = exchange;
  if (route.method === 'OPTIONS') {
    res.writeHead(204, preflightHeaders).end();
    return;
  }
  switch (route.kind) {
    case 'stream':
      return streamHandler(route)(exchange as Exchange<StreamRoute>);
    case 'millrace':
      return millraceHandler(route)(exchange as Exchange<MillraceRoute>);
    case 'subscription':
      throw methodNotAllowed(route);
  }
}

/** Which handler answers for a stream: verb first, then method, then `?live=`. */
function streamHandler(route: StreamRoute): StreamHandler {
  switch (route.method) {
    // PUT -> create, POST -> append, GET with offset or live -> read, long-poll, sse; HEAD; DELETE.
    default:
      throw methodNotAllowed(route);
  }
}

/** Resources below `/-/`, by name. */
const millraceHandlers: Readonly<Record<string, MillraceHandler>> = {
  health,
  streams: listStreams,
};

function millraceHandler(route: MillraceRoute): MillraceHandler {
  const handler = Object.hasOwn(millraceHandlers, route.name) ? millraceHandlers[route.name] : undefined;
  if (handler === undefined) {
    throw new MillraceError('NOT_FOUND', 'There is nothing at this place below /-/. Streams live at all other paths.');
  }
  return handler;
}

function methodNotAllowed(route: Route): MillraceError {
  return new MillraceError('METHOD_NOT_ALLOWED', `${route.method} is not possible here.`);
}
