import { MillraceError } from '../errors.js';
import { withCredentials } from './connection-options.js';
import type { Refusal } from './problem.js';

/**
 * One WebSocket, whatever makes it: on Node the package `ws`, which can pause a socket and shows why an upgrade was
 * refused; everywhere else the platform's own `WebSocket`, which can do neither.
 */
export interface Socket {
  /** The subprotocol that the server chose, or ''. */
  readonly protocol: string;
  /** Whether {@link pause} has an effect. */
  readonly pausable: boolean;
  send(data: Uint8Array | string): void;
  pause(): void;
  resume(): void;
  /** Says goodbye properly. `onClose` follows. */
  close(code?: number): void;
  /** Cuts the connection. `onClose` follows. */
  terminate(): void;
}

/** What happens on a socket. After `onClose` nothing more does. */
export interface SocketEvents {
  /** Before all others: the first message may come before whoever awaits the socket has it. */
  onOpen(socket: Socket): void;
  onText(text: string): void;
  onBinary(data: Uint8Array): void;
  /** 1006 where the connection broke without a goodbye. */
  onClose(code: number, reason: string): void;
}

export interface SocketOptions {
  readonly protocols: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
  readonly connectTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly signal: AbortSignal | undefined;
}

/** A socket, or the answer that refused it; `refusal` is undefined where the platform does not show it. */
export type SocketOutcome =
  | { readonly kind: 'open'; readonly socket: Socket }
  | { readonly kind: 'refused'; readonly refusal: Refusal | undefined };

/** Largest error body of a refused upgrade that is read. */
const REFUSAL_BYTES_MAX = 64 * 1024;
/** How long after a proper close the peer may take to answer it, before the connection is cut. */
const CLOSE_TIMEOUT_MS = 5_000;
/** Code of a connection that broke (RFC 6455, 7.1.5). */
const CLOSED_ABNORMALLY = 1006;

/**
 * Opens a WebSocket to an `http:` or `https:` URL.
 * Errors: `CONNECTION_FAILED`; the signal's reason.
 */
export async function openSocket(url: URL, events: SocketEvents, options: SocketOptions): Promise<SocketOutcome> {
  options.signal?.throwIfAborted();
  const target = new URL(url);
  target.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  if (isNode()) return openWithWs(target, events, options);
  if (typeof globalThis.WebSocket === 'function') return openWithPlatform(target, events, options);
  throw new MillraceError('CONNECTION_FAILED', 'This platform has no WebSocket.');
}

/** Real Node only: Bun and Deno have a WebSocket of their own, and `process` as well. */
function isNode(): boolean {
  const { process, Bun, Deno } = globalThis as { process?: NodeJS.Process; Bun?: unknown; Deno?: unknown };
  return typeof process?.versions?.node === 'string' && Bun === undefined && Deno === undefined;
}

async function openWithWs(url: URL, events: SocketEvents, options: SocketOptions): Promise<SocketOutcome> {
  const { WebSocket } = await import('ws');
  options.signal?.throwIfAborted();
  const target = withCredentials(url, options.headers);
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(target.url, [...options.protocols], {
      headers: { ...target.headers },
      handshakeTimeout: options.connectTimeoutMs,
      perMessageDeflate: false,
      skipUTF8Validation: true,
    });
    ws.binaryType = 'nodebuffer';
    let opened = false;
    const abort = () => {
      ws.terminate();
      reject(options.signal?.reason);
    };
    options.signal?.addEventListener('abort', abort, { once: true });
    const settle = () => options.signal?.removeEventListener('abort', abort);
    let heartbeat: Heartbeat | undefined;

    ws.on('message', (data: Buffer, isBinary) => {
      heartbeat?.heard();
      if (isBinary) events.onBinary(data);
      else events.onText(data.toString());
    });
    ws.on('unexpected-response', (request, response) => {
      const status = response.statusCode ?? 0;
      const parts: Buffer[] = [];
      let bytes = 0;
      const refuse = () => {
        settle();
        request.destroy();
        resolve({ kind: 'refused', refusal: { status, body: Buffer.concat(parts).toString() } });
      };
      // A follower may be answered with the whole of a stream: only a problem's body is wanted here.
      if (status < 400) return refuse();
      response.on('data', (part: Buffer) => {
        parts.push(part);
        bytes += part.length;
        if (bytes > REFUSAL_BYTES_MAX) refuse();
      });
      response.on('end', refuse);
      response.on('error', refuse);
    });
    ws.on('error', (error) => {
      settle();
      reject(connectionFailed(url, error));
    });
    ws.on('close', (code, reason) => {
      heartbeat?.stop();
      if (opened) events.onClose(code, reason.toString());
    });
    ws.on('open', () => {
      settle();
      opened = true;
      heartbeat = new Heartbeat(options.heartbeatMs, ws);
      const socket: Socket = {
        protocol: ws.protocol,
        pausable: true,
        send: (data) => ws.send(data),
        pause: () => ws.pause(),
        resume: () => ws.resume(),
        close: (code = 1000) => {
          ws.close(code);
          cutAfter(CLOSE_TIMEOUT_MS, () => ws.terminate());
        },
        terminate: () => ws.terminate(),
      };
      events.onOpen(socket);
      resolve({ kind: 'open', socket });
    });
  });
}

/** The part of a `ws` socket that its heartbeat needs. */
interface Pingable {
  readonly isPaused: boolean;
  ping(): void;
  terminate(): void;
  on(event: 'ping' | 'pong', listener: () => void): unknown;
}

/** Notices a peer that has gone silent without closing: pings it, and cuts the connection when nothing comes back. */
class Heartbeat {
  readonly #timer: ReturnType<typeof setInterval>;
  #heard = true;

  constructor(intervalMs: number, ws: Pingable) {
    ws.on('ping', () => this.heard());
    ws.on('pong', () => this.heard());
    this.#timer = setInterval(() => {
      // While it is paused we do not listen, so silence means nothing.
      if (!this.#heard && !ws.isPaused) return ws.terminate();
      this.#heard = false;
      ws.ping();
    }, intervalMs);
  }

  heard(): void {
    this.#heard = true;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

function openWithPlatform(url: URL, events: SocketEvents, options: SocketOptions): Promise<SocketOutcome> {
  if (Object.keys(options.headers).length > 0) {
    return Promise.reject(
      new MillraceError(
        'INVALID_ARGUMENT',
        'This platform cannot set headers on a WebSocket: put what the server needs into the URL or a cookie.',
      ),
    );
  }
  return new Promise((resolve, reject) => {
    const ws = new globalThis.WebSocket(url, [...options.protocols]);
    ws.binaryType = 'arraybuffer';
    let opened = false;
    const timer = setTimeout(() => {
      settle();
      ws.close();
      reject(connectionFailed(url, undefined));
    }, options.connectTimeoutMs);
    const abort = () => {
      settle();
      ws.close();
      reject(options.signal?.reason);
    };
    options.signal?.addEventListener('abort', abort, { once: true });
    const settle = () => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', abort);
    };
    let ended = false;
    const end = (code: number, reason: string) => {
      if (ended) return;
      ended = true;
      events.onClose(code, reason);
    };

    ws.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (ended) return;
      if (typeof data === 'string') events.onText(data);
      else events.onBinary(new Uint8Array(data));
    };
    // What it would say is said by the close that follows.
    ws.onerror = () => undefined;
    ws.onclose = ({ code, reason }) => {
      settle();
      // A platform's WebSocket does not tell a refusal from a server that is not there.
      if (opened) end(code, reason);
      else resolve({ kind: 'refused', refusal: undefined });
    };
    ws.onopen = () => {
      settle();
      opened = true;
      const socket: Socket = {
        protocol: ws.protocol,
        pausable: false,
        send: (data) => ws.send(data as Uint8Array<ArrayBuffer> | string),
        pause: () => undefined,
        resume: () => undefined,
        close: (code = 1000) => {
          ws.close(code);
          cutAfter(CLOSE_TIMEOUT_MS, () => end(CLOSED_ABNORMALLY, ''));
        },
        terminate: () => {
          ws.close();
          end(CLOSED_ABNORMALLY, '');
        },
      };
      events.onOpen(socket);
      resolve({ kind: 'open', socket });
    };
  });
}

/** The error of a server that cannot be reached. Its address is told, without what may be secret in the query. */
export function connectionFailed(url: URL, cause: unknown): MillraceError {
  // Where a name has several addresses, the message is empty and only the code tells.
  const { message, code } = (cause ?? {}) as { readonly message?: string; readonly code?: string };
  const why = message || code ? `: ${message || code}` : '';
  return new MillraceError(
    'CONNECTION_FAILED',
    `Cannot connect to ${url.host}${why}. Check that the server runs and the address is right.`,
    {},
    { cause },
  );
}

/** A timer that does not keep a Node process alive. */
function cutAfter(ms: number, cut: () => void): void {
  const timer: unknown = setTimeout(cut, ms);
  if (typeof timer === 'object' && timer !== null && 'unref' in timer) (timer as { unref(): void }).unref();
}
