import { MillraceError } from '../errors.js';
import { EventList } from './list.js';
import { Position } from './position.js';
import { Subscription, type SubscriptionOptions } from './subscription.js';

/** Options of {@link EventStream}. */
export interface EventStreamOptions {
  /**
   * How many events share one block of memory (default 1024). A block is freed as a whole once nobody is left in
   * it: choose a smaller number when single events pin a lot of memory.
   */
  readonly bufferSize?: number;
  /**
   * How many events a reader may be behind the newest one (default: no limit). A reader that is further behind gets
   * `EVENT_STREAM_LAGGED` with the number of events that it missed, once, and goes on with the oldest event that is
   * still kept. With a limit set, no reader keeps older events in memory, however long it sleeps.
   */
  readonly maxLag?: number;
}

/** Default of {@link EventStreamOptions.bufferSize}. */
export const DEFAULT_BUFFER_SIZE = 1024;

/**
 * In-process broadcast: an append-only list of events. Every subscriber sees every event that is published after it
 * subscribed, in order, as the same reference. Semantics of the seed `eventstream` (Go), see ARCHITECTURE.md.
 *
 * - `publish` never waits, and costs the same whatever the number of subscribers that lag behind: nothing is copied
 *   or queued for a subscriber.
 * - What no subscriber and no {@link Position} can reach any more is garbage.
 */
export class EventStream<T> {
  readonly #list: EventList<T>;

  constructor(options: EventStreamOptions = {}) {
    const { bufferSize = DEFAULT_BUFFER_SIZE, maxLag = Number.POSITIVE_INFINITY } = options;
    if (!Number.isSafeInteger(bufferSize) || bufferSize < 1) {
      throw new MillraceError(
        'INVALID_ARGUMENT',
        `bufferSize must be a whole number of at least 1, not ${bufferSize}.`,
      );
    }
    if (maxLag !== Number.POSITIVE_INFINITY && (!Number.isSafeInteger(maxLag) || maxLag < 1)) {
      throw new MillraceError('INVALID_ARGUMENT', `maxLag must be a whole number of at least 1, not ${maxLag}.`);
    }
    this.#list = new EventList<T>(bufferSize, maxLag);
  }

  /** Adds an event. Throws `EVENT_STREAM_CLOSED` after {@link close}. */
  publish(value: T): void {
    this.#list.publish(value);
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
    return new Subscription<T>(this.#list, this.#list.tail(), options);
  }

  /** The place of the next, still unpublished event: immutable, to be shared and replayed from. */
  position(): Position<T> {
    return new Position<T>(this.#list, this.#list.tail());
  }

  /** Everything that is published from now on, as a Web `ReadableStream`; cancelling it unsubscribes. */
  toReadableStream(): ReadableStream<T> {
    return this.subscribe().toReadableStream();
  }
}
