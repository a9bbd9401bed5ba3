import { MillraceError } from '../errors.js';

/** One that waits, in a list from the oldest to the newest. (A Set would do, at several times the cost.) */
interface Pending {
  readonly reject: (error: unknown) => void;
  /** When it has waited for too long, on the clock of `performance.now()`. */
  readonly deadline: number;
  previous: Pending | undefined;
  next: Pending | undefined;
}

/**
 * The publishes whose answer is still out: at most `countMax`, each for at most `timeoutMs`. One timer serves all of
 * them, because they were made in the order in which they run out.
 */
export class PendingPublishes {
  #count = 0;
  #oldest: Pending | undefined;
  #newest: Pending | undefined;
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
    if (this.#count >= this.#countMax) {
      return Promise.reject(
        new MillraceError(
          'HUB_BUSY',
          `${this.#countMax} messages wait for the broker's answer already: await publish(), or raise publishesMax.`,
          { publishesMax: this.#countMax },
        ),
      );
    }
    return new Promise((resolve, reject) => {
      const pending = this.#add(reject);
      publish().then(
        () => {
          this.#remove(pending);
          resolve();
        },
        (error: unknown) => {
          this.#remove(pending);
          reject(this.#explain(error));
        },
      );
    });
  }

  /** Rejects whatever is still out. */
  rejectAll(error: MillraceError): void {
    clearTimeout(this.#timer);
    for (let pending = this.#oldest; pending !== undefined; pending = this.#oldest) {
      this.#remove(pending);
      pending.reject(error);
    }
  }

  #add(reject: (error: unknown) => void): Pending {
    const deadline = performance.now() + this.#timeoutMs;
    const pending: Pending = { reject, deadline, previous: this.#newest, next: undefined };
    if (this.#newest === undefined) this.#oldest = pending;
    else this.#newest.next = pending;
    this.#newest = pending;
    this.#count++;
    if (this.#timer === undefined) this.#arm(this.#timeoutMs);
    return pending;
  }

  /** Takes it out of the list; once it has run out it is not there any more. */
  #remove(pending: Pending): void {
    const { previous, next } = pending;
    if (previous === undefined && this.#oldest !== pending) return;
    if (previous === undefined) this.#oldest = next;
    else previous.next = next;
    if (next === undefined) this.#newest = previous;
    else next.previous = previous;
    pending.previous = undefined;
    pending.next = undefined;
    this.#count--;
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
    for (let pending = this.#oldest; pending !== undefined; pending = this.#oldest) {
      if (pending.deadline > now) {
        this.#arm(pending.deadline - now);
        return;
      }
      this.#remove(pending);
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
