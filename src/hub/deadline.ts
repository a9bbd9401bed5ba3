/** A signal that aborts at a time limit, or when another signal does, whichever comes first. */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal;
  readonly #timer: ReturnType<typeof setTimeout>;

  /** `reason` makes the error to abort with when the time is over. */
  constructor(timeoutMs: number, reason: () => Error, parent: AbortSignal) {
    this.#parent = parent;
    this.#timer = setTimeout(() => this.#controller.abort(reason()), timeoutMs);
    if (parent.aborted) this.#onParent();
    else parent.addEventListener('abort', this.#onParent, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The time limit no longer counts; the parent still does. */
  met(): void {
    clearTimeout(this.#timer);
  }

  /** Neither counts any more. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#parent.removeEventListener('abort', this.#onParent);
  }

  readonly #onParent = (): void => {
    clearTimeout(this.#timer);
    this.#controller.abort(this.#parent.reason);
  };
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
