import type { Cursor } from './cursor.js';
import type { Ending } from './pending-reads.js';
import { NOT_WAITING, type Waiter } from './wait-list.js';

/** Return it from a `consume` callback to stop reading. (The seed's `ErrDone`.) */
export const done: unique symbol = Symbol('millrace.done');

/**
 * Called with each event. Return {@link done} (or a promise of it) to stop. A returned promise is awaited before the
 * next event, so a callback never runs twice at a time; any other answer is ignored.
 */
export type Consumer<T> = (value: T) => unknown;

/**
 * One run of `consume`: hands every event to the consumer, all that are ready in one go, then waits for more.
 * It ends only while the consumer is not running, so whoever awaits the end knows that no call is under way.
 */
export class Consumption<T> implements Waiter {
  slot = NOT_WAITING;
  readonly #cursor: Cursor<T>;
  readonly #consumer: Consumer<T>;
  readonly #onEnd: (ending: Ending) => void;
  #running = false;
  /** Why to end, once the consumer lets it. */
  #stop: Ending | undefined;

  /** `onEnd` is called once, when the list is closed and drained, or the consumer is done or failed, or at {@link stop}. */
  constructor(cursor: Cursor<T>, consumer: Consumer<T>, onEnd: (ending: Ending) => void) {
    this.#cursor = cursor;
    this.#consumer = consumer;
    this.#onEnd = onEnd;
  }

  start(): void {
    if (!this.wake()) return;
    this.rest();
    this.#cursor.list.waiters.add(this);
  }

  rest(): void {
    this.#cursor.rest();
  }

  /** Ends it: at once, or after the consumer's present call, whose own outcome then comes first. */
  stop(ending: Ending): void {
    if (this.#running) this.#stop ??= ending;
    else this.#end(ending);
  }

  wake(): boolean {
    const cursor = this.#cursor;
    const consumer = this.#consumer;
    this.#running = true;
    try {
      while (cursor.ready) {
        const answer = consumer(cursor.read());
        if (answer !== undefined) {
          if (answer === done) return this.#end('ended');
          if (isThenable(answer)) return this.#await(answer);
        }
        if (this.#stop !== undefined) return this.#end(this.#stop);
      }
    } catch (error) {
      return this.#end({ error });
    }
    this.#running = false;
    return cursor.list.closed ? this.#end('ended') : true;
  }

  #await(answer: PromiseLike<unknown>): false {
    Promise.resolve(answer).then(
      (value) => {
        if (value === done) this.#end('ended');
        else if (this.#stop !== undefined) this.#end(this.#stop);
        else this.start();
      },
      (error: unknown) => this.#end({ error }),
    );
    return false;
  }

  #end(ending: Ending): false {
    this.#cursor.list.waiters.delete(this);
    this.#onEnd(ending);
    return false;
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null)?.then === 'function';
}
