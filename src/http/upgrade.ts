import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { MillraceError } from '../errors.js';
import { appendWebSocket } from './append-websocket.js';
import { baseFields } from './base-fields.js';
import type { Exchange, HttpContext } from './context.js';
import { eventSocket } from './events.js';
import { followWebSocket, liveWebSocket } from './follow-websocket.js';
import { ignoreUpgrade, whenAnswered } from './ignored-upgrade.js';
import { sendProblem } from './problem.js';
import { type MillraceRoute, type Route, routeOf, type StreamRoute } from './route.js';
import { WS_CLOSE_TIMEOUT_MS } from './websocket-close.js';

/** A request to upgrade to WebSocket that was not answered yet. */
export interface UpgradeExchange<R extends Route = Route> {
  readonly req: IncomingMessage;
  readonly socket: Duplex;
  readonly route: R;
  readonly context: HttpContext;
  /** The subprotocols that the client offers. */
  readonly protocols: ReadonlySet<string>;
  /**
   * Shakes hands, and chooses one of the client's subprotocols; the socket is closed with 1009 at a larger message than
   * `messageBytesMax` (default `frameBytesMax`). `undefined` where the client is gone.
   */
  accept(options?: { readonly protocol?: string; readonly messageBytesMax?: number }): WebSocket | undefined;
  /** Does not upgrade: the request is answered like any other, and the connection ends after it. */
  respond(): Exchange<R>;
}

/** What a WebSocket on a stream URL does. What it throws before `accept` becomes a problem response. */
export type StreamUpgrade = (exchange: UpgradeExchange<StreamRoute>) => void | Promise<void>;
export type MillraceUpgrade = (exchange: UpgradeExchange<MillraceRoute>) => void | Promise<void>;

/** WebSockets below `/-/`, by name. */
const millraceUpgrades: Readonly<Record<string, MillraceUpgrade>> = { events: eventSocket };

/** Makes the `upgrade` listener. `answer` is the one for ordinary requests. */
export function createUpgrade(
  context: HttpContext,
  answer: (req: IncomingMessage, res: ServerResponse) => Promise<void>,
): (req: IncomingMessage, socket: Duplex, head: Buffer) => void {
  const chosen = new WeakMap<IncomingMessage, string>();
  const servers = new Map<number, WebSocketServer>();
  const serverFor = (maxPayload: number) => {
    let server = servers.get(maxPayload);
    if (server !== undefined) return server;
    server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload,
      // A frame of an appender may end in the middle of a character: it is bytes, whatever its type says.
      skipUTF8Validation: true,
      handleProtocols: (_, req) => chosen.get(req) ?? false,
      closeTimeout: WS_CLOSE_TIMEOUT_MS,
    } as ConstructorParameters<typeof WebSocketServer>[0]);
    servers.set(maxPayload, server);
    return server;
  };

  return (req, socket, head) => {
    // Until somebody takes over nobody else listens, and an unheard error would end the process.
    const onError = () => socket.destroy();
    socket.on('error', onError);
    whenAnswered(socket, () => {
      if (asksForWebSocket(req)) return void handshake(req, socket, head);
      if (ignoreUpgrade(req, socket, head)) {
        socket.off('error', onError);
        return;
      }
      // No server of Node's: then what was read of the request is all that can be had of it.
      if (req.method === 'GET' || req.method === 'HEAD' || req.method === 'DELETE') {
        return void answer(req, respondOn(req, socket));
      }
      refuse(context, req, socket, 'Upgrade names no protocol that is spoken here: leave it out.');
    });
  };

  async function handshake(req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    let exchange: UpgradeExchange | undefined;
    let response: ServerResponse | undefined;
    try {
      if (context.draining) throw shuttingDown();
      const route = routeOf(req, context);
      const made: UpgradeExchange = {
        req,
        socket,
        route,
        context,
        protocols: checkHandshake(req),
        accept({ protocol, messageBytesMax = context.limits.frameBytesMax } = {}) {
          if (protocol !== undefined) chosen.set(req, protocol);
          const server = serverFor(messageBytesMax);
          let accepted: WebSocket | undefined;
          server.handleUpgrade(req, socket, head, (ws) => {
            accepted = ws;
          });
          return accepted;
        },
        respond() {
          const res = respondOn(req, socket);
          response = res;
          // A response like others: what closes the server waits for it.
          res.once('close', context.track({ stop() {}, abort: () => res.destroy() }));
          return { req, res, route, context, base: baseFields(req, res, context.originCheck) };
        },
      };
      exchange = made;
      await handlerOf(route)(made);
    } catch (error) {
      if (socket.destroyed) return;
      const res = response ?? respondOn(req, socket);
      const base = baseFields(req, res, context.originCheck);
      sendProblem({ req, res, context, base, ...(exchange === undefined ? {} : { route: exchange.route }) }, error);
    }
  }
}

function handlerOf(route: Route): (exchange: UpgradeExchange) => void | Promise<void> {
  if (route.kind === 'stream') {
    return (exchange) => streamUpgrade(route)(exchange as UpgradeExchange<StreamRoute>);
  }
  const handler = route.kind === 'millrace' ? millraceUpgrades[route.name] : undefined;
  if (handler === undefined) throw new MillraceError('NOT_FOUND', 'There is no WebSocket at this place.');
  return (exchange) => handler(exchange as UpgradeExchange<MillraceRoute>);
}

function streamUpgrade(route: StreamRoute): StreamUpgrade {
  if (route.verb === 'append') return appendWebSocket;
  if (route.live === 'ws') return liveWebSocket;
  if (route.live === undefined) return followWebSocket;
  throw new MillraceError('INVALID_REQUEST', 'Over WebSocket live can only be ws.');
}

function asksForWebSocket(req: IncomingMessage): boolean {
  return req.headers.upgrade?.toLowerCase() === 'websocket';
}

/** RFC 6455, section 4.2.1. Answers with the offered subprotocols. Errors: `INVALID_HANDSHAKE`. */
function checkHandshake(req: IncomingMessage): ReadonlySet<string> {
  const { headers } = req;
  if (req.method !== 'GET') throw invalidHandshake('the method must be GET');
  const key = headers['sec-websocket-key'];
  if (typeof key !== 'string' || !/^[+/0-9A-Za-z]{22}==$/.test(key)) {
    throw invalidHandshake('Sec-WebSocket-Key must be 16 bytes in base64');
  }
  const version = headers['sec-websocket-version'];
  if (version !== '13' && version !== '8') throw invalidHandshake('Sec-WebSocket-Version must be 13');
  const protocols = (headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  if (
    protocols.some((name) => !/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) ||
    new Set(protocols).size < protocols.length
  ) {
    throw invalidHandshake('Sec-WebSocket-Protocol must be a list of different names');
  }
  return new Set(protocols);
}

function invalidHandshake(what: string): MillraceError {
  return new MillraceError('INVALID_HANDSHAKE', `This is no WebSocket handshake: ${what}.`);
}

function shuttingDown(): MillraceError {
  return new MillraceError('SHUTTING_DOWN', 'The server is going down: try again in a moment.');
}

function refuse(context: HttpContext, req: IncomingMessage, socket: Duplex, what: string): void {
  const res = respondOn(req, socket);
  sendProblem(
    { req, res, context, base: baseFields(req, res, context.originCheck) },
    new MillraceError('INVALID_HANDSHAKE', what),
  );
}

/** A response on a socket that Node has already let go of for the upgrade. The connection ends after it. */
function respondOn(req: IncomingMessage, socket: Duplex): ServerResponse {
  const res = new ServerResponse(req);
  res.shouldKeepAlive = false;
  // Typed for a `net.Socket`, works with any duplex stream.
  res.assignSocket(socket as Parameters<ServerResponse['assignSocket']>[0]);
  // For ordinary requests the server passes this on.
  socket.on('drain', () => res.emit('drain'));
  res.once('finish', () => {
    res.detachSocket(socket as Parameters<ServerResponse['detachSocket']>[0]);
    socket.end();
  });
  // What the client sends is read away so that its end is seen, be it before the response has ended or after.
  socket.once('end', () => {
    if (!res.writableFinished) socket.destroy();
  });
  socket.resume();
  return res;
}
