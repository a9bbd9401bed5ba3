import { MillraceError } from '../errors.js';
import { EventList } from './list.js';
import { Position, Subscription, type SubscriptionOptions } from './subscription.js';

/** Default of {@link EventStreamOptions.bufferSize}. */
export const DEFAULT_BUFFER_SIZE = 1024;

/** Options of {@link EventStream}. */
export interface EventStreamOptions {
  /**
   * How many events share one block of memory (default 1024, or `maxLag` where that is less). A block is freed as a
   * whole, once nobody is left in it: choose a smaller number where single events hold on to a lot of memory.
   */
  readonly bufferSize?: number | undefined;
  /**
   * How many events a reader may be behind the newest one (default: any number). Who is further behind gets
   * `EVENT_STREAM_LAGGED` with the number of events that it missed, and goes on with the oldest that is left. However
   * long readers sleep, they keep no more than the newest `maxLag + bufferSize` events in memory.
   * Everything published in one turn of the event loop counts: choose more than the largest burst.
   */
  readonly maxLag?: number | undefined;
}

/**
 * In-process broadcast: an append-only list of events. Every subscriber sees every event published after it
 * subscribed, in order, as the same reference. (Semantics of the Go package `eventstream` of fullstorydev.)
 *
 * - `publish` never waits, and costs the same whatever number of readers lag behind: nothing is copied or queued for
 *   them. Readers hear of it in a microtask, never from within `publish`.
 * - What no {@link Subscription} and no {@link Position} can reach any more is garbage, a block at a time.
 */
export class EventStream<T> {
  readonly #list: EventList<T>;

  /** Throws `INVALID_ARGUMENT` for options that are not whole numbers of at least 1. */
  constructor({
    maxLag,
    bufferSize = Math.min(DEFAULT_BUFFER_SIZE, maxLag ?? DEFAULT_BUFFER_SIZE),
  }: EventStreamOptions = {}) {
    if (maxLag !== undefined) requireCount('maxLag', maxLag);
    requireCount('bufferSize', bufferSize);
    this.#list = new EventList(bufferSize, maxLag ?? Number.POSITIVE_INFINITY);
  }

  /** Adds an event. Throws `EVENT_STREAM_CLOSED` after {@link close}. */
  publish(value: T): void {
    this.#list.publish(value);
  }

  /**
   * Makes what was published so far free to go apart from what follows, however few events that is: call it behind events
   * that hold on to a lot of memory. Else the newest block of {@link EventStreamOptions.bufferSize} events stays until it
   * is full. Readers see nothing of it.
   */
  endBlock(): void {
    this.#list.endBlock();
  }

  /** How many events were published so far. */
  get count(): number {
    return this.#list.count;
  }

  /** Ends the stream: readers end once they have drained it. Closing again changes nothing. */
  close(): void {
    this.#list.close();
  }

  /** Whether {@link close} was called. */
  get closed(): boolean {
    return this.#list.closed;
  }

  /** A reader of everything that is published from now on. */
  subscribe(options?: SubscriptionOptions): Subscription<T> {
    return new Subscription(this.#list, this.#list.tail(), options);
  }

  /** The place of the next event to be published. */
  position(): Position<T> {
    return new Position(this.#list, this.#list.tail());
  }

  /** Everything that is published from now on as a Web `ReadableStream`; cancelling it ends the subscription. */
  toReadableStream(options?: SubscriptionOptions): ReadableStream<T> {
    return this.subscribe(options).toReadableStream();
  }
}

function requireCount(name: string, value: number): void {
  if (Number.isSafeInteger(value) && value >= 1) return;
  throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number of at least 1, not ${value}.`);
}
