import { MillraceError } from '../errors.js';
import { Cursor, type EventList, type Place, type Waiter } from './list.js';
import { Position } from './position.js';

/** Options of a {@link Subscription}. */
export interface SubscriptionOptions {
  /** Ends the subscription when it aborts; whoever waits then is rejected with its reason. */
  readonly signal?: AbortSignal;
}

/** Return it from a `consume` callback to stop reading. (The seed's `ErrDone`.) */
export const done: unique symbol = Symbol('millrace.done');

/**
 * Called with each event. Return {@link done} to stop. A returned promise is awaited before the next event, so an
 * asynchronous callback is never called twice at a time.
 */
export type Consumer<T> = (value: T) => unknown;

/**
 * One reader of an `EventStream`. It belongs to one piece of code: share a {@link Position} instead.
 * `break`, `return()`, `using` and an aborted signal all free it.
 */
export class Subscription<T> implements AsyncIterableIterator<T, undefined> {
  readonly #list: EventList<T>;
  readonly #cursor: Cursor<T>;
  #ended = false;
  #pending: Pending<T>[] = [];
  readonly #waiter: Waiter = { wake: () => this.#settle() };
  #signal: AbortSignal | undefined;

  /** Made by `EventStream.subscribe()` or `Position.subscribe()`. */
  constructor(list: EventList<T>, place: Place<T>, options: SubscriptionOptions = {}) {
    this.#list = list;
    this.#cursor = new Cursor(list, place);
    this.#signal = options.signal;
    if (options.signal?.aborted) this.#end(options.signal.reason);
    else options.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Whether an event can be had without waiting. */
  get isReady(): boolean {
    return !this.#ended && this.#cursor.ready;
  }

  /** How many published events this reader has not read yet. */
  get lag(): number {
    return this.#ended ? 0 : this.#cursor.lag;
  }

  /** Where this reader stands: give it away to let others read the same events. */
  position(): Position<T> {
    return new Position(this.#list, this.#cursor.place());
  }

  /**
   * The next event. Ends after `close()` once all is read.
   * Rejects with the signal's reason when it aborts (the reader may go on: nothing was read), and with
   * `EVENT_STREAM_LAGGED` in a stream with `maxLag`.
   */
  next(options: { readonly signal?: AbortSignal } = {}): Promise<IteratorResult<T, undefined>> {
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#pending.length === 0) {
      const result = this.#read();
      if (result !== undefined) return result;
    }
    return new Promise((resolve, reject) => {
      const pending: Pending<T> = { resolve, reject, unlisten: undefined };
      if (signal !== undefined) {
        const onAbort = () => {
          this.#pending.splice(this.#pending.indexOf(pending), 1);
          if (this.#pending.length === 0) this.#list.cancel(this.#waiter);
          reject(signal.reason);
        };
        signal.addEventListener('abort', onAbort, { once: true });
        pending.unlisten = () => signal.removeEventListener('abort', onAbort);
      }
      if (this.#pending.push(pending) === 1) this.#list.wait(this.#waiter);
    });
  }

  /**
   * The fast path: calls `consumer` with every event, draining what is ready in one go.
   * Resolves when the stream is closed and drained, or the consumer returned {@link done}.
   * Rejects with what the consumer throws, with the signal's reason, or with `EVENT_STREAM_LAGGED`.
   * The subscription is freed in every case.
   */
  consume(consumer: Consumer<T>, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.#pending.length > 0) {
      return Promise.reject(
        new MillraceError(
          'INVALID_ARGUMENT',
          'consume() needs the subscription to itself: await the pending next() first.',
        ),
      );
    }
    if (this.#ended) return Promise.resolve();
    const { signal } = options;
    if (signal?.aborted) {
      this.#end();
      return Promise.reject(signal.reason);
    }
    return new Promise((resolve, reject) => {
      const list = this.#list;
      const cursor = this.#cursor;
      let finished = false;
      const finish = (settle: () => void) => {
        if (finished) return;
        finished = true;
        list.cancel(waiter);
        signal?.removeEventListener('abort', onAbort);
        this.#onEnd = undefined;
        this.#end();
        settle();
      };
      const fail = (error: unknown) => finish(() => reject(error));
      const onAbort = () => fail(signal?.reason);
      const drain = () => {
        if (finished) return;
        try {
          while (cursor.ready) {
            const answer = consumer(cursor.read());
            if (finished) return;
            if (answer === undefined) continue;
            if (answer === done) return finish(resolve);
            if (isThenable(answer)) {
              answer.then((value) => (value === done ? finish(resolve) : drain()), fail);
              return;
            }
          }
        } catch (error) {
          return fail(error);
        }
        if (list.closed) finish(resolve);
        else list.wait(waiter);
      };
      const waiter: Waiter = { wake: drain };
      this.#onEnd = (error) => (error === undefined ? finish(resolve) : fail(error));
      signal?.addEventListener('abort', onAbort, { once: true });
      drain();
    });
  }

  /** Ends the subscription and frees what it holds; pending `next()` calls end too. */
  return(): Promise<IteratorResult<T, undefined>> {
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
  }

  /** The rest of this subscription as a Web `ReadableStream` that pulls, so its backpressure reaches the list. */
  toReadableStream(): ReadableStream<T> {
    return new ReadableStream<T>({
      pull: async (controller) => {
        const { done: end, value } = await this.next();
        if (end) controller.close();
        else controller.enqueue(value);
      },
      cancel: () => this.#end(),
    });
  }

  readonly #onAbort = () => this.#end(this.#signal?.reason);
  #onEnd: ((error: unknown) => void) | undefined;

  #end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#list.cancel(this.#waiter);
    this.#cursor.release();
    const pending = this.#pending;
    this.#pending = [];
    for (const each of pending) {
      each.unlisten?.();
      if (error === undefined) each.resolve({ done: true, value: undefined });
      else each.reject(error);
    }
    this.#onEnd?.(error);
  }

  /** The answer to `next()` where there is one without waiting. */
  #read(): Promise<IteratorResult<T, undefined>> | undefined {
    if (this.#cursor.ready) {
      try {
        return Promise.resolve({ done: false, value: this.#cursor.read() });
      } catch (error) {
        return Promise.reject(error);
      }
    }
    if (!this.#list.closed) return undefined;
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  #settle(): void {
    while (this.#pending.length > 0) {
      const result = this.#read();
      if (result === undefined) {
        this.#list.wait(this.#waiter);
        return;
      }
      const pending = this.#pending.shift();
      if (pending === undefined) {
        return;
      }
      pending.unlisten?.();
      result.then(pending.resolve, pending.reject);
    }
  }
}

interface Pending<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: unknown) => void;
  unlisten: (() => void) | undefined;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null)?.then === 'function';
}
