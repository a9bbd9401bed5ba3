import { MillraceError } from '../errors.js';
import type { Store, StreamInfo } from '../log/index.js';
import { ReadBudget } from './budget.js';
import { Feed } from './feed.js';
import { Follower, type Following, type FollowOptions } from './follower.js';
import { type FollowEngineLimits, followEngineLimits } from './limits.js';
import { copyRange, type RangeSink, type StreamRange } from './range.js';

/** Options of {@link createFollowEngine}. */
export interface FollowEngineOptions extends Partial<FollowEngineLimits> {
  readonly store: Store;
}

/** Brings streams to followers. One per server: followers share the chunks, the encodings and the read budget. */
export interface FollowEngine {
  /**
   * Opens a stream to be followed; say `release()` when it is not, or no longer, followed.
   * Errors: those of `Store.subscribe`, and `STORE_CLOSED` after {@link close}.
   */
  open(path: string): Promise<FollowedStream>;
  /**
   * Copies bytes that are already committed, with the memory that followers catch up with.
   * Errors: those of `Store.read`, `STREAM_GONE` where the stream was replaced meanwhile, the signal's reason.
   */
  copy(range: StreamRange, sink: RangeSink, signal: AbortSignal): Promise<void>;
  /** Ends all followers as `stopped`. */
  close(): void;
  /** Streams that are followed now, and bytes that catching-up followers hold. */
  readonly usage: { readonly streams: number; readonly followers: number; readonly catchUpBytes: number };
}

/** A stream that is open to be followed. */
export interface FollowedStream {
  /** As it stands now. */
  readonly info: StreamInfo;
  /**
   * Begins to follow: the first bytes may be written before it returns. Releases the stream when it ends.
   * Once per opened stream. Errors: `OFFSET_OUT_OF_RANGE` for an offset beyond the tail.
   */
  follow(options: FollowOptions): Following;
  /** Nobody will follow. Needed only where `follow` was not called, or threw. */
  release(): void;
}

/** Makes a follow engine over a store. Errors: `INVALID_ARGUMENT` for a limit that cannot be. */
export function createFollowEngine(options: FollowEngineOptions): FollowEngine {
  const { store, ...limits } = options;
  return new Engine(store, followEngineLimits(limits));
}

interface OpenFeed {
  readonly feed: Promise<Feed>;
  users: number;
}

class Engine implements FollowEngine {
  readonly #store: Store;
  readonly #limits: FollowEngineLimits;
  readonly #budget: ReadBudget;
  readonly #feeds = new Map<string, OpenFeed>();
  readonly #followers = new Set<Follower>();
  #closed = false;

  constructor(store: Store, limits: FollowEngineLimits) {
    this.#store = store;
    this.#limits = limits;
    this.#budget = new ReadBudget(limits);
  }

  get usage() {
    return { streams: this.#feeds.size, followers: this.#followers.size, catchUpBytes: this.#budget.used };
  }

  async open(path: string): Promise<FollowedStream> {
    if (this.#closed) throw new MillraceError('STORE_CLOSED', 'The follow engine is closed: nothing is followed now.');
    let open = this.#feeds.get(path);
    if (open === undefined) {
      open = { feed: this.#subscribe(path), users: 0 };
      this.#feeds.set(path, open);
    }
    open.users++;
    const entry = open;
    let used = true;
    const release = () => {
      if (!used) return;
      used = false;
      if (--entry.users > 0) return;
      this.#forget(path, entry);
      entry.feed.then(
        (feed) => feed.release(),
        () => {},
      );
    };
    let feed: Feed;
    try {
      feed = await entry.feed;
    } catch (error) {
      release();
      throw error;
    }
    if (this.#closed) {
      release();
      throw new MillraceError('STORE_CLOSED', 'The follow engine is closed: nothing is followed now.');
    }
    return {
      get info() {
        return feed.info;
      },
      follow: (options) => this.#follow(feed, options, release),
      release,
    };
  }

  copy(range: StreamRange, sink: RangeSink, signal: AbortSignal): Promise<void> {
    return copyRange(this.#store, this.#budget, range, sink, signal);
  }

  close(): void {
    this.#closed = true;
    for (const follower of [...this.#followers]) follower.end({ kind: 'stopped' });
    for (const open of this.#feeds.values()) {
      open.feed.then(
        (feed) => feed.release(),
        () => {},
      );
    }
    this.#feeds.clear();
  }

  async #subscribe(path: string): Promise<Feed> {
    const subscription = await this.#store.subscribe(path);
    const share = () => Math.min(this.#limits.windowBytes, this.#limits.windowTotalBytes / this.#feeds.size);
    return new Feed(subscription, this.#limits, share, () => {
      // Whoever comes now may find another stream at this path.
      const open = this.#feeds.get(path);
      if (open !== undefined) this.#forget(path, open);
    });
  }

  #follow(feed: Feed, options: FollowOptions, release: () => void): Following {
    const follower = new Follower(this.#store, feed, this.#budget, options, () => {
      this.#followers.delete(follower);
      release();
    });
    this.#followers.add(follower);
    follower.start();
    return follower;
  }

  #forget(path: string, open: OpenFeed): void {
    if (this.#feeds.get(path) === open) this.#feeds.delete(path);
  }
}
