export { configureServer, DEFAULT_SERVER_TIMEOUTS, type ServerTimeouts } from './configure-server.js';
export type { Log } from './context.js';
export {
  DEFAULT_EVENTS_HEARTBEAT_MS,
  DEFAULT_EVENTS_MAX_LAG,
  DEFAULT_EVENTS_MAX_LAG_BYTES,
  type SendEventsOptions,
  sendEvents,
} from './events-sse.js';
export {
  DEFAULT_SOCKET_CHANNELS_MAX,
  DEFAULT_SOCKET_MESSAGE_BYTES_MAX,
  DEFAULT_SOCKET_PUBLISH_BYTES_MAX,
  DEFAULT_SOCKET_PUBLISHES_MAX,
  type EventSocketOptions,
  sendEventsOverWebSocket,
  serveEventSocket,
} from './events-websocket.js';
export { checkHandlerOptions, createHandler, type Handler, type HandlerOptions, originCheckOf } from './handler.js';
export { DEFAULT_HTTP_LIMITS, type HttpLimits } from './limits.js';
export type { OriginCheckOptions } from './origin-check.js';
export { refuseRequest } from './problem.js';
export { isBelow } from './request-target.js';
export { DEFAULT_EVENTS_SEND_BYTES_MAX, SendBudget } from './send-budget.js';
