import type { Store } from '../log/index.js';
import type { FollowOptions } from './follower.js';

/** Brings streams to followers. One per server: it shares the live lists, the window and the encodings. */
export interface FollowEngine {
  /**
   * Follows a stream until it ends by itself (`Sink.end`) or the answer's `stop()` is called.
   * Resolves once the follower has its place, before anything was written, with the stream as it stands.
   * Errors: those of `Store.subscribe`, and `OFFSET_OUT_OF_RANGE` for an offset beyond the tail.
   */
  follow(options: FollowOptions): Promise<Following>;
  /** Ends all followers as `stopped`. */
  close(): void;
}

export interface EngineOptions {
  readonly store: Store;
}
