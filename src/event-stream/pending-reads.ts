import type { Cursor } from './cursor.js';
import { NOT_WAITING, type Waiter } from './wait-list.js';

/** How a reader came to its end: by an error that all its calls then answer with, or without. */
export type Ending = { readonly error: unknown } | 'ended';

/** The `next()` calls of one reader that wait for an event, answered in the order in which they were made. */
export class PendingReads<T> implements Waiter {
  slot = NOT_WAITING;
  readonly #cursor: Cursor<T>;
  readonly #onClosed: () => void;
  readonly #reads = new Set<PendingRead<T>>();

  /** `onClosed` is called when reads wait for an event that will never come. */
  constructor(cursor: Cursor<T>, onClosed: () => void) {
    this.#cursor = cursor;
    this.#onClosed = onClosed;
  }

  get size(): number {
    return this.#reads.size;
  }

  add(signal: AbortSignal | undefined): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      const read: PendingRead<T> = { resolve, reject, unlisten: undefined };
      if (signal !== undefined) {
        const onAbort = () => {
          this.#reads.delete(read);
          if (this.#reads.size === 0) this.#cursor.list.waiters.delete(this);
          reject(signal.reason);
        };
        signal.addEventListener('abort', onAbort, { once: true });
        read.unlisten = () => signal.removeEventListener('abort', onAbort);
      }
      this.#reads.add(read);
      this.#cursor.list.waiters.add(this);
    });
  }

  wake(): boolean {
    for (const read of this.#reads) {
      if (!this.#cursor.ready) break;
      this.#take(read);
      try {
        read.resolve({ done: false, value: this.#cursor.read() });
      } catch (error) {
        read.reject(error);
      }
    }
    if (this.#reads.size > 0 && this.#cursor.list.closed) this.#onClosed();
    return this.#reads.size > 0;
  }

  /** Answers all that wait. */
  end(ending: Ending): void {
    this.#cursor.list.waiters.delete(this);
    for (const read of this.#reads) {
      this.#take(read);
      if (ending === 'ended') read.resolve({ done: true, value: undefined });
      else read.reject(ending.error);
    }
  }

  #take(read: PendingRead<T>): void {
    this.#reads.delete(read);
    read.unlisten?.();
  }
}

interface PendingRead<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: unknown) => void;
  unlisten: (() => void) | undefined;
}
