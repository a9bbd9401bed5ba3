import type { Cursor } from './cursor.js';
import { NOT_WAITING, type Waiter } from './wait-list.js';

/** How a reader came to its end: by an error that all its calls then answer with, or without. */
export type Ending = { readonly error: unknown } | 'ended';

/** Whom {@link PendingReads} are for. */
export interface Reader {
  /** Reads wait for an event that will never come. */
  onClosed(): void;
  /** No read waits any more. */
  onIdle(): void;
}

/** The `next()` calls of one reader that wait for an event, answered in the order in which they were made. */
export class PendingReads<T> implements Waiter {
  slot = NOT_WAITING;
  readonly #cursor: Cursor<T>;
  readonly #reader: Reader;
  /** Nearly always one: a plain array is twice as fast for it as a set. */
  #reads: PendingRead<T>[] = [];

  constructor(cursor: Cursor<T>, reader: Reader) {
    this.#cursor = cursor;
    this.#reader = reader;
  }

  get size(): number {
    return this.#reads.length;
  }

  add(signal: AbortSignal | undefined): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      const read: PendingRead<T> = { resolve, reject, unlisten: undefined };
      if (signal !== undefined) {
        const onAbort = () => {
          this.#reads.splice(this.#reads.indexOf(read), 1);
          if (this.#reads.length === 0) {
            this.#cursor.list.waiters.delete(this);
            this.#reader.onIdle();
          }
          reject(signal.reason);
        };
        signal.addEventListener('abort', onAbort, { once: true });
        read.unlisten = () => signal.removeEventListener('abort', onAbort);
      }
      this.#reads.push(read);
      this.rest();
      this.#cursor.list.waiters.add(this);
    });
  }

  wake(): boolean {
    while (this.#reads.length > 0 && this.#cursor.ready) {
      const read = this.#reads.shift() as PendingRead<T>;
      read.unlisten?.();
      try {
        read.resolve({ done: false, value: this.#cursor.read() });
      } catch (error) {
        read.reject(error);
      }
    }
    if (this.#reads.length === 0) this.#reader.onIdle();
    else if (this.#cursor.list.closed) this.#reader.onClosed();
    return this.#reads.length > 0;
  }

  rest(): void {
    this.#cursor.rest();
  }

  /** Answers all that wait. */
  end(ending: Ending): void {
    this.#cursor.list.waiters.delete(this);
    const reads = this.#reads;
    this.#reads = [];
    for (const read of reads) {
      read.unlisten?.();
      if (ending === 'ended') read.resolve({ done: true, value: undefined });
      else read.reject(ending.error);
    }
  }
}

interface PendingRead<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: unknown) => void;
  unlisten: (() => void) | undefined;
}
