/**
 * Millrace in one import: the in-process stream, stores, the HTTP handler, a server, the hub. Everything is also
 * exported from a sub-path of its own (`millrace/event-stream`, `millrace/http`…), so that a browser or a small
 * program loads only what it uses; the clients for both are in `millrace/client`.
 */
export { type ErrorCode, type ErrorDetails, isMillraceError, MillraceError } from './errors.js';
export { done, EventStream, type EventStreamOptions, type Position, type Subscription } from './event-stream/index.js';
export type { Handler, HandlerOptions } from './http/index.js';
export { createHub, type Hub } from './hub/index.js';
export { createFileStore, createMemoryStore, type Store } from './log/index.js';
export { createHandler, type RootHandler, type RootHandlerOptions, startServer } from './server/index.js';
