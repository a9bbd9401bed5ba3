import { formatOffset, OFFSET_NOW, OFFSET_START, parseStartOffset } from '../wire/offset.js';
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
import { decodeText } from './text.js';

/** Options of {@link follow}. */
export interface FollowOptions extends ConnectionOptions {
  /** Where to begin: a token that a Millrace server or a {@link Follower} gave, `-1` for the start (default), `now` for the tail. */
  readonly offset?: string;
  /**
   * When it ends. `false` (default), as in the seed: when the appender leaves, or at the tail where there is no
   * appender. `true`: when the stream is closed for good.
   */
  readonly live?: boolean;
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
 * `CONNECTION_FAILED` where the first connection cannot be made, `RESUME_FAILED` when it is lost for good,
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
  #offset: number | typeof OFFSET_NOW;

  constructor(url: string | URL, options: FollowOptions) {
    this.#url = parseStreamUrl(url);
    this.#live = options.live ?? false;
    this.#receivedBytesMax = checkBytes('receivedBytesMax', options.receivedBytesMax ?? DEFAULT_RECEIVED_BYTES_MAX);
    this.#options = checkConnection(options);
    this.#backoff = new Backoff(options);
    this.#offset = parseStartOffset(options.offset ?? OFFSET_START);
    this.#chunks = this.#read();
  }

  /** The token of the place after the last chunk that was taken: `follow(url, { offset })` goes on from there. */
  get offset(): string {
    return this.#offset === OFFSET_NOW ? OFFSET_NOW : formatOffset(this.#offset);
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, void, undefined> {
    return this.#chunks;
  }

  /** The same as text: no character is ever split between two chunks. {@link offset} counts all bytes taken for it. */
  text(): AsyncIterable<string> {
    return decodeText(this);
  }

  async *#read(): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal } = this.#options;
    let opened = false;
    for (;;) {
      let failure: unknown;
      try {
        const chunks = followOnce(this.#target(opened), {
          ...this.#options,
          receivedBytesMax: this.#receivedBytesMax,
          offset: this.#offset === OFFSET_NOW ? undefined : this.#offset,
          onOpen: () => {
            opened = true;
            this.#backoff.connected();
          },
          onTail: (offset) => {
            this.#offset = offset;
          },
        });
        for await (const chunk of chunks) {
          this.#backoff.reset();
          this.#offset = (this.#offset as number) + chunk.length;
          yield chunk;
        }
        return;
      } catch (error) {
        failure = error;
      }
      signal?.throwIfAborted();
      if (!opened || !isTransient(failure)) throw failure;
      const delayMs = this.#backoff.next(failure);
      if (delayMs === undefined) throw resumeFailed(this.#url, this.#backoff.retryMs, failure);
      await wait(delayMs, signal);
    }
  }

  #target(resume: boolean): URL {
    const query = { live: 'ws', offset: this.offset };
    if (this.#live) return withQuery(this.#url, query);
    // With `resume` the server waits for an appender that is on its way back as well.
    return withQuery(this.#url, { ...query, verb: 'follow', resume: resume ? 'true' : undefined });
  }
}
