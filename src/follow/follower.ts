import { Buffer } from 'node:buffer';
import { isMillraceError, MillraceError } from '../errors.js';
import { done, type Subscription } from '../event-stream/index.js';
import type { Store } from '../log/index.js';
import type { ReadBudget } from './budget.js';
import { type Chunk, type Encoded, encode, isAppenderLost, NOTHING, type StreamState } from './chunk.js';
import type { Feed } from './feed.js';
import type { Format } from './format.js';

/** Where a follower's bytes go: a socket, a response. */
export interface Sink {
  /**
   * Takes all of it, whatever the answer. `false` asks to be left alone until the sink calls what it was given in
   * {@link onDrain}. The buffer is shared: it must not be changed.
   */
  write(bytes: Buffer): boolean;
  /** Gives the sink its way to ask for more. Called once, before the first write. */
  onDrain(resume: () => void): void;
  /** Everything was written. Called once, and nothing after it. */
  end(reason: FollowEnd): void;
}

/**
 * Why following ended: the stream is `closed` (all of it was sent); its `appender` is gone, `lost` if it did not say that
 * it was done; it was `deleted`; or the engine or store stopped (`stopped`) or a read failed (`failed`), so that there may
 * be more to come.
 */
export type FollowEnd =
  | { readonly kind: 'closed' | 'deleted' | 'stopped' }
  | { readonly kind: 'appender'; readonly lost: boolean }
  | { readonly kind: 'failed'; readonly error: unknown };

/** How to follow. */
export interface FollowOptions {
  /** The first byte to send. `'tail'`: only what is appended from now on. */
  readonly offset: number | 'tail';
  readonly format: Format;
  readonly sink: Sink;
  /** When it is over: at the stream's closure (default), or already when it has no appender. */
  readonly until?: 'closed' | 'appender';
  /**
   * With `until: 'appender'`: how long to wait for an appender where there is none at first, or the one that was there is
   * lost (default 0). Once there was one, its leaving is the end.
   */
  readonly graceMs?: number;
}

/** A follower at work. */
export interface Following {
  /** Ends it without a word to the sink: it is gone, or whoever calls ends it. Calling again changes nothing. */
  stop(): void;
}

/** How much a follower reads at first. It doubles with each read that its sink took. */
const FIRST_READ_BYTES = 64 * 1024;

/**
 * A position and a sink. Whatever it does next follows from the position alone: behind the window it reads the store,
 * inside the window it takes several chunks at once, at the tail it listens to the live list. With a full sink it is
 * nowhere: it keeps its position and what the sink holds, nothing else.
 */
export class Follower implements Following {
  readonly #store: Store;
  readonly #feed: Feed;
  readonly #budget: ReadBudget;
  readonly #format: Format;
  readonly #sink: Sink;
  readonly #untilAppender: boolean;
  readonly #graceMs: number;
  /** From then on an appender that leaves is the end, as for everybody else; one that is lost may come back. */
  #sawAppender = false;
  readonly #onEnd: () => void;
  /** The next byte to take from the stream. */
  #offset: number;
  /** Taken and not yet sent: the beginning of a character. */
  #held: Uint8Array = NOTHING;
  #saidUpToDate = false;
  #saidClosed = false;
  #saidLost = false;
  #readBytes = FIRST_READ_BYTES;
  /** What the budget granted for bytes that the sink has not passed on. */
  #granted = 0;
  #live: Subscription<Chunk> | undefined;
  #reading: AbortController | undefined;
  #over = false;
  #grace: NodeJS.Timeout | undefined;
  #graceOver = false;

  constructor(store: Store, feed: Feed, budget: ReadBudget, options: FollowOptions, onEnd: () => void) {
    this.#store = store;
    this.#feed = feed;
    this.#budget = budget;
    this.#format = options.format;
    this.#sink = options.sink;
    this.#untilAppender = options.until === 'appender';
    this.#graceMs = options.graceMs ?? 0;
    this.#onEnd = onEnd;
    const offset = options.offset === 'tail' ? feed.tail : options.offset;
    if (offset > feed.tail) {
      throw new MillraceError(
        'OFFSET_OUT_OF_RANGE',
        `The offset lies beyond the stream's end at ${feed.tail}: read from there.`,
        { tail: feed.tail },
      );
    }
    this.#offset = offset;
  }

  start(): void {
    this.#sink.onDrain(() => {
      if (this.#over || this.#live !== undefined || this.#reading !== undefined) return;
      this.#release();
      this.#pump();
    });
    this.#pump();
  }

  stop(): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#grace);
    this.#release();
    this.#reading?.abort();
    void this.#live?.return();
    this.#onEnd();
  }

  /** Goes on until the sink is full, the store has to be read, or nothing is left. All in one synchronous step. */
  #pump(): void {
    while (!this.#over) {
      if (this.#offset >= this.#feed.tail) {
        this.#goLive();
        return;
      }
      const granted = this.#budget.grant(this.#readBytes);
      this.#granted = granted;
      const pieces = this.#feed.window.from(this.#offset, granted);
      if (pieces === undefined) {
        void this.#read(granted);
        return;
      }
      const data = pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces);
      if (!this.#take(data, this.#offset + data.length)) return;
    }
  }

  async #read(maxBytes: number): Promise<void> {
    const reading = new AbortController();
    this.#reading = reading;
    try {
      const result = await this.#store.read(this.#feed.info.path, this.#offset, { maxBytes, signal: reading.signal });
      if (this.#over) return;
      this.#reading = undefined;
      // The path may have been deleted and made anew meanwhile.
      if (result.info.id !== this.#feed.info.id) return this.end({ kind: 'deleted' });
      if (result.data.length === 0) {
        throw new Error(`The store shows nothing at ${this.#offset}, before the tail at ${this.#feed.tail}.`);
      }
      if (this.#take(result.data, result.next)) this.#pump();
    } catch (error) {
      if (this.#over) return;
      this.#reading = undefined;
      if (isMillraceError(error, 'STREAM_NOT_FOUND') || isMillraceError(error, 'STREAM_GONE')) {
        this.end({ kind: 'deleted' });
      } else {
        this.end({ kind: 'failed', error });
      }
    }
  }

  /** Sends what was read in catching up. Whether the sink wants more. */
  #take(data: Uint8Array, next: number): boolean {
    const feed = this.#feed;
    const offset = this.#offset;
    this.#offset = next;
    const state = {
      streamId: feed.streamId,
      tail: next,
      upToDate: next >= feed.tail,
      closed: feed.state.closed && next === feed.tail,
      appenderLost: next === feed.tail && isAppenderLost(feed.state),
    };
    const wants = this.#send(encode(this.#format, this.#held, data, state), state);
    if (wants) {
      this.#release();
      if (next - offset > this.#readBytes / 2) this.#readBytes *= 2;
    }
    return wants;
  }

  #send(encoded: Encoded, state: Pick<Chunk, 'upToDate' | 'closed' | 'appenderLost'>): boolean {
    this.#held = encoded.held;
    this.#saidUpToDate = state.upToDate;
    this.#saidClosed = state.closed;
    this.#saidLost = state.appenderLost;
    return encoded.bytes.length === 0 || this.#sink.write(encoded.bytes);
  }

  /** At the tail: ends, or listens from here on. Nothing is awaited between looking at the tail and subscribing. */
  #goLive(): void {
    const feed = this.#feed;
    const { closed } = feed.state;
    const appenderLost = isAppenderLost(feed.state);
    if (!this.#saidUpToDate || (closed && !this.#saidClosed) || (appenderLost && !this.#saidLost)) {
      const state = { streamId: feed.streamId, tail: this.#offset, upToDate: true, closed, appenderLost };
      // What the sink says does not matter: the live loop asks again with the next chunk.
      this.#send(encode(this.#format, this.#held, NOTHING, state), state);
    }
    if (this.#isEnd(feed.state)) return;
    if (feed.ended !== undefined) {
      this.end({ kind: feed.ended });
      return;
    }
    const live = feed.live.subscribe();
    this.#live = live;
    live
      .consume((chunk) => (this.#onChunk(chunk) ? undefined : done))
      .then(
        () => this.#onLiveEnd(live),
        (error) => this.end({ kind: 'failed', error }),
      );
  }

  /** A chunk, the moment it is there. Whether to go on listening. */
  #onChunk(chunk: Chunk): boolean {
    let wants = true;
    // News also without data.
    const isStateNews = chunk.closed || (chunk.appenderLost && !this.#saidLost && chunk.tail >= this.#offset);
    if (chunk.offset === this.#offset && (chunk.data.length > 0 || isStateNews)) {
      this.#offset = chunk.tail;
      wants = this.#send(chunk.encoded(this.#format, this.#held), chunk);
    } else if (chunk.tail > this.#offset || isStateNews) {
      // The store was read ahead of the live list.
      const data = chunk.tail > this.#offset ? chunk.data.subarray(this.#offset - chunk.offset) : NOTHING;
      this.#offset = Math.max(this.#offset, chunk.tail);
      wants = this.#send(encode(this.#format, this.#held, data, chunk), chunk);
    }
    if (this.#isEnd(chunk)) return false;
    if (!wants) {
      // Let go of the place in the list: only the position stays.
      this.#live = undefined;
    }
    return wants;
  }

  #onLiveEnd(live: Subscription<Chunk>): void {
    // Anything but the list's own end has been dealt with: a full sink, an end, a stop.
    if (this.#over || this.#live !== live) return;
    this.end({ kind: this.#feed.ended ?? 'stopped' });
  }

  /** Ends the follower where the state says so. Only once everything up to this state was sent. */
  #isEnd(state: StreamState): boolean {
    if (state.closed) this.end({ kind: 'closed' });
    else if (state.deleted) this.end({ kind: 'deleted' });
    else if (!this.#untilAppender) return false;
    else if (state.appender) {
      clearTimeout(this.#grace);
      this.#grace = undefined;
      this.#graceOver = false;
      this.#sawAppender = true;
    } else if (this.#graceMs === 0 || this.#graceOver || (this.#sawAppender && state.lastAppender !== 'lost'))
      this.#endOfAppender(state);
    else this.#grace ??= setTimeout(() => this.#onGraceOver(), this.#graceMs);
    return this.#over;
  }

  #onGraceOver(): void {
    this.#graceOver = true;
    // A follower that is not there yet finds out when it is.
    if (this.#live !== undefined) this.#endOfAppender(this.#feed.state);
  }

  #endOfAppender({ lastAppender }: StreamState): void {
    this.end({ kind: 'appender', lost: lastAppender === 'lost' });
  }

  /** Ends it and tells the sink. */
  end(reason: FollowEnd): void {
    if (this.#over) return;
    if (this.#held.length > 0 && reason.kind !== 'failed' && reason.kind !== 'stopped') {
      // No more is coming: what looked like the beginning of a character goes out as it is.
      const closed = reason.kind === 'closed';
      const { streamId } = this.#feed;
      const state = { streamId, tail: this.#offset, upToDate: true, closed, appenderLost: false, final: true };
      this.#send(encode(this.#format, this.#held, NOTHING, state), state);
    }
    this.stop();
    this.#sink.end(reason);
  }

  #release(): void {
    this.#budget.release(this.#granted);
    this.#granted = 0;
  }
}
