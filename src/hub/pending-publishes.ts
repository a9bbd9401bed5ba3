import { MillraceError } from '../errors.js';

/** One answer that is waited for, in a list from the oldest to the newest. (A Set would do, at several times the cost.) */
interface Pending {
  /** The driver's promise; several publishes may share one. */
  readonly work: Promise<void>;
  /** What the publishers wait for. */
  readonly outcome: Promise<void>;
  readonly reject: (error: unknown) => void;
  /** When it has waited for too long, on the clock of `performance.now()`. */
  readonly deadline: number;
  /** How many publishes it answers, and of how many bytes. */
  count: number;
  bytes: number;
  previous: Pending | undefined;
  next: Pending | undefined;
}

/** What {@link PendingPublishes} allows. */
export interface PendingLimits {
  readonly publishesMax: number;
  readonly publishBytesMax: number;
  readonly publishTimeoutMs: number;
}

/**
 * The publishes whose answer is still out: at most so many, of so many bytes, each for at most `publishTimeoutMs`. One timer serves all of
 * them, because they were made in the order in which they run out.
 */
export class PendingPublishes {
  readonly #limits: PendingLimits;
  readonly #timeoutMs: number;
  readonly #explain: (error: unknown) => MillraceError;
  #count = 0;
  #bytes = 0;
  #oldest: Pending | undefined;
  #newest: Pending | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `explain` makes errors of ours of those of drivers. */
  constructor(limits: PendingLimits, explain: (error: unknown) => MillraceError) {
    this.#limits = limits;
    this.#timeoutMs = limits.publishTimeoutMs;
    this.#explain = explain;
  }

  /**
   * Makes a publish of so many bytes and follows it to its end. One may always go out, however large it is. A publish that does not go out at once must not when the deadline, on the
   * clock of `performance.now()`, is over.
   */
  run(bytes: number, publish: (deadline: number) => Promise<void>): Promise<void> {
    const { publishesMax, publishBytesMax } = this.#limits;
    if (this.#count >= publishesMax || (this.#count > 0 && this.#bytes + bytes > publishBytesMax)) {
      return Promise.reject(
        new MillraceError(
          'HUB_BUSY',
          `${this.#count} messages of ${this.#bytes} bytes wait for the broker's answer already: await publish(), or raise publishesMax or publishBytesMax.`,
          { publishesMax, publishBytesMax },
        ),
      );
    }
    const deadline = performance.now() + this.#timeoutMs;
    const work = publish(deadline);
    this.#count++;
    this.#bytes += bytes;
    // A driver that asks once for many messages gives them all the same promise: then they need only one of ours.
    if (this.#newest?.work === work) {
      this.#newest.count++;
      this.#newest.bytes += bytes;
      return this.#newest.outcome;
    }
    return this.#follow(work, deadline, bytes);
  }

  /** Rejects whatever is still out. */
  rejectAll(error: MillraceError): void {
    clearTimeout(this.#timer);
    for (let pending = this.#oldest; pending !== undefined; pending = this.#oldest) {
      this.#remove(pending);
      pending.reject(error);
    }
  }

  #follow(work: Promise<void>, deadline: number, bytes: number): Promise<void> {
    let resolve: () => void = () => {};
    let reject: (error: unknown) => void = () => {};
    const outcome = new Promise<void>((fulfil, fail) => {
      resolve = fulfil;
      reject = fail;
    });
    const pending: Pending = {
      work,
      outcome,
      reject,
      deadline,
      count: 1,
      bytes,
      previous: this.#newest,
      next: undefined,
    };
    if (this.#newest === undefined) this.#oldest = pending;
    else this.#newest.next = pending;
    this.#newest = pending;
    if (this.#timer === undefined) this.#arm(this.#timeoutMs);
    work.then(
      () => {
        this.#remove(pending);
        resolve();
      },
      (error: unknown) => {
        this.#remove(pending);
        reject(this.#explain(error));
      },
    );
    return outcome;
  }

  /** Takes it out of the list, unless it has run out and is not there any more. */
  #remove(pending: Pending): void {
    const { previous, next } = pending;
    if (previous === undefined && this.#oldest !== pending) return;
    if (previous === undefined) this.#oldest = next;
    else previous.next = next;
    if (next === undefined) this.#newest = previous;
    else next.previous = previous;
    pending.previous = undefined;
    pending.next = undefined;
    this.#count -= pending.count;
    this.#bytes -= pending.bytes;
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
