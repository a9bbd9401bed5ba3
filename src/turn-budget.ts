/** How many bytes are worked on in one turn of the event loop, by all who have large work to do together. */
export const TURN_BYTES_MAX = 256 * 1024;
/** How many bytes whoever has large work to do asks for at a time. */
export const SLICE_BYTES = 64 * 1024;

/**
 * Shares the turns of the event loop among those who have large work to do, first come, first served: a message of 16 MB
 * is checked and encoded slice by slice, and everybody else is served in between. The bound is bytes and not time, so that
 * it can be seen without a clock.
 */
export class TurnBudget {
  readonly #bytesMax: number;
  #left: number;
  #waiting: { readonly bytes: number; readonly resume: () => void }[] = [];
  #scheduled = false;

  constructor(bytesMax = TURN_BYTES_MAX) {
    this.#bytesMax = bytesMax;
    this.#left = bytesMax;
  }

  /** Asks for a slice of so many bytes. Undefined: go on at once; else when it resolves. */
  take(bytes: number): Promise<void> | undefined {
    this.#schedule();
    if (this.#waiting.length === 0 && this.#left > 0) {
      this.#left -= bytes;
      return undefined;
    }
    return new Promise((resolve) => {
      this.#waiting.push({ bytes, resume: resolve });
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#left = this.#bytesMax;
      let count = 0;
      for (const { bytes, resume } of this.#waiting) {
        if (this.#left <= 0) break;
        this.#left -= bytes;
        count++;
        resume();
      }
      if (count > 0) this.#waiting = this.#waiting.slice(count);
      if (this.#waiting.length > 0) this.#schedule();
    });
  }
}

/** That of the process: there is one event loop, whatever runs on it. */
export const turnBudget = new TurnBudget();
