import { isMillraceError, MillraceError } from '../errors.js';
import type { Welcome } from '../wire/append-protocol.js';
import { ownerOf, parseOffset } from '../wire/offset.js';
import { type AppendConnection, connectAppend } from './append-connection.js';
import {
  type CheckedConnection,
  type ConnectionOptions,
  checkConnection,
  parseStreamUrl,
  withQuery,
} from './connection-options.js';
import { type Deferred, deferred } from './deferred.js';
import { FrameBuffer, type FrameGatherer } from './frame-buffer.js';
import { JsonFrames } from './json-frames.js';
import { isTransient, resumeFailed } from './problem.js';
import { appendByProtocol } from './protocol-append.js';
import { ReplayQueue } from './replay-queue.js';
import { Backoff, checkBytes, wait } from './retry.js';

/** Options of everything that appends over a session. */
export interface AppendOptions extends ConnectionOptions {
  /**
   * Names this appender across its connections (default: a random one). An appender that carries on where an earlier
   * process stopped gives that one's id and a higher `epoch`.
   */
  readonly producerId?: string;
  /** The first connection's epoch (default 0); each new connection uses the next one. A higher one takes over a living session. */
  readonly epoch?: number;
  /** MIME type of the stream where this makes it (default: by the path's extension). One that is there keeps its own. */
  readonly contentType?: string;
  /** Close the stream for good behind the last byte (default false). */
  readonly closeStream?: boolean;
  /** Bytes that may be written and not acknowledged; then writing waits (default {@link DEFAULT_UNACKNOWLEDGED_BYTES_MAX}). */
  readonly unacknowledgedBytesMax?: number;
  /**
   * Most bytes of one frame; small writes share one (default {@link DEFAULT_FRAME_BYTES_MAX}). One JSON message is
   * never cut, whatever its size.
   */
  readonly frameBytesMax?: number;
}

/** Default of {@link AppendOptions.unacknowledgedBytesMax}: so much is kept in memory, to be sent again. */
export const DEFAULT_UNACKNOWLEDGED_BYTES_MAX = 8 * 1024 * 1024;
/** Default of {@link AppendOptions.frameBytesMax}. */
export const DEFAULT_FRAME_BYTES_MAX = 64 * 1024;

/** What was appended. */
export interface AppendResult {
  /** The stream's offset after the last byte of this appender: follow from here to see only what comes later. */
  readonly offset: string;
  /** How many bytes this appender has sent: in a JSON stream they are kept without blanks, one message a line. */
  readonly bytes: number;
}

/**
 * An appender session that outlives its connections. What is not acknowledged is kept, and sent again after a
 * reconnect; the server's record of this producer tells what had arrived, so every byte is appended exactly once.
 */
export class Appender {
  readonly #url: URL;
  readonly #options: CheckedConnection;
  readonly #backoff: Backoff;
  readonly #producerId: string;
  /** The id was made here, so it is nobody else's: the server need not remember it once everything is acknowledged. */
  readonly #producerOnce: boolean;
  readonly #contentType: string | undefined;
  readonly #closeStream: boolean;
  readonly #unacknowledgedBytesMax: number;
  readonly #frameBytesMax: number;
  readonly #queue = new ReplayQueue();
  readonly #onFailure: (error: unknown) => void;
  /** Ends the work of this appender: its connection attempts and waits. */
  readonly #ending = new AbortController();
  #epoch: number;
  #connection: AppendConnection | undefined;
  /** Made for the stream's type, which the first connection tells. */
  #buffer: FrameGatherer = NOTHING_WRITTEN;
  /** Whether it is a JSON stream: what is gathered is in the form for that. */
  #json: boolean | undefined;
  #failure: { readonly error: unknown } | undefined;
  #closed = false;
  #bytes = 0;
  #offset = '';
  /** Whose offsets the server counts: another's after a reconnect are those of another stream. */
  #owner: string | undefined;
  #flushScheduled = false;
  /** Writers that wait until less is unacknowledged. */
  #room: Deferred<void> | undefined;
  /** Those who wait until everything is acknowledged. */
  #settled: Deferred<void> | undefined;
  /** `close()`, while it waits until the stream is closed for good. */
  #streamClosed: Deferred<void> | undefined;

  /** `onFailure` is called at most once, when the appender can do nothing more. */
  constructor(url: string | URL, options: AppendOptions, onFailure: (error: unknown) => void) {
    this.#url = parseStreamUrl(url);
    this.#options = checkConnection(options);
    this.#backoff = new Backoff(options);
    this.#producerId = options.producerId ?? globalThis.crypto.randomUUID();
    this.#producerOnce = options.producerId === undefined;
    this.#epoch = checkEpoch(options.epoch ?? 0);
    this.#contentType = options.contentType;
    this.#closeStream = options.closeStream ?? false;
    this.#unacknowledgedBytesMax = checkBytes(
      'unacknowledgedBytesMax',
      options.unacknowledgedBytesMax ?? DEFAULT_UNACKNOWLEDGED_BYTES_MAX,
    );
    this.#frameBytesMax = checkBytes('frameBytesMax', options.frameBytesMax ?? DEFAULT_FRAME_BYTES_MAX, 16);
    this.#onFailure = onFailure;
    const { signal } = this.#options;
    if (signal !== undefined) {
      const abort = () => this.abort(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      this.#ending.signal.addEventListener('abort', () => signal.removeEventListener('abort', abort));
    }
  }

  /** The offset up to which everything is durable: this appender's bytes, and all before them. */
  get offset(): string {
    return this.#offset;
  }

  get producerId(): string {
    return this.#producerId;
  }

  /** The epoch of the newest connection. */
  get epoch(): number {
    return this.#epoch - 1;
  }

  /**
   * Makes the first connection. It is not tried again: a wrong address should be told at once.
   * Errors: `CONNECTION_FAILED`, and what the server answers: `APPENDER_ACTIVE`, `STREAM_CLOSED`, `PRODUCER_FENCED`…
   */
  async open(): Promise<void> {
    this.#options.signal?.throwIfAborted();
    try {
      const { json, frameBytesMax } = await this.#connect();
      this.#json = json;
      const bytesMax = Math.min(this.#frameBytesMax, frameBytesMax);
      const emit = (frame: Uint8Array) => this.#queue.push(frame);
      this.#buffer = json ? new JsonFrames(bytesMax, frameBytesMax, emit) : new FrameBuffer(bytesMax, emit);
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  /**
   * Appends. A promise is returned only where the caller must wait: because too much is unacknowledged, or because this
   * chunk can never be sent, while what was written before still can.
   */
  write(chunk: Uint8Array | string): Promise<void> | undefined {
    if (this.#failure !== undefined) throw this.#failure.error;
    try {
      checkChunk(chunk);
      this.#buffer.write(chunk);
    } catch (error) {
      return this.failAfterRest(error);
    }
    this.#scheduleFlush();
    if (this.#queue.bytes + this.#buffer.bytes <= this.#unacknowledgedBytesMax) return undefined;
    this.#flush();
    this.#room ??= deferred();
    return this.#room.promise;
  }

  /** Waits until everything is durable, then gives the stream free. */
  async close(): Promise<AppendResult> {
    try {
      this.#buffer.end();
    } catch (error) {
      await this.failAfterRest(error);
    }
    await this.#settle();
    if (this.#closeStream) await this.#closeForGood();
    this.#closed = true;
    const connection = this.#connection;
    this.#connection = undefined;
    this.#ending.abort();
    await connection?.close();
    return { offset: this.#offset, bytes: this.#bytes };
  }

  /** Fails, for something that cannot be sent or did not come, once all that was written before it is durable. */
  async failAfterRest(error: unknown): Promise<never> {
    await this.#settle();
    this.#fail(error);
    throw error;
  }

  /** Gives up at once. What had reached the server stays appended. */
  abort(reason: unknown): void {
    this.#fail(reason);
  }

  /** Sends what was gathered, once everything else that is ready to run has run: many writes become one frame. */
  #scheduleFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    afterThisTurn(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#failure !== undefined) return;
    this.#buffer.flush();
    this.#pump();
  }

  #pump(): void {
    if (this.#connection === undefined) return;
    for (let next = this.#queue.take(); next !== undefined; next = this.#queue.take()) {
      this.#connection.send(next.frame);
    }
  }

  /** Resolves when everything that was written is acknowledged. */
  async #settle(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#flush();
    if (this.#queue.empty) return;
    this.#settled ??= deferred();
    await this.#settled.promise;
  }

  /** Everything before is durable already, so a broken connection cannot separate the closure from its data. */
  #closeForGood(): Promise<void> {
    this.#streamClosed = deferred();
    this.#connection?.closeStream();
    return this.#streamClosed.promise;
  }

  #acknowledge(ack: { readonly seq: number; readonly offset: string; readonly closed: boolean }): void {
    this.#backoff.reset();
    if (ack.closed) {
      this.#offset = ack.offset;
      this.#streamClosed?.resolve();
      return;
    }
    const before = this.#queue.bytes;
    this.#queue.acknowledge(ack.seq);
    this.#acknowledged(before, ack.offset);
  }

  /** Wakes those who waited for what `#queue` has just let go of. */
  #acknowledged(bytesBefore: number, offset: string): void {
    this.#bytes += bytesBefore - this.#queue.bytes;
    this.#offset = offset;
    if (this.#queue.bytes <= this.#unacknowledgedBytesMax / 2) {
      this.#room?.resolve();
      this.#room = undefined;
    }
    if (this.#queue.empty && this.#buffer.bytes === 0) {
      this.#settled?.resolve();
      this.#settled = undefined;
    }
  }

  async #connect(): Promise<Welcome> {
    const epoch = this.#epoch++;
    const url = withQuery(this.#url, {
      verb: 'append',
      producerId: this.#producerId,
      producerEpoch: String(epoch),
      producerOnce: this.#producerOnce ? 'true' : undefined,
      contentType: this.#contentType,
    });
    const options = { ...this.#options, signal: this.#ending.signal };
    const connection = await connectAppend(url, options).catch((refusal: unknown) => {
      // A server that has taken the session once is Millrace.
      if (this.#json !== undefined) throw refusal;
      const producer = { id: this.#producerId, epoch };
      const backoff = this.#backoff;
      const contentType = this.#contentType;
      return appendByProtocol(this.#url, { connection: options, backoff, producer, contentType, refusal });
    });
    if (this.#failure !== undefined) {
      connection.terminate();
      throw this.#failure.error;
    }
    this.#backoff.connected();
    const before = this.#queue.bytes;
    try {
      const owner = ownerOf(connection.welcome.offset);
      if (this.#owner !== undefined && owner !== this.#owner && this.#bytes > 0) {
        throw new MillraceError(
          'RESUME_FAILED',
          'The stream was deleted and made anew while the connection was broken: what was appended before is gone with it. Start a new append.',
        );
      }
      this.#owner = owner;
      if (this.#json !== undefined && this.#json !== connection.welcome.json) {
        throw new MillraceError(
          'RESUME_FAILED',
          'The stream was deleted and made anew as one of another kind while the connection was broken. Start a new append.',
        );
      }
      this.#queue.begin(epoch, connection.welcome.committed ?? undefined);
    } catch (error) {
      // Nobody else knows of it: left open, it would keep the stream from all other appenders.
      connection.terminate();
      throw error;
    }
    this.#connection = connection;
    this.#acknowledged(before, connection.welcome.offset);
    connection.attach({
      onAck: (ack) => this.#orFail(() => this.#acknowledge(ack)),
      onLost: (error) => {
        if (this.#connection !== connection) return;
        this.#connection = undefined;
        // It throws what `onRetry` throws.
        this.#resume(error).catch((failure: unknown) => this.#fail(failure));
      },
    });
    this.#pump();
    if (this.#streamClosed !== undefined) connection.closeStream();
    return connection.welcome;
  }

  /** Connects again, until it works or there is no point in trying. */
  async #resume(lost: unknown): Promise<void> {
    let error = lost;
    while (this.#failure === undefined && !this.#closed) {
      if (this.#streamClosed !== undefined && this.#isOurClosure(error)) return this.#streamClosed.resolve();
      if (!isTransient(error)) return this.#fail(error);
      const delayMs = this.#backoff.next(error);
      if (delayMs === undefined) return this.#fail(resumeFailed(this.#url, this.#backoff.retryMs, error));
      try {
        await wait(delayMs, this.#ending.signal);
        await this.#connect();
        return;
      } catch (again) {
        error = again;
      }
    }
  }

  /** The stream was closed right behind our last byte: the closure had arrived, only its acknowledgement had not. */
  #isOurClosure(error: unknown): boolean {
    if (!isMillraceError(error, 'STREAM_CLOSED')) return false;
    const { nextOffset, offset } = error.details;
    return nextOffset === undefined ? offset === parseOffset(this.#offset).offset : nextOffset === this.#offset;
  }

  #orFail(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined || this.#closed) return;
    this.#failure = { error };
    this.#ending.abort(error);
    this.#connection?.terminate();
    this.#connection = undefined;
    for (const waiting of [this.#room, this.#settled, this.#streamClosed]) waiting?.reject(error);
    this.#room = undefined;
    this.#settled = undefined;
    this.#onFailure(error);
  }
}

/** Before {@link Appender.open} has resolved. */
const NOTHING_WRITTEN: FrameGatherer = {
  bytes: 0,
  write: () => {
    throw new MillraceError('INVALID_ARGUMENT', 'Wait until the appender is open before writing.');
  },
  flush: () => undefined,
  end: () => undefined,
};

/** What is neither would be dropped without a word. Errors: `INVALID_ARGUMENT`. */
export function checkChunk(chunk: unknown): asserts chunk is Uint8Array | string {
  if (typeof chunk === 'string' || chunk instanceof Uint8Array) return;
  throw new MillraceError('INVALID_ARGUMENT', `What is appended must be strings or Uint8Arrays, not ${nameOf(chunk)}.`);
}

function nameOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice('[object '.length, -1);
}

function checkEpoch(epoch: number): number {
  if (Number.isSafeInteger(epoch) && epoch >= 0) return epoch;
  throw new MillraceError('INVALID_ARGUMENT', `epoch must be a whole number of at least 0, not ${epoch}.`);
}

/** Runs after all that is ready now, also promises; sooner than a timer where the platform allows it. */
const afterThisTurn: (callback: () => void) => void =
  typeof globalThis.setImmediate === 'function'
    ? (callback) => void globalThis.setImmediate(callback)
    : (callback) => void setTimeout(callback, 0);
