import { Cursor, type EventList, type Place } from './list.js';
import { Subscription, type SubscriptionOptions } from './subscription.js';

/**
 * A fixed place in an `EventStream`: the next event and all that follow it. Immutable, so it can be shared, kept and
 * asked again; every answer is the same. (The seed's `Promise`.)
 */
export class Position<T> {
  readonly #list: EventList<T>;
  readonly #place: Place<T>;

  /** Made by `EventStream.position()`. */
  constructor(list: EventList<T>, place: Place<T>) {
    this.#list = list;
    this.#place = place;
  }

  /** Whether {@link next} would answer without waiting. */
  get isReady(): boolean {
    return this.#place.seq < this.#list.seq || this.#list.closed;
  }

  /** Resolves when the event at this position is published, or the stream is closed before it. Never rejects. */
  get ready(): Promise<void> {
    if (this.isReady) return Promise.resolve();
    return new Promise((resolve) => this.#list.wait({ wake: () => resolve() }));
  }

  /**
   * The event at this position and the position after it; `undefined` when the stream was closed before it.
   * Rejects with `EVENT_STREAM_LAGGED` in a stream with `maxLag` that no longer keeps the event.
   */
  async next(): Promise<{ readonly value: T; readonly position: Position<T> } | undefined> {
    if (!this.isReady) await this.ready;
    const cursor = new Cursor(this.#list, this.#place);
    if (!cursor.ready) return undefined;
    const value = cursor.read();
    return { value, position: new Position(this.#list, cursor.place()) };
  }

  /** A new reader that starts here. The position stays as it is. */
  subscribe(options?: SubscriptionOptions): Subscription<T> {
    return new Subscription<T>(this.#list, this.#place, options);
  }

  [Symbol.asyncIterator](): Subscription<T> {
    return this.subscribe();
  }
}
