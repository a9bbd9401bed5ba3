export { configureServer, DEFAULT_SERVER_TIMEOUTS, type ServerTimeouts } from './configure-server.js';
export type { Log } from './context.js';
export { createHandler, type Handler, type HandlerOptions } from './handler.js';
export { DEFAULT_HTTP_LIMITS, type HttpLimits } from './limits.js';
