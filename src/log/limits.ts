import { MillraceError } from '../errors.js';
import { COMMIT_BYTES_MAX } from './commit.js';

/** Limits that both stores have. */
export interface StoreLimits {
  /** Largest single append. Default {@link APPEND_BYTES_MAX}. */
  readonly appendBytesMax?: number;
  /** How many bytes may wait for their commit; appends above it wait. Default {@link PENDING_BYTES_MAX}. */
  readonly pendingBytesMax?: number;
  /** How long an append waits for room before it fails with `STORE_BUSY`. Default {@link PENDING_WAIT_MS}. */
  readonly pendingWaitMs?: number;
  /** How many bytes one commit gathers. Default {@link COMMIT_BYTES_MAX}. */
  readonly commitBytesMax?: number;
  /** How long a chain of forks of forks may be. Default {@link FORK_DEPTH_MAX}. */
  readonly forkDepthMax?: number;
  /** How often streams that can expire are looked at, so that their space is freed. Default {@link EXPIRY_SWEEP_MS}. */
  readonly expirySweepMs?: number;
  /** How many streams one such look takes. Default {@link EXPIRY_SWEEP_STREAMS_MAX}. */
  readonly expirySweepStreamsMax?: number;
}

export const APPEND_BYTES_MAX = 16 * 1024 * 1024;
export const PENDING_BYTES_MAX = 64 * 1024 * 1024;
export const PENDING_WAIT_MS = 10_000;
export const FORK_DEPTH_MAX = 128;
export const EXPIRY_SWEEP_MS = 1000;
export const EXPIRY_SWEEP_STREAMS_MAX = 1000;

/** Fills in the defaults. Throws `INVALID_ARGUMENT` for what cannot be. */
export function storeLimits(options: StoreLimits): Required<StoreLimits> {
  return {
    appendBytesMax: positive('appendBytesMax', options.appendBytesMax ?? APPEND_BYTES_MAX),
    pendingBytesMax: positive('pendingBytesMax', options.pendingBytesMax ?? PENDING_BYTES_MAX),
    pendingWaitMs: positive('pendingWaitMs', options.pendingWaitMs ?? PENDING_WAIT_MS),
    commitBytesMax: positive('commitBytesMax', options.commitBytesMax ?? COMMIT_BYTES_MAX),
    forkDepthMax: positive('forkDepthMax', options.forkDepthMax ?? FORK_DEPTH_MAX),
    expirySweepMs: positive('expirySweepMs', options.expirySweepMs ?? EXPIRY_SWEEP_MS),
    expirySweepStreamsMax: positive('expirySweepStreamsMax', options.expirySweepStreamsMax ?? EXPIRY_SWEEP_STREAMS_MAX),
  };
}

/** A whole number of at least 1, or `INVALID_ARGUMENT`. */
export function positive(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number of at least 1, not ${value}.`);
}
