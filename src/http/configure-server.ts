import type { Server as HttpServer } from 'node:http';
import type { Server as HttpsServer } from 'node:https';

/** Timeouts of a server that carries long-lived requests. */
export interface ServerTimeouts {
  /** How long a client may take to send the headers of a request. Default {@link DEFAULT_SERVER_TIMEOUTS}. */
  readonly headersTimeoutMs?: number;
  /**
   * How long a connection may neither send nor take a byte, in the middle of a request or response. Does not apply to
   * appenders, followers and WebSockets.
   */
  readonly idleTimeoutMs?: number;
  /** How long a connection is kept open for the next request. */
  readonly keepAliveTimeoutMs?: number;
}

export const DEFAULT_SERVER_TIMEOUTS: Required<ServerTimeouts> = {
  headersTimeoutMs: 30_000,
  idleTimeoutMs: 120_000,
  keepAliveTimeoutMs: 65_000,
};

/**
 * Sets the timeouts of a server that Millrace's listeners are mounted on. Node's own `requestTimeout` (5 minutes for a
 * whole request) cannot be lifted for one request, and would cut a long append: it is switched off here, and slow or
 * stuck clients are caught by inactivity instead.
 */
export function configureServer(server: HttpServer | HttpsServer, timeouts: ServerTimeouts = {}): void {
  const { headersTimeoutMs, idleTimeoutMs, keepAliveTimeoutMs } = { ...DEFAULT_SERVER_TIMEOUTS, ...timeouts };
  server.requestTimeout = 0;
  server.headersTimeout = headersTimeoutMs;
  server.timeout = idleTimeoutMs;
  server.keepAliveTimeout = keepAliveTimeoutMs;
}
