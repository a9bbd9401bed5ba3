import { MillraceError } from '../errors.js';

interface Pending {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  /** When it has waited for too long, on the clock of `performance.now()`. */
  readonly deadline: number;
}

/**
 * The publishes whose answer is still out: at most `countMax`, each for at most `timeoutMs`. One timer serves all of
 * them, because they were made in the order in which they run out.
 */
export class PendingPublishes {
  readonly #pending = new Set<Pending>();
  readonly #countMax: number;
  readonly #timeoutMs: number;
  readonly #explain: (error: unknown) => MillraceError;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `explain` makes errors of ours of those of drivers. */
  constructor(countMax: number, timeoutMs: number, explain: (error: unknown) => MillraceError) {
    this.#explain = explain;
    this.#countMax = countMax;
    this.#timeoutMs = timeoutMs;
  }

  /** Makes a publish and follows it to its end. */
  run(publish: () => Promise<void>): Promise<void> {
    if (this.#pending.size >= this.#countMax) {
      return Promise.reject(
        new MillraceError(
          'HUB_BUSY',
          `${this.#countMax} messages wait for the broker's answer already: await publish(), or raise publishesMax.`,
          { publishesMax: this.#countMax },
        ),
      );
    }
    return new Promise((resolve, reject) => {
      const pending = { resolve, reject, deadline: performance.now() + this.#timeoutMs };
      this.#pending.add(pending);
      if (this.#timer === undefined) this.#arm(this.#timeoutMs);
      publish().then(
        () => {
          this.#pending.delete(pending);
          resolve();
        },
        (error: unknown) => {
          this.#pending.delete(pending);
          reject(this.#explain(error));
        },
      );
    });
  }

  /** Rejects whatever is still out. */
  rejectAll(error: MillraceError): void {
    clearTimeout(this.#timer);
    for (const pending of this.#pending) pending.reject(error);
    this.#pending.clear();
  }

  #arm(delayMs: number): void {
    const timer = setTimeout(() => this.#expire(), delayMs);
    // Whoever waits for an answer has a socket that keeps the process; a timer of its own must not.
    timer.unref?.();
    this.#timer = timer;
  }

  #expire(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const pending of this.#pending) {
      if (pending.deadline > now) {
        this.#arm(pending.deadline - now);
        return;
      }
      this.#pending.delete(pending);
      pending.reject(
        new MillraceError(
          'HUB_UNAVAILABLE',
          `The broker did not answer within ${this.#timeoutMs} ms: the message may or may not have been taken.`,
          { timeoutMs: this.#timeoutMs },
        ),
      );
    }
  }
}
