import { MillraceError } from '../errors.js';

/** How long, and how often, a broken connection is tried again. */
export interface RetryOptions {
  /**
   * Milliseconds without a working connection after which the client gives up with `RESUME_FAILED`
   * (default {@link DEFAULT_RETRY_MS}). 0 never tries again.
   */
  readonly retryMs?: number;
  /** Longest wait before the first new attempt, in milliseconds (default {@link DEFAULT_RETRY_DELAY_MIN_MS}); it doubles from there. */
  readonly retryDelayMinMs?: number;
  /** Longest wait between two attempts, in milliseconds (default {@link DEFAULT_RETRY_DELAY_MAX_MS}). */
  readonly retryDelayMaxMs?: number;
  /** Called when the connection is lost, and after each attempt that failed: why, and when it is tried (again). What it throws ends the append or follow. */
  readonly onRetry?: (error: unknown, delayMs: number) => void;
}

/** Default of {@link RetryOptions.retryMs}: a server's restart, or the change of a network, fits in. */
export const DEFAULT_RETRY_MS = 60_000;
/** Default of {@link RetryOptions.retryDelayMinMs}. */
export const DEFAULT_RETRY_DELAY_MIN_MS = 100;
/** Default of {@link RetryOptions.retryDelayMaxMs}. */
export const DEFAULT_RETRY_DELAY_MAX_MS = 3_000;

/** Waits between attempts: exponential, with jitter so that a thousand clients do not come back in the same instant. */
export class Backoff {
  readonly retryMs: number;
  readonly #minMs: number;
  readonly #maxMs: number;
  readonly #onRetry: ((error: unknown, delayMs: number) => void) | undefined;
  readonly #random: () => number;
  readonly #now: () => number;
  #attempts = 0;
  #brokenSinceMs: number | undefined;
  #connectedAtMs: number | undefined;

  /** `now` must not jump, as a wall clock may: a client would give up in the middle of a server's restart. */
  constructor(options: RetryOptions = {}, random = Math.random, now = (): number => performance.now()) {
    this.retryMs = checkMs('retryMs', options.retryMs ?? DEFAULT_RETRY_MS, 0);
    this.#minMs = checkMs('retryDelayMinMs', options.retryDelayMinMs ?? DEFAULT_RETRY_DELAY_MIN_MS);
    this.#maxMs = checkMs('retryDelayMaxMs', options.retryDelayMaxMs ?? DEFAULT_RETRY_DELAY_MAX_MS);
    this.#onRetry = options.onRetry;
    this.#random = random;
    this.#now = now;
  }

  /** Milliseconds to wait before the next attempt after this error, or undefined when the time to retry is over. */
  next(error?: unknown): number | undefined {
    const now = this.#now();
    // A connection that lasted did work, even if nothing came over it.
    if (this.#connectedAtMs !== undefined && now - this.#connectedAtMs >= this.#maxMs) this.reset();
    this.#connectedAtMs = undefined;
    this.#brokenSinceMs ??= now;
    const leftMs = this.retryMs - (now - this.#brokenSinceMs);
    if (leftMs <= 0) return undefined;
    const ceilingMs = Math.min(this.#maxMs, this.#minMs * 2 ** this.#attempts++);
    // Between half and the whole: spread out, and still never a busy loop.
    const delayMs = Math.min(leftMs, ceilingMs * (0.5 + this.#random() / 2));
    this.#onRetry?.(error, delayMs);
    return delayMs;
  }

  /** A connection was made. Whether it is of any use will show: a server that accepts and drops must not be hammered. */
  connected(): void {
    this.#connectedAtMs = this.#now();
  }

  /** The connection works: data went over it. */
  reset(): void {
    this.#attempts = 0;
    this.#brokenSinceMs = undefined;
  }
}

/** Resolves after `ms`; rejects with the signal's reason when it is aborted first. */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/** The longest that a timer takes: at anything more it would go off at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** A duration that a caller gave: throws `INVALID_ARGUMENT` unless it is at least `min` milliseconds, and a timer takes it. */
export function checkMs(name: string, value: number, min = 1): number {
  if (typeof value === 'number' && value >= min && value <= TIMER_MS_MAX) return value;
  throw new MillraceError(
    'INVALID_ARGUMENT',
    `${name} must be a number of milliseconds from ${min} to ${TIMER_MS_MAX}, not ${value}.`,
  );
}

/** A size that a caller gave: throws `INVALID_ARGUMENT` unless it is a whole number of at least `min` bytes. */
export function checkBytes(name: string, value: number, min = 1): number {
  if (Number.isSafeInteger(value) && value >= min) return value;
  throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number of at least ${min} bytes, not ${value}.`);
}
