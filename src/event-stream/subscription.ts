import { MillraceError } from '../errors.js';
import { type Consumer, Consumption } from './consumption.js';
import { Cursor } from './cursor.js';
import type { EventList, Place } from './list.js';
import { type Ending, PendingReads } from './pending-reads.js';
import { listenWeakly, type WeakListener } from './weak-listener.js';

/** Options of a {@link Subscription}. */
export interface SubscriptionOptions {
  /** Ends the subscription when it aborts: whoever waits, and every later call, is then rejected with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link Subscription.next} and {@link Subscription.consume}. */
export interface ReadOptions {
  /** Ends this one call when it aborts: it is rejected with the signal's reason. The subscription stays usable. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * One reader of an `EventStream`, with a place of its own that moves on with every event. It belongs to one piece of
 * code: share a {@link Position} instead. (The seed's `Iterator`.)
 *
 * It keeps the events that it has not read from being garbage. `return()`, `break`, `await using` and the signal that
 * it was made with free them; so does dropping the subscription.
 */
export class Subscription<T> implements AsyncIterableIterator<T, undefined>, AsyncDisposable {
  readonly #list: EventList<T>;
  readonly #cursor: Cursor<T>;
  readonly #reads: PendingReads<T>;
  #consumption: Consumption<T> | undefined;
  #ending: Ending | undefined;
  #listener: WeakListener<Subscription<T>> | undefined;

  /** Made by `EventStream.subscribe()` and `Position.subscribe()`. */
  constructor(list: EventList<T>, place: Place<T>, options: SubscriptionOptions = {}) {
    this.#list = list;
    this.#cursor = new Cursor(list, place);
    this.#reads = new PendingReads(this.#cursor, {
      onClosed: () => this.#end('ended'),
      onIdle: () => this.#holdWhileWaiting(),
    });
    const { signal } = options;
    if (signal?.aborted) this.#end({ error: signal.reason });
    // Weakly, or a signal that outlives its readers would keep each of them, and all events since.
    else if (signal) this.#listener = listenWeakly<Subscription<T>>(signal, this, Subscription.#abort);
  }

  /** Whether an event can be had without waiting. */
  get isReady(): boolean {
    return this.#cursor.ready;
  }

  /** How many published events this reader has not read yet. */
  get lag(): number {
    return this.#ending === undefined ? this.#cursor.lag : 0;
  }

  /** Where this reader stands, for others to read the same events. Throws `SUBSCRIPTION_ENDED` once it has ended. */
  position(): Position<T> {
    if (this.#ending !== undefined) {
      throw new MillraceError('SUBSCRIPTION_ENDED', 'The subscription has ended: take its position before that.');
    }
    return new Position(this.#list, this.#cursor.place());
  }

  /**
   * The next event; `done` after the stream's `close()` once all is read. Calls that wait are answered in their order.
   * Rejects with the signal's reason (nothing is read then), and with `EVENT_STREAM_LAGGED` where the stream has a
   * bound and events were missed: the call after that goes on with the oldest event that is left.
   */
  next({ signal }: ReadOptions = {}): Promise<IteratorResult<T, undefined>> {
    if (this.#ending !== undefined) return answer(this.#ending);
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.#reads.size > 0) return this.#wait(signal);
    if (this.#cursor.ready) {
      try {
        return Promise.resolve({ done: false, value: this.#cursor.read() });
      } catch (error) {
        return Promise.reject(error);
      }
    }
    if (!this.#list.closed) return this.#wait(signal);
    this.#end('ended');
    return answer('ended');
  }

  /**
   * The fast path: calls `consumer` with every event, all that are ready in one go, first of all from within this call.
   *
   * Resolves when the stream is closed and drained, the consumer answered `done`, or the subscription was ended by
   * `return()`. Rejects with what the consumer throws, with the signal's reason, with `EVENT_STREAM_LAGGED`, and with
   * `INVALID_ARGUMENT` while another `consume` runs. Either happens only when the consumer is not running: an abort
   * waits for the promise that it returned. The reader then stands after the last event that the consumer was given;
   * call again to go on from there.
   */
  consume(consumer: Consumer<T>, { signal }: ReadOptions = {}): Promise<void> {
    if (this.#consumption !== undefined) {
      return Promise.reject(
        new MillraceError('INVALID_ARGUMENT', 'The subscription is being consumed: make another for another consumer.'),
      );
    }
    if (this.#ending !== undefined) return answer(this.#ending).then(() => undefined);
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const onAbort = () => consumption.stop({ error: signal?.reason });
      const consumption = new Consumption(this.#cursor, consumer, (ending) => {
        signal?.removeEventListener('abort', onAbort);
        this.#consumption = undefined;
        this.#holdWhileWaiting();
        if (ending === 'ended') resolve();
        else reject(ending.error);
        if (this.#list.closed && !this.#cursor.ready) this.#end('ended');
      });
      this.#consumption = consumption;
      this.#holdWhileWaiting();
      signal?.addEventListener('abort', onAbort, { once: true });
      consumption.start();
    });
  }

  /** Ends the subscription and frees what it holds. Calls that wait end too: `next()` as done, `consume()` resolves. */
  return(): Promise<IteratorResult<T, undefined>> {
    this.#end('ended');
    return answer('ended');
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end('ended');
  }

  /**
   * The rest of this subscription as a Web `ReadableStream`. It takes an event when it is asked for one and holds none
   * itself. Cancelling it ends the subscription; whatever `next()` rejects with errors it.
   */
  toReadableStream(): ReadableStream<T> {
    return new ReadableStream<T>(
      {
        pull: async (controller) => {
          const { done, value } = await this.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        cancel: () => this.#end('ended'),
      },
      { highWaterMark: 0 },
    );
  }

  #wait(signal: AbortSignal | undefined): Promise<IteratorResult<T, undefined>> {
    const read = this.#reads.add(signal);
    this.#holdWhileWaiting();
    return read;
  }

  /** Whoever waits must hear of the abort, also when nothing but the signal refers to this reader and its stream any more. */
  #holdWhileWaiting(): void {
    if (this.#listener === undefined || this.#ending !== undefined) return;
    const waiting = this.#reads.size > 0 || this.#consumption !== undefined;
    this.#listener.held = waiting ? this : undefined;
  }

  #end(ending: Ending): void {
    if (this.#ending !== undefined) return;
    this.#ending = ending;
    this.#listener?.stop();
    this.#cursor.release();
    this.#reads.end(ending);
    this.#consumption?.stop(ending);
  }

  /** Static, so that it cannot hold on to the subscription that it is for. */
  static #abort<T>(subscription: Subscription<T>, reason: unknown): void {
    subscription.#end({ error: reason });
  }
}

/**
 * A fixed place in an `EventStream`: the event that comes next there, and all that follow it. Immutable, so it can be
 * kept, shared and asked again. It keeps those events from being garbage. (The seed's `Promise`.)
 */
export class Position<T> {
  readonly #list: EventList<T>;
  readonly #place: Place<T>;

  /** Made by `EventStream.position()` and `Subscription.position()`. */
  constructor(list: EventList<T>, place: Place<T>) {
    this.#list = list;
    this.#place = place;
  }

  /** Whether {@link next} answers without waiting. */
  get isReady(): boolean {
    return this.#list.closed || this.#cursor().ready;
  }

  /** Resolves when the event of this position is published, or the stream is closed before that. Never rejects. */
  get ready(): Promise<void> {
    // What is not ready is the tail, whichever position it is: all of them share the promise of the next event.
    return this.isReady ? Promise.resolve() : this.#list.more();
  }

  /**
   * The event at this position and the position after it; undefined when the stream was closed before it. Every call
   * gives the same answer, except that a stream with a bound loses the event at some time: then it rejects with
   * `EVENT_STREAM_LAGGED`. To give up waiting, use `subscribe().next({ signal })`.
   */
  async next(): Promise<{ readonly value: T; readonly position: Position<T> } | undefined> {
    await this.ready;
    const cursor = this.#cursor();
    if (!cursor.ready) return undefined;
    const value = cursor.read();
    return { value, position: new Position(this.#list, cursor.place()) };
  }

  /** A new reader that starts here. */
  subscribe(options?: SubscriptionOptions): Subscription<T> {
    return new Subscription(this.#list, this.#place, options);
  }

  [Symbol.asyncIterator](): Subscription<T> {
    return this.subscribe();
  }

  #cursor(): Cursor<T> {
    return new Cursor(this.#list, this.#place);
  }
}

function answer(ending: Ending): Promise<IteratorReturnResult<undefined>> {
  return ending === 'ended' ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(ending.error);
}
