import type { StreamInfo } from '../log/index.js';
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
 * Why following ended: the stream is `closed` (all of it was sent); its `appender` left; it was `deleted`; or the
 * engine or store stopped (`stopped`) or a read failed (`failed`), so that there may be more to come.
 */
export type FollowEnd =
  | { readonly kind: 'closed' | 'appender' | 'deleted' | 'stopped' }
  | { readonly kind: 'failed'; readonly error: unknown };

/** What to follow, and how. */
export interface FollowOptions {
  readonly path: string;
  /** The first byte to send. `'tail'`: only what is appended from now on. */
  readonly offset: number | 'tail';
  readonly format: Format;
  readonly sink: Sink;
  /** When it is over: at the stream's closure (default), or already when it has no appender. */
  readonly until?: 'closed' | 'appender';
  /** With `until: 'appender'`: how long a stream without an appender is still followed (default 0). */
  readonly graceMs?: number;
}

/** A follower at work. */
export interface Following {
  /** The stream as it stood when the follower got its place. */
  readonly info: StreamInfo;
  /** Ends it without a word to the sink: it is gone, or whoever calls ends it. Calling again changes nothing. */
  stop(): void;
}
