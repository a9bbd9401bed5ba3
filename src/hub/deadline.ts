/** A signal that aborts at a time limit, or when its group is ended, whichever comes first. */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #group: Set<Deadline>;
  readonly #timer: ReturnType<typeof setTimeout>;

  /**
   * `reason` makes the error to abort with when the time is over. `group` holds all that are not cleared; whoever owns it
   * may abort them. (Not a parent signal: thousands of listeners on one signal make Node warn of a leak.)
   */
  constructor(timeoutMs: number, reason: () => Error, group: Set<Deadline>) {
    this.#group = group;
    this.#timer = setTimeout(() => this.abort(reason()), timeoutMs);
    group.add(this);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: Error): void {
    this.clear();
    this.#controller.abort(reason);
  }

  /** The time limit no longer counts; the group still does. */
  met(): void {
    clearTimeout(this.#timer);
  }

  /** Neither counts any more. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#group.delete(this);
  }
}

/** `work`, or a rejection with the signal's reason if that comes first; then `discard` gets what comes too late. */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal, discard?: (late: T) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    let decided = false;
    const onAbort = () => {
      decided = true;
      reject(signal.reason);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(
      async (value) => {
        signal.removeEventListener('abort', onAbort);
        if (!decided) return resolve(value);
        try {
          await discard?.(value);
        } catch {
          // It came too late for anyone to care how it ends.
        }
      },
      (error: unknown) => {
        signal.removeEventListener('abort', onAbort);
        reject(error);
      },
    );
  });
}

/** Resolves when `work` has settled in any way, or the time is over. */
export async function settledWithin(work: Promise<unknown>, timeoutMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([work.catch(() => {}), timeout]);
  clearTimeout(timer);
}

/** A promise that is resolved from outside. */
export function withResolver(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => {};
  const promise = new Promise<void>((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}
