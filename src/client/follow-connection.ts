import { type ErrorCode, MillraceError } from '../errors.js';
import { type OffsetToken, parseOffset } from '../wire/offset.js';
import { CLOSE_APPENDER_LOST } from '../wire/websocket.js';
import type { CheckedConnection } from './connection-options.js';
import { connectionLost, errorFromRefusal } from './problem.js';
import { ReceiveQueue } from './receive-queue.js';
import { explainRefusal } from './requests.js';
import { openSocket, type Socket } from './socket.js';

/** Options of {@link followOnce}. */
export interface FollowOnceOptions extends CheckedConnection {
  /** While more than this has arrived and was not taken, nothing more is read. */
  readonly receivedBytesMax: number;
  /** Where the data begins; undefined for the tail, which the server tells. */
  readonly offset: number | undefined;
  /** The server has accepted. */
  readonly onOpen: () => void;
  /** The server has told where it stands, and of which stream: before any data is given out. */
  readonly onPlace: (start: OffsetToken) => void;
}

/**
 * How a stream that was followed came to its end: it is `closed` for good; its appender has `left`, saying that it was
 * done; or its appender was `lost`, so it may be unfinished.
 */
export type StreamEnd = 'closed' | 'left' | 'lost';

/** A close that says: all is there (RFC 6455, 7.4.1). */
const CLOSE_NORMAL = 1000;
/** Close codes after which there is nothing to come back to (docs/websocket.md). */
const codeOfClose: Readonly<Record<number, readonly [ErrorCode, string]>> = {
  4404: ['STREAM_NOT_FOUND', 'The stream was deleted while it was followed.'],
};

/**
 * The data of one connection in the format of `live=ws`. Returns when the server says that this is all, and how it came
 * to that; throws whatever else happened, also where the connection broke.
 */
export async function* followOnce(
  url: URL,
  options: FollowOnceOptions,
): AsyncGenerator<Uint8Array, StreamEnd, undefined> {
  const inlet = new Inlet(url, options);
  const outcome = await openSocket(url, inlet, { ...options, protocols: [] });
  if (outcome.kind === 'refused') {
    throw outcome.refusal === undefined ? await explainRefusal(url, options) : errorFromRefusal(outcome.refusal, url);
  }
  const { socket } = outcome;
  const abort = () => inlet.queue.end({ error: options.signal?.reason });
  options.signal?.addEventListener('abort', abort, { once: true });
  if (options.signal?.aborted) abort();
  let complete = false;
  try {
    for (;;) {
      const taken = await inlet.queue.take();
      if ('end' in taken) {
        if (taken.end !== 'complete') throw taken.end.error;
        complete = true;
        return inlet.streamEnd;
      }
      yield* taken.chunks;
      inlet.resume();
    }
  } finally {
    options.signal?.removeEventListener('abort', abort);
    if (complete) socket.close();
    // The server answers a goodbye behind all that it has sent, and nobody reads that any more.
    else socket.terminate();
  }
}

/** What comes from the server, sorted, and held back when the reader is slow. */
class Inlet {
  readonly queue = new ReceiveQueue();
  readonly #url: URL;
  readonly #options: FollowOnceOptions;
  /** The offset after all that has come. */
  #offset: number | undefined;
  #placed = false;
  /** What came before the server said of which stream it is. */
  #unplaced: Uint8Array[] = [];
  #paused = false;
  #socket: Socket | undefined;
  /** How the stream ended, where all of it came. */
  streamEnd: StreamEnd = 'left';

  constructor(url: URL, options: FollowOnceOptions) {
    this.#url = url;
    this.#options = options;
    this.#offset = options.offset;
  }

  onOpen(socket: Socket): void {
    this.#socket = socket;
    this.#options.onOpen();
  }

  onBinary(data: Uint8Array): void {
    if (this.#offset === undefined) {
      this.#notUnderstood();
      return;
    }
    this.#offset += data.length;
    // Nobody gets a byte of which it is not known whose it is: after a cut there would be no telling its stream.
    if (this.#placed) this.#push(data);
    else this.#unplaced.push(data);
  }

  #push(data: Uint8Array): void {
    this.queue.push(data);
    if (this.queue.bytes <= this.#options.receivedBytesMax || this.#paused) return;
    if (this.#socket?.pausable === true) {
      this.#paused = true;
      this.#socket.pause();
    } else {
      // Nothing else holds such a socket back. What is queued is read; then a new connection brings the rest.
      this.queue.end({ error: connectionLost(this.#url, CLOSE_NORMAL, 'the reader is slower than the stream') });
      this.#socket?.terminate();
    }
  }

  /** The server counts as we do: what does not agree is not the stream that we began with. */
  onText(text: string): void {
    const { next, closed } = parseControl(text);
    if (closed) this.streamEnd = 'closed';
    if (next !== undefined) this.#offset ??= next.offset;
    if (next === undefined || next.offset !== this.#offset) {
      this.#notUnderstood();
      return;
    }
    if (this.#placed) return;
    this.#placed = true;
    const bytes = this.#unplaced.reduce((sum, data) => sum + data.length, 0);
    this.#options.onPlace({ offset: next.offset - bytes, owner: next.owner });
    for (const data of this.#unplaced) this.#push(data);
    this.#unplaced = [];
  }

  onClose(code: number, reason: string): void {
    const known = codeOfClose[code];
    const isEnd = code === CLOSE_NORMAL || code === CLOSE_APPENDER_LOST;
    if (code === CLOSE_APPENDER_LOST) this.streamEnd = 'lost';
    if (isEnd && this.#unplaced.length > 0) this.#notUnderstood();
    else if (isEnd) this.queue.end('complete');
    else if (known !== undefined) this.queue.end({ error: new MillraceError(known[0], known[1], { closeCode: code }) });
    else this.queue.end({ error: connectionLost(this.#url, code, reason) });
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket?.resume();
  }

  #notUnderstood(): void {
    const message = `${this.#url.host} does not tell where the reader stands: it is no Millrace server, or an older one.`;
    this.queue.end({ error: new MillraceError('UNEXPECTED_RESPONSE', message) });
    this.#socket?.terminate();
  }
}

/** What a control message says: where the reader stands, and whether the stream is closed. */
function parseControl(text: string): { readonly next: OffsetToken | undefined; readonly closed: boolean } {
  try {
    const control = JSON.parse(text) as { readonly streamNextOffset?: unknown; readonly streamClosed?: unknown } | null;
    const { streamNextOffset, streamClosed } = control ?? {};
    const next = typeof streamNextOffset === 'string' ? parseOffset(streamNextOffset) : undefined;
    return { next, closed: streamClosed === true };
  } catch {
    return { next: undefined, closed: false };
  }
}
