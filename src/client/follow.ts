import { isMillraceError, MillraceError } from '../errors.js';
import { isStartOffset, OFFSET_START, parseStartOffset } from '../wire/offset.js';
import {
  type CheckedConnection,
  type ConnectionOptions,
  checkConnection,
  parseStreamUrl,
} from './connection-options.js';
import type { StreamEnd } from './follow-connection.js';
import { MillraceFollow } from './millrace-follow.js';
import { isTransient, resumeFailed } from './problem.js';
import { ProtocolFollow } from './protocol-follow.js';
import { askOtherServer, notFoundThere } from './protocol-server.js';
import { Backoff, checkBytes, checkMs, wait } from './retry.js';
import { TextPieces } from './text.js';

/** Options of {@link follow}. */
export interface FollowOptions extends ConnectionOptions {
  /** Where to begin: a token that the server or a {@link Follower} gave, `-1` for the start (default), `now` for the tail. */
  readonly offset?: string;
  /**
   * When it ends. `false` (default), as in the seed: when the appender leaves, or at the tail where there is no
   * appender. `true`: when the stream is closed for good.
   */
  readonly live?: boolean;
  /**
   * What to do where the stream was deleted and another one is at its place: `'fail'` (default) with
   * `OFFSET_OF_ANOTHER_STREAM`, or go on with the new stream from its beginning. A function is called before its first
   * chunk is given out: what was read before is of the old one. Where the other one is yet to be made, `wait` says for how
   * long it is waited for; without, and always with `'fail'`, a stream that is deleted while it is followed is `STREAM_NOT_FOUND`.
   */
  readonly onRecreated?: 'fail' | 'restart' | (() => void);
  /**
   * Wait for a stream that is not there yet: for {@link DEFAULT_FOLLOW_WAIT_MS}, or for so many milliseconds; then it is
   * `STREAM_NOT_FOUND` after all. With `onRecreated` also for one that is to take a deleted one's place. Default `false`.
   */
  readonly wait?: boolean | number;
  /** Bytes that may have arrived and not been taken, about; then the server has to wait (default {@link DEFAULT_RECEIVED_BYTES_MAX}). */
  readonly receivedBytesMax?: number;
}

/** Default of {@link FollowOptions.receivedBytesMax}. */
export const DEFAULT_RECEIVED_BYTES_MAX = 1024 * 1024;
/** How long {@link FollowOptions.wait} waits. */
export const DEFAULT_FOLLOW_WAIT_MS = 300_000;

/** The longest pause between two looks for a stream that is not there yet: so much later, at most, it is seen. */
const LOOK_DELAY_MAX_MS = 1_000;
/** The first one; each is twice as long as the one before. */
const LOOK_DELAY_MIN_MS = 50;

/**
 * Follows a stream: what it has, then what is appended, byte for byte, in chunks as they come. A lost connection is
 * made anew and goes on where it broke off. Nothing is requested before the first chunk is asked for.
 *
 * Another Durable Streams server than Millrace is read and polled by the means of that protocol: it knows no appenders,
 * so without `live` its streams end at their tail.
 *
 * Errors, from the iteration: `STREAM_NOT_FOUND`, `STREAM_GONE`, `INVALID_OFFSET`, `OFFSET_OUT_OF_RANGE`,
 * `OFFSET_OF_ANOTHER_STREAM` (see {@link FollowOptions.onRecreated}), `CONNECTION_FAILED` where the first connection
 * cannot be made, `RESUME_FAILED` when it is lost for good, `UNEXPECTED_RESPONSE`; the reason of an aborted `signal`. At
 * once: `INVALID_ARGUMENT`, `INVALID_OFFSET`.
 */
export function follow(url: string | URL, options: FollowOptions = {}): Follower {
  return new Follower(url, options);
}

/** One reader of one stream. It can be iterated once, as bytes or as text. */
export class Follower implements AsyncIterable<Uint8Array> {
  readonly #url: URL;
  /** Where it was told to begin. */
  readonly #begin: string;
  readonly #live: boolean;
  readonly #waitMs: number;
  readonly #options: CheckedConnection;
  readonly #backoff: Backoff;
  readonly #chunks: AsyncGenerator<Uint8Array, void, undefined>;
  readonly #onRecreated: 'fail' | 'restart' | (() => void);
  /** Ends all that is waited for: by the caller's signal, or because the reader leaves. */
  readonly #ending = new AbortController();
  #way: MillraceFollow | ProtocolFollow;
  #left = false;
  #end: StreamEnd | undefined;
  /** Bytes of an unfinished character: they were taken, and no text has them yet. */
  #heldBytes = 0;
  /** The old stream is over, and no chunk of the new one was given out. */
  #restarting = false;
  /** How often it began with a new stream. */
  #restarts = 0;

  constructor(url: string | URL, options: FollowOptions) {
    this.#url = parseStreamUrl(url);
    this.#live = options.live ?? false;
    this.#waitMs = checkWait(options.wait ?? false);
    const receivedBytesMax = checkBytes('receivedBytesMax', options.receivedBytesMax ?? DEFAULT_RECEIVED_BYTES_MAX);
    this.#options = checkConnection(options);
    this.#backoff = new Backoff(options);
    this.#onRecreated = options.onRecreated ?? 'fail';
    this.#begin = options.offset ?? OFFSET_START;
    this.#way = isStartOffset(this.#begin)
      ? new MillraceFollow(this.#url, parseStartOffset(this.#begin), { live: this.#live, receivedBytesMax })
      : new ProtocolFollow(this.#url, checkToken(this.#begin), this.#live);
    this.#chunks = this.#read();
  }

  /** The token of the place after the last chunk that was taken: `follow(url, { offset })` goes on from there. */
  get offset(): string {
    return this.#way.offset(this.#heldBytes);
  }

  /**
   * How the stream came to its end, once the iteration is over; undefined before that, and where the reader has left or
   * following has failed. After `'lost'` the stream may be unfinished: its appender never said that it was done. A stream
   * without any appender has `'left'`.
   */
  get end(): StreamEnd | undefined {
    return this.#end;
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array, void, undefined> {
    return this.#leavable(this.#chunks);
  }

  /**
   * The same as text: no character is ever split between two chunks. {@link offset} then stands before a character
   * whose last bytes have not come.
   */
  text(): AsyncIterableIterator<string, void, undefined> {
    return this.#leavable(this.#readText());
  }

  /** A generator puts `return` behind the `next` that is waiting, which may wait for ever: this one ends that first. */
  #leavable<T>(generator: AsyncGenerator<T, void, undefined>): AsyncIterableIterator<T, void, undefined> {
    return {
      next: () => generator.next(),
      return: () => {
        this.#left = true;
        this.#ending.abort();
        return generator.return();
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  async *#readText(): AsyncGenerator<string, void, undefined> {
    let pieces = new TextPieces();
    let restarts = this.#restarts;
    for await (const chunk of this.#chunks) {
      if (restarts !== this.#restarts) {
        // What the old stream ended in the middle of is not to be finished by the new one.
        restarts = this.#restarts;
        pieces = new TextPieces();
      }
      const text = pieces.push(chunk);
      this.#heldBytes = pieces.heldBytes;
      if (text !== '') yield text;
    }
    // The rest of the character may come later: the offset stays before it.
    const rest = pieces.end();
    if (rest !== '' && !this.#left) yield rest;
  }

  async *#read(): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal } = this.#options;
    const abort = () => this.#ending.abort(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted) abort();
    try {
      yield* this.#connections();
    } catch (error) {
      // Who has left is not told how it ended.
      if (!this.#left) throw error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** The data of one connection after the other. */
  async *#connections(): AsyncGenerator<Uint8Array, void, undefined> {
    const options = { ...this.#options, signal: this.#ending.signal };
    let looks = new Looks(this.#waitMs);
    let opened = false;
    const onOpen = () => {
      opened = true;
      this.#backoff.connected();
    };
    for (;;) {
      let failure: unknown;
      try {
        const end = yield* this.#connection(this.#way.chunks(options, onOpen), options.signal);
        options.signal.throwIfAborted();
        this.#end = end;
        return;
      } catch (error) {
        failure = error;
      }
      options.signal.throwIfAborted();
      if (!opened) failure = await this.#otherWay(failure, options);
      if (failure === undefined) continue;
      if (this.#restartsAfter(failure, opened)) {
        looks = new Looks(this.#waitMs);
        continue;
      }
      const awaited = !opened || (this.#restarting && isMillraceError(failure, 'STREAM_NOT_FOUND'));
      const delayMs = awaited ? looks.next(failure) : this.#retryDelayMs(failure);
      if (delayMs === undefined) throw failure;
      await wait(delayMs, options.signal);
    }
  }

  /** The data of one connection. Answers how the stream came to its end. */
  async *#connection(
    chunks: AsyncGenerator<Uint8Array, StreamEnd, undefined>,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, StreamEnd, undefined> {
    try {
      for (;;) {
        const { done, value } = await chunks.next();
        if (done === true) return value;
        // What is queued already does not count: an aborted follow ends here and now.
        signal.throwIfAborted();
        this.#backoff.reset();
        this.#tellOfRestart();
        yield value;
      }
    } finally {
      await chunks.return('left');
    }
  }

  /** Takes to the other way where the server is not Millrace; else answers what has failed. */
  async #otherWay(refusal: unknown, options: CheckedConnection): Promise<unknown> {
    if (this.#way instanceof ProtocolFollow) return refusal;
    try {
      const found = await askOtherServer(this.#url, options, refusal);
      if (found === undefined) return notFoundThere(this.#url);
    } catch (error) {
      return error;
    }
    this.#way = new ProtocolFollow(this.#url, this.#begin, this.#live);
    return undefined;
  }

  /** Undefined where it makes no sense to try again. */
  #retryDelayMs(failure: unknown): number | undefined {
    if (!isTransient(failure)) return undefined;
    const delayMs = this.#backoff.next(failure);
    if (delayMs === undefined) throw resumeFailed(this.#url, this.#backoff.retryMs, failure);
    return delayMs;
  }

  /** Whether what happened means that this stream is over, and that one at its place is to be read from its beginning. */
  #restartsAfter(failure: unknown, opened: boolean): boolean {
    if (this.#onRecreated === 'fail' || this.#way instanceof ProtocolFollow) return false;
    // Deleted, under our eyes or while the connection was lost: if there is a new one by now, it is what was asked for.
    const deleted =
      isMillraceError(failure, 'STREAM_NOT_FOUND') &&
      (failure.details.closeCode !== undefined || (opened && !this.#restarting));
    if (!deleted && !isMillraceError(failure, 'OFFSET_OF_ANOTHER_STREAM')) return false;
    this.#way.restart();
    this.#heldBytes = 0;
    this.#restarting = true;
    return true;
  }

  #tellOfRestart(): void {
    if (!this.#restarting) return;
    this.#restarting = false;
    this.#restarts++;
    if (typeof this.#onRecreated === 'function') this.#onRecreated();
  }
}

/** Looks for a stream that is not there yet. */
class Looks {
  readonly #waitMs: number;
  readonly #beganMs = performance.now();
  #delayMs = LOOK_DELAY_MIN_MS;

  constructor(waitMs: number) {
    this.#waitMs = waitMs;
  }

  /** Milliseconds until the next look, or undefined where there is nothing to wait for any more. */
  next(failure: unknown): number | undefined {
    const leftMs = this.#waitMs - (performance.now() - this.#beganMs);
    if (leftMs <= 0 || !isMillraceError(failure, 'STREAM_NOT_FOUND')) return undefined;
    const delayMs = Math.min(this.#delayMs, leftMs);
    this.#delayMs = Math.min(2 * this.#delayMs, LOOK_DELAY_MAX_MS);
    return delayMs;
  }
}

/** What no server can have given (Durable Streams, section 8). Errors: `INVALID_OFFSET`. */
function checkToken(offset: string): string {
  if (/^[^\s,&=?/]{1,256}$/.test(offset)) return offset;
  throw new MillraceError('INVALID_OFFSET', 'The offset is no token that a server gives out: give one as it came.');
}

/** Errors: `INVALID_ARGUMENT`. */
function checkWait(given: boolean | number): number {
  if (typeof given === 'boolean') return given ? DEFAULT_FOLLOW_WAIT_MS : 0;
  return checkMs('wait', given, 0);
}
