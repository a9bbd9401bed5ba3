import type { Clock } from '../../src/log/clock.js';

interface Timer {
  readonly intervalMs: number;
  readonly callback: () => void;
  dueMs: number;
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  #wallMs = Date.UTC(2030, 0, 1);
  #monotonicMs = 12_345.678;
  readonly #timers = new Set<Timer>();

  wallMs(): number {
    return Math.floor(this.#wallMs);
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  every(intervalMs: number, callback: () => void): () => void {
    const timer = { intervalMs, callback, dueMs: this.#monotonicMs + intervalMs };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Lets time pass, timers and all. */
  pass(ms: number): void {
    const endMs = this.#monotonicMs + ms;
    for (;;) {
      const [next] = [...this.#timers].sort((a, b) => a.dueMs - b.dueMs);
      if (next === undefined || next.dueMs > endMs) break;
      this.#advanceTo(next.dueMs);
      next.dueMs += next.intervalMs;
      next.callback();
    }
    this.#advanceTo(endMs);
  }

  /** Lets time pass in which the process does not run: no timer comes, and afterwards each only once. */
  suspend(ms: number): void {
    this.#advanceTo(this.#monotonicMs + ms);
    for (const timer of this.#timers) {
      if (timer.dueMs > this.#monotonicMs) continue;
      timer.dueMs = this.#monotonicMs + timer.intervalMs;
      timer.callback();
    }
  }

  /** Somebody sets the wall clock. */
  setWall(byMs: number): void {
    this.#wallMs += byMs;
  }

  #advanceTo(monotonicMs: number): void {
    this.#wallMs += monotonicMs - this.#monotonicMs;
    this.#monotonicMs = monotonicMs;
  }
}
