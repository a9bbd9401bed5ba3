import { type ErrorCode, MillraceError } from '../errors.js';
import { parseOffset } from '../wire/offset.js';
import type { CheckedConnection } from './connection-options.js';
import { connectionLost, errorFromRefusal } from './problem.js';
import { ReceiveQueue } from './receive-queue.js';
import { explainRefusal } from './requests.js';
import { openSocket, type Socket } from './socket.js';

/** Options of {@link followOnce}. */
export interface FollowOnceOptions extends CheckedConnection {
  /** While more than this has arrived and was not taken, nothing more is read. */
  readonly receivedBytesMax: number;
  /** The server has accepted, and begins at this offset. Called before the first chunk. */
  readonly onStart: (offset: number) => void;
}

/** A close that says: all is there (RFC 6455, 7.4.1). */
const CLOSE_NORMAL = 1000;
/** Close codes after which there is nothing to come back to (docs/websocket.md). */
const codeOfClose: Readonly<Record<number, readonly [ErrorCode, string]>> = {
  4404: ['STREAM_NOT_FOUND', 'The stream was deleted while it was followed.'],
};

/**
 * The data of one connection in the format of `live=ws`. Returns when the server says that this is all; throws
 * whatever else happened, also where the connection broke.
 */
export async function* followOnce(url: URL, options: FollowOnceOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const inlet = new Inlet(url, options);
  const outcome = await openSocket(url, inlet, { ...options, protocols: [] });
  if (outcome.kind === 'refused') {
    throw outcome.refusal === undefined ? await explainRefusal(url, options) : errorFromRefusal(outcome.refusal, url);
  }
  const { socket } = outcome;
  inlet.socket = socket;
  const abort = () => inlet.queue.end({ error: options.signal?.reason });
  options.signal?.addEventListener('abort', abort, { once: true });
  try {
    for (;;) {
      const taken = await inlet.queue.take();
      if ('end' in taken) {
        if (taken.end === 'complete') return;
        throw taken.end.error;
      }
      yield* taken.chunks;
      inlet.resume();
    }
  } finally {
    options.signal?.removeEventListener('abort', abort);
    // A paused socket would not see the other side's goodbye.
    inlet.resume();
    socket.close();
  }
}

/** What comes from the server, sorted, and held back when the reader is slow. */
class Inlet {
  socket: Socket | undefined;
  readonly queue = new ReceiveQueue();
  readonly #url: URL;
  readonly #options: FollowOnceOptions;
  #started = false;
  #paused = false;

  constructor(url: URL, options: FollowOnceOptions) {
    this.#url = url;
    this.#options = options;
  }

  onBinary(data: Uint8Array): void {
    if (!this.#started) {
      this.#notUnderstood();
      return;
    }
    this.queue.push(data);
    if (this.queue.bytes <= this.#options.receivedBytesMax || this.#paused || this.socket === undefined) return;
    if (this.socket.pausable) {
      this.#paused = true;
      this.socket.pause();
    } else {
      // Nothing else holds such a socket back. What is queued is read; then a new connection brings the rest.
      this.queue.end({ error: connectionLost(this.#url, CLOSE_NORMAL, 'the reader is slower than the stream') });
      this.socket.terminate();
    }
  }

  onText(text: string): void {
    if (this.#started) return;
    const offset = startOf(text);
    if (offset === undefined) {
      this.#notUnderstood();
      return;
    }
    this.#started = true;
    try {
      this.#options.onStart(offset);
    } catch (error) {
      this.queue.end({ error });
    }
  }

  onClose(code: number, reason: string): void {
    const known = codeOfClose[code];
    if (code === CLOSE_NORMAL) this.queue.end('complete');
    else if (known !== undefined) this.queue.end({ error: new MillraceError(known[0], known[1]) });
    else this.queue.end({ error: connectionLost(this.#url, code, reason) });
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.socket?.resume();
  }

  #notUnderstood(): void {
    const message = `${this.#url.host} did not say where the reader stands: it is no Millrace server, or an older one.`;
    this.queue.end({ error: new MillraceError('UNEXPECTED_RESPONSE', message) });
    this.socket?.terminate();
  }
}

/** The offset in the first control message. */
function startOf(text: string): number | undefined {
  try {
    const control = JSON.parse(text) as { readonly streamNextOffset?: unknown } | null;
    return typeof control?.streamNextOffset === 'string' ? parseOffset(control.streamNextOffset) : undefined;
  } catch {
    return undefined;
  }
}
