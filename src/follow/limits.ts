import { MillraceError } from '../errors.js';

/** Sizes of the follow engine, all in bytes. */
export interface FollowEngineLimits {
  /** Recent bytes that are kept per followed stream, for followers that lag a little. */
  readonly windowBytes: number;
  /** What the windows of all streams may hold together: with many streams each gets its share of it. */
  readonly windowTotalBytes: number;
  /** Largest chunk: how much one write to a follower that is caught up may pin when its socket takes nothing more. */
  readonly chunkBytesMax: number;
  /** What all followers that catch up may have read and not yet handed to the network. */
  readonly catchUpBytesMax: number;
  /** What one such follower is always granted, so that nobody starves while others hold the rest. */
  readonly readBytesMin: number;
  /** Largest single read. A follower begins small and doubles with each read that its socket took. */
  readonly readBytesMax: number;
}

export const DEFAULT_FOLLOW_ENGINE_LIMITS: FollowEngineLimits = {
  windowBytes: 1024 * 1024,
  windowTotalBytes: 256 * 1024 * 1024,
  chunkBytesMax: 64 * 1024,
  catchUpBytesMax: 64 * 1024 * 1024,
  readBytesMin: 16 * 1024,
  readBytesMax: 1024 * 1024,
};

/** Fills in the defaults. Errors: `INVALID_ARGUMENT` for what is not a whole number of at least 1. */
export function followEngineLimits(given: Partial<FollowEngineLimits> = {}): FollowEngineLimits {
  // What is there and undefined is not given.
  const entries = Object.entries(given).filter(([, value]) => value !== undefined);
  for (const [name, value] of entries) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number of at least 1, not ${value}.`);
    }
  }
  return { ...DEFAULT_FOLLOW_ENGINE_LIMITS, ...Object.fromEntries(entries) };
}
