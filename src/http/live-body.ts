import { OutgoingMessage, type ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { encodeChunk } from '../wire/chunked.js';
import type { Exchange } from './context.js';
import { beatEach } from './heartbeat.js';
import { typeFields } from './stream-fields.js';

/** What is said of a body that goes out as things happen. */
export interface LiveBodyOptions {
  readonly contentType: string;
  /** Further header fields: name, value, name, value. */
  readonly fields?: readonly string[];
  /** How often something is sent in any case, so that nothing in between takes the connection for dead. */
  readonly heartbeatIntervalMs: number;
  /** What is sent then. Without it there is TCP keepalive alone: bytes as they are have no place for anything else. */
  readonly comment?: Uint8Array;
}

/** How a body ends. */
export interface BodyEnd {
  /** The connection serves no other request after it. */
  readonly close?: boolean;
  /** Fields that stand behind a chunked body. Those of the header have to announce them (`Trailer`). */
  readonly trailers?: Readonly<Record<string, string>>;
}

/** The body of a response that lasts: all of them, of streams and of the hub, are sent through one of these. */
export interface LiveBody {
  /** Whether what is written must be whole chunks of a chunked body (`encodeChunk`). */
  readonly isChunked: boolean;
  /** Takes all of it, whatever the answer. `false` asks to wait for {@link onDrain}. The bytes are shared: not to be changed. */
  write(bytes: Uint8Array): boolean;
  onDrain(resume: () => void): void;
  /** Bytes that are no part of a chunk yet. Left out while the client has not taken what was sent before. */
  comment(bytes: Uint8Array): void;
  /** While comments are held there are none: what is being written goes on, and nothing may come between. */
  holdComments(held: boolean): void;
  /** Ends the body properly. */
  end(how?: BodyEnd): void;
  /** Ends the body so that the client can tell that something is missing. What was written still arrives. */
  cut(): void;
  /** Lets go of the socket, which may serve another request after this one. Part of `end` and `cut`. */
  detach(): void;
}

/**
 * Sends the headers of a response that lasts, and opens its body. No timeout of the server applies to it any more.
 *
 * Where nothing stands between us and the socket the bytes go straight to it, chunk frames included: then all
 * receivers share one buffer, and a delivery costs one `write`. Where something does (compression, HTTP/2, a
 * pipelined request whose turn has not come) they go through `response.write`.
 */
export function openLiveBody(exchange: Pick<Exchange, 'req' | 'res' | 'base'>, options: LiveBodyOptions): LiveBody {
  const { req, res, base } = exchange;
  const { contentType, fields = [], heartbeatIntervalMs, comment } = options;
  req.setTimeout(0);
  res.socket?.setNoDelay(true);
  // Whoever is gone without a word is noticed, also where nothing can be sent.
  res.socket?.setKeepAlive(true, heartbeatIntervalMs);
  res.writeHead(200, [...base, ...typeFields(res, contentType), ...notHeldBack, ...fields]);
  res.flushHeaders();

  const socket = directSocket(res);
  const isChunked = socket !== undefined && res.chunkedEncoding;
  // Compression keeps back what it is given until it is told not to.
  const flush = socket === undefined ? (res as { readonly flush?: () => void }).flush : undefined;
  const target = socket ?? res;
  let resume = () => {};
  let commentsHeld = false;
  const onDrain = () => resume();
  target.on('drain', onDrain);

  const body: LiveBody = {
    isChunked,
    write:
      flush === undefined
        ? (bytes) => target.write(bytes)
        : (bytes) => {
            const wants = target.write(bytes);
            flush.call(res);
            return wants;
          },
    onDrain(wanted) {
      resume = wanted;
    },
    comment(bytes) {
      if (commentsHeld || target.writableNeedDrain || target.destroyed) return;
      body.write(isChunked ? encodeChunk(bytes) : bytes);
    },
    holdComments(held) {
      commentsHeld = held;
    },
    end({ close = false, trailers } = {}) {
      body.detach();
      const { socket: connection } = res;
      if (close) res.once('finish', () => connection?.destroySoon());
      if (trailers !== undefined) res.addTrailers(trailers);
      if (!res.destroyed) res.end();
    },
    cut() {
      body.detach();
      // Behind something else, or over HTTP/2: its own way to break off.
      if (socket === undefined) res.destroy();
      else if (isChunked) socket.end();
      // Without chunks (HTTP/1.0) the end of the connection is the end of the body: only a reset says otherwise. Over TLS
      // that is a connection that breaks off without a goodbye.
      else if ('encrypted' in socket) socket.destroy();
      else socket.resetAndDestroy();
    },
    detach() {
      target.off('drain', onDrain);
      stopBeating?.();
    },
  };
  const stopBeating = comment === undefined ? undefined : beatEach(heartbeatIntervalMs, () => body.comment(comment));
  return body;
}

/**
 * Nothing in between may keep it, change it (compression would hold it back), or wait until a buffer is full: the last
 * field is the one that nginx and its like look at.
 */
const notHeldBack = ['Cache-Control', 'no-cache, no-store, no-transform', 'X-Accel-Buffering', 'no'] as const;

function directSocket(res: ServerResponse): Socket | undefined {
  const { socket } = res;
  const plain = res instanceof OutgoingMessage && res.write === OutgoingMessage.prototype.write;
  return plain && socket instanceof Socket ? socket : undefined;
}
