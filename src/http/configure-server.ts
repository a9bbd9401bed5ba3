import { type Server as HttpServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { MillraceError } from '../errors.js';
import { SILENT } from './context.js';
import { continueWhenRead } from './expectation.js';
import { LINGER_MS, refuseRequest, toProblem } from './problem.js';

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

/** How often connections are looked at whose headers take their time. */
const CHECK_INTERVAL_MS = 1_000;

/**
 * Sets the timeouts of a server that Millrace's listeners are mounted on; call it before the server listens. Node's own
 * `requestTimeout` (5 minutes for a whole request) cannot be lifted for one request, and would cut a long append: it is
 * switched off here, and slow or stuck clients are caught by inactivity instead.
 *
 * What Node would answer by itself is answered as a problem: bytes that are no HTTP, expectations that cannot be met.
 * And a client that asks before it sends its body (`Expect: 100-continue`) is told to go on only once somebody reads it.
 */
export function configureServer(server: HttpServer | HttpsServer, timeouts: ServerTimeouts = {}): void {
  const { headersTimeoutMs, idleTimeoutMs, keepAliveTimeoutMs } = { ...DEFAULT_SERVER_TIMEOUTS, ...timeouts };
  server.requestTimeout = 0;
  server.headersTimeout = headersTimeoutMs;
  // An option of `createServer` that Node reads when the server begins to listen. By default it looks each 30 s, so that
  // a limit of 30 s would take up to 60.
  (server as { connectionsCheckingInterval?: number }).connectionsCheckingInterval = CHECK_INTERVAL_MS;
  server.timeout = idleTimeoutMs;
  server.keepAliveTimeout = keepAliveTimeoutMs;
  server.on('clientError', refuseUnparsed);
  server.on('checkContinue', (req: IncomingMessage, res: ServerResponse) => {
    continueWhenRead(req, res);
    server.emit('request', req, res);
  });
  server.on('checkExpectation', (req: IncomingMessage, res: ServerResponse) => {
    res.shouldKeepAlive = false;
    refuseRequest(req, res, expectationFailed());
  });
}

/** Connections on which there is an answer to something that was no HTTP: the parser tells of all that follows, too. */
const refused = new WeakSet<Duplex>();

/** Answers what is no HTTP request, or one with larger headers than Node takes: the parser has given up on it. */
function refuseUnparsed(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    if (!refused.has(socket)) socket.destroy(error);
    return;
  }
  const current = (socket as Duplex & { readonly _httpMessage?: ServerResponse | null })._httpMessage;
  if (current?.headersSent) {
    // In the middle of an answer nothing else can be said.
    socket.destroy(error);
    return;
  }
  if (current?.req.complete) {
    // What is wrong came behind this request, which gets its own answer: the last one of the connection.
    current.shouldKeepAlive = false;
    return;
  }
  refused.add(socket);
  socket.end(unparsedAnswer(toRefusal(error.code)));
  // The client may be sending still: to cut it off now could destroy the answer on its way. Whoever reads the body learns
  // with the end of the connection that there is no more of it.
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('close', () => clearTimeout(timer));
}

function expectationFailed(): MillraceError {
  return new MillraceError(
    'EXPECTATION_FAILED',
    'The header Expect names something else than 100-continue: leave it out.',
  );
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
