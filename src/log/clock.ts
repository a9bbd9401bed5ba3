/** Where a store's time comes from. Given from outside, so that tests and simulations can have one of their own. */
export interface Clock {
  /** Milliseconds since the epoch, by a clock that somebody may set: it jumps, in either direction. */
  wallMs(): number;
  /** Milliseconds since any moment, by a clock that only ever goes on, and at its own pace. */
  monotonicMs(): number;
  /** Calls back again and again, without keeping the process alive for it. Returns the way to stop. */
  every(intervalMs: number, callback: () => void): () => void;
}

/** The machine's clocks. */
export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  every(intervalMs, callback) {
    const timer = setInterval(callback, intervalMs).unref();
    return () => clearInterval(timer);
  },
};

/**
 * For so long the wall clock must have been past a moment before anything is done for it that cannot be undone. A clock
 * that was set wrongly is mostly set right again within seconds.
 */
export const WALL_CLOCK_SETTLES_MS = 60_000;

/** How far apart readings of the wall clock are kept, at least. */
const READING_STEP_MS = 1000;

/** What the wall clock said from a moment on, at the least. */
interface Reading {
  readonly atMs: number;
  wallMs: number;
}

/**
 * Time as a store sees it, of which it has two kinds. *Its own* is for how long ago something was: it follows the
 * monotonic clock, begins with the wall clock's time when the store is opened, and never with less than the highest time
 * that the store has seen before. *Wall time* is only for moments that people have named.
 */
export class StoreTime {
  readonly clock: Clock;
  readonly #offsetMs: number;
  /** Of the last {@link WALL_CLOCK_SETTLES_MS}, and the newest one before; in order. */
  readonly #readings: Reading[] = [];

  /** `seenMs`: the highest time of its own that the store has recorded. */
  constructor(clock: Clock, seenMs = 0) {
    this.clock = clock;
    this.#offsetMs = Math.max(clock.wallMs(), seenMs) - clock.monotonicMs();
    this.look();
  }

  /** The store's own time: whole milliseconds, of the size of those since the epoch, that never go backwards. */
  get nowMs(): number {
    return Math.floor(this.#offsetMs + this.clock.monotonicMs());
  }

  /** Whether the wall clock is past a moment now. It may not be a little later. */
  isPast(wallMs: number): boolean {
    return this.clock.wallMs() >= wallMs;
  }

  /** Whether the wall clock has been past a moment at every {@link look} for as long as it takes to be sure. */
  isSurelyPast(wallMs: number): boolean {
    this.look();
    const [first] = this.#readings as [Reading, ...Reading[]];
    if (this.clock.monotonicMs() - first.atMs < WALL_CLOCK_SETTLES_MS || !this.isPast(wallMs)) return false;
    return this.#readings.every((reading) => reading.wallMs >= wallMs);
  }

  /** Notes what the wall clock says; to be called every second or so. */
  look(): void {
    const atMs = this.clock.monotonicMs();
    const wallMs = this.clock.wallMs();
    const readings = this.#readings;
    const last = readings.at(-1);
    if (last !== undefined && atMs - last.atMs < READING_STEP_MS) {
      last.wallMs = Math.min(last.wallMs, wallMs);
      return;
    }
    readings.push({ atMs, wallMs });
    // The first is what was so before: a process that stood still has not watched.
    while (readings.length > 1 && atMs - (readings[1] as Reading).atMs >= WALL_CLOCK_SETTLES_MS) readings.shift();
  }
}
