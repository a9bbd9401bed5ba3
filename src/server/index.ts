export { DEFAULT_HTTP_LIMITS, type HttpLimits, type Log } from '../http/index.js';
export { checkRoot, type RootReport } from '../log/index.js';
export {
  DEFAULT_CONNECTIONS_MAX,
  DEFAULT_CONNECTIONS_PER_ADDRESS_MAX,
  DEFAULT_HOST,
  DEFAULT_HUB,
  DEFAULT_PORT,
  DEFAULT_ROOT,
  type ServerConfig,
} from './config.js';
export { createHandler, type RootHandler, type RootHandlerOptions } from './create-handler.js';
export { type RunningServer, type ServerOptions, startServer } from './start-server.js';
