import { isMillraceError } from '../errors.js';
import { formatOffset, OFFSET_NOW, OFFSET_START, parseStartOffset, type StartOffset } from '../wire/offset.js';
import {
  type CheckedConnection,
  type ConnectionOptions,
  checkConnection,
  parseStreamUrl,
  withQuery,
} from './connection-options.js';
import { followOnce } from './follow-connection.js';
import { isTransient, resumeFailed } from './problem.js';
import { Backoff, checkBytes, wait } from './retry.js';
import { TextPieces } from './text.js';

/** Options of {@link follow}. */
export interface FollowOptions extends ConnectionOptions {
  /** Where to begin: a token that a Millrace server or a {@link Follower} gave, `-1` for the start (default), `now` for the tail. */
  readonly offset?: string;
  /**
   * When it ends. `false` (default), as in the seed: when the appender leaves, or at the tail where there is no
   * appender. `true`: when the stream is closed for good.
   */
  readonly live?: boolean;
  /**
   * What to do where the stream was deleted and another one is at its place: `'fail'` (default) with
   * `OFFSET_OF_ANOTHER_STREAM`, or go on with the new stream from its beginning. A function is called before its first
   * chunk is given out: what was read before is of the old one.
   */
  readonly onRecreated?: 'fail' | 'restart' | (() => void);
  /** Bytes that may have arrived and not been taken, about; then the server has to wait (default {@link DEFAULT_RECEIVED_BYTES_MAX}). */
  readonly receivedBytesMax?: number;
}

/** Default of {@link FollowOptions.receivedBytesMax}. */
export const DEFAULT_RECEIVED_BYTES_MAX = 1024 * 1024;

/**
 * Follows a stream: what it has, then what is appended, byte for byte, in chunks as they come. A lost connection is
 * made anew and goes on where it broke off. Nothing is requested before the first chunk is asked for.
 *
 * Errors, from the iteration: `STREAM_NOT_FOUND`, `STREAM_GONE`, `INVALID_OFFSET`, `OFFSET_OUT_OF_RANGE`,
 * `OFFSET_OF_ANOTHER_STREAM` (see {@link FollowOptions.onRecreated}), `CONNECTION_FAILED` where the first connection cannot be made, `RESUME_FAILED` when it is lost for good,
 * `UNEXPECTED_RESPONSE`; the reason of an aborted `signal`. At once: `INVALID_ARGUMENT`, `INVALID_OFFSET`.
 */
export function follow(url: string | URL, options: FollowOptions = {}): Follower {
  return new Follower(url, options);
}

/** One reader of one stream. It can be iterated once, as bytes or as text. */
export class Follower implements AsyncIterable<Uint8Array> {
  readonly #url: URL;
  readonly #live: boolean;
  readonly #receivedBytesMax: number;
  readonly #options: CheckedConnection;
  readonly #backoff: Backoff;
  readonly #chunks: AsyncGenerator<Uint8Array, void, undefined>;
  /** Ends all that is waited for: by the caller's signal, or because the reader leaves. */
  readonly #ending = new AbortController();
  #left = false;
  /** Bytes of an unfinished character: they were taken, and no text has them yet. */
  #heldBytes = 0;
  #offset: number | typeof OFFSET_NOW = OFFSET_NOW;
  /** The stream that `#offset` is of, as its tokens name it; undefined before the server has said. */
  #owner: string | undefined;
  readonly #onRecreated: 'fail' | 'restart' | (() => void);
  /** The old stream is over, and no chunk of the new one was given out. */
  #restarting = false;
  /** How often it began with a new stream. */
  #restarts = 0;

  constructor(url: string | URL, options: FollowOptions) {
    this.#url = parseStreamUrl(url);
    this.#live = options.live ?? false;
    this.#receivedBytesMax = checkBytes('receivedBytesMax', options.receivedBytesMax ?? DEFAULT_RECEIVED_BYTES_MAX);
    this.#options = checkConnection(options);
    this.#backoff = new Backoff(options);
    this.#onRecreated = options.onRecreated ?? 'fail';
    this.#moveTo(parseStartOffset(options.offset ?? OFFSET_START));
    this.#chunks = this.#read();
  }

  /** The token of the place after the last chunk that was taken: `follow(url, { offset })` goes on from there. */
  get offset(): string {
    return this.#offset === OFFSET_NOW ? OFFSET_NOW : formatOffset(this.#offset - this.#heldBytes, this.#owner);
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
    const { signal } = this.#ending;
    let opened = false;
    for (;;) {
      let failure: unknown;
      try {
        const chunks = followOnce(this.#target(opened), {
          ...this.#options,
          signal,
          receivedBytesMax: this.#receivedBytesMax,
          offset: this.#offset === OFFSET_NOW ? undefined : this.#offset,
          onOpen: () => {
            opened = true;
            this.#backoff.connected();
          },
          onPlace: (start) => this.#moveTo(start),
        });
        for await (const chunk of chunks) {
          // What is queued already does not count: an aborted follow ends here and now.
          signal.throwIfAborted();
          this.#backoff.reset();
          this.#tellOfRestart();
          this.#offset = (this.#offset as number) + chunk.length;
          yield chunk;
        }
        signal.throwIfAborted();
        return;
      } catch (error) {
        failure = error;
      }
      signal.throwIfAborted();
      if (this.#restartsAfter(failure)) continue;
      if (!opened || !isTransient(failure)) throw failure;
      const delayMs = this.#backoff.next(failure);
      if (delayMs === undefined) throw resumeFailed(this.#url, this.#backoff.retryMs, failure);
      await wait(delayMs, signal);
    }
  }

  /** Whether what happened means that this stream is over, and that one at its place is to be read from its beginning. */
  #restartsAfter(failure: unknown): boolean {
    if (this.#onRecreated === 'fail') return false;
    // Deleted under our eyes: if there is a new one by now, it is what was asked for.
    const deleted = isMillraceError(failure, 'STREAM_NOT_FOUND') && failure.details.closeCode !== undefined;
    if (!deleted && !isMillraceError(failure, 'OFFSET_OF_ANOTHER_STREAM')) return false;
    this.#moveTo(parseStartOffset(OFFSET_START));
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

  #moveTo(start: StartOffset): void {
    this.#offset = start === OFFSET_NOW ? start : start.offset;
    this.#owner = start === OFFSET_NOW ? undefined : start.owner;
  }

  #target(resume: boolean): URL {
    const offset = this.#offset === OFFSET_NOW ? OFFSET_NOW : formatOffset(this.#offset, this.#owner);
    const query = { live: 'ws', offset };
    if (this.#live) return withQuery(this.#url, query);
    // With `resume` the server waits for an appender that is on its way back as well.
    return withQuery(this.#url, { ...query, verb: 'follow', resume: resume ? 'true' : undefined });
  }
}
