import { type Server as HttpServer, STATUS_CODES } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { MillraceError } from '../errors.js';
import { SILENT } from './context.js';
import { toProblem } from './problem.js';

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
  server.on('clientError', refuseUnparsed);
}

/** Answers what is no HTTP request, or one with larger headers than Node takes: the parser has given up on it. */
function refuseUnparsed(error: NodeJS.ErrnoException, socket: Duplex): void {
  // A connection that broke, or one that is in the middle of an answer.
  const answering = (socket as Duplex & { _httpMessage?: unknown })._httpMessage;
  if (error.code === 'ECONNRESET' || !socket.writable || answering) {
    socket.destroy(error);
    return;
  }
  socket.end(unparsedAnswer(toRefusal(error.code)));
}

function toRefusal(code: string | undefined): MillraceError {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new MillraceError(
        'HEADERS_TOO_LARGE',
        'The headers of the request are too large: send fewer, or shorter ones.',
      );
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new MillraceError('REQUEST_TIMEOUT', 'The headers of the request took too long: send it again.');
    default:
      return new MillraceError(
        'INVALID_REQUEST',
        'This is no HTTP request that can be understood: look at its framing.',
      );
  }
}

function unparsedAnswer(error: MillraceError): string {
  const problem = toProblem(error, SILENT);
  const body = `${JSON.stringify(problem)}\n`;
  return [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
