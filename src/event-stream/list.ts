import { MillraceError } from '../errors.js';
import { Bound } from './bound.js';
import { NOT_WAITING, WaitList } from './wait-list.js';

/** A run of events that is freed as a whole. Blocks are linked from older to newer only. */
export interface Block<T> {
  /** How many events the stream had before the first of this block. */
  readonly start: number;
  /** At most `bufferSize` of them; none yet in a block that stands behind one that was ended early. */
  values: T[];
  /** Made by the event that follows the last of this block, or when the block was ended. */
  next: Block<T> | undefined;
  /** Set when the block fell out of the stream's bound: its events are gone, this is where to go on. */
  window: Window<T> | undefined;
}

/** What is left of a stream with a bound. All blocks that fell out of it share one, so it must never move back. */
export interface Window<T> {
  oldest: Block<T>;
}

/** A place between two events: the one at `index` comes next. Never changed once made. */
export interface Place<T> {
  readonly block: Block<T>;
  readonly index: number;
}

/**
 * The append-only list behind an `EventStream`. It holds only its newest block; a reader holds the block in which it
 * stands and so all that follow. What every reader has left behind is garbage.
 */
export class EventList<T> {
  readonly bufferSize: number;
  /** `Infinity` where there is no bound. */
  readonly maxLag: number;
  readonly waiters = new WaitList();
  closed = false;
  #tail: Block<T> = newBlock(0);
  readonly #bound: Bound<T> | undefined;
  /** The promise of {@link more}, and the number of events at which it was made. */
  #more: { readonly count: number; readonly promise: Promise<void> } | undefined;

  constructor(bufferSize: number, maxLag: number) {
    this.bufferSize = bufferSize;
    this.maxLag = maxLag;
    if (maxLag !== Number.POSITIVE_INFINITY) this.#bound = new Bound(this.#tail, maxLag);
  }

  /** How many events were published so far. */
  get count(): number {
    return this.#tail.start + this.#tail.values.length;
  }

  publish(value: T): void {
    if (this.closed) {
      throw new MillraceError(
        'EVENT_STREAM_CLOSED',
        'The event stream is closed: publish before close(), or make a new stream.',
      );
    }
    if (this.#tail.values.length === this.bufferSize) this.#grow();
    this.#tail.values.push(value);
    this.#bound?.advance(this.count);
    this.waiters.wakeSoon();
  }

  /** Makes what was published so far free to go: whoever has read it stands in a block of its own from then on. */
  endBlock(): void {
    if (this.#tail.values.length === 0) return;
    this.#grow();
    this.waiters.restSoon();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.waiters.wakeSoon();
  }

  /** The place of the next event to be published. */
  tail(): Place<T> {
    return { block: this.#tail, index: this.#tail.values.length };
  }

  /**
   * Resolves once there is an event more than now, or the stream is closed. All who ask in between share one promise,
   * so that asking again costs nothing.
   */
  more(): Promise<void> {
    const { count } = this;
    if (this.#more?.count !== count) this.#more = { count, promise: this.#wait(count) };
    return this.#more.promise;
  }

  #wait(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.waiters.add({
        slot: NOT_WAITING,
        wake: () => {
          // The wake-up may be for an event that was there before the wait began.
          if (this.count === count && !this.closed) return true;
          resolve();
          return false;
        },
      });
    });
  }

  #grow(): void {
    const block = newBlock<T>(this.count);
    this.#tail.next = block;
    this.#tail = block;
    this.#bound?.add(block);
  }
}

/** A block that belongs to no stream, for readers that are through with theirs. */
export function newBlock<T>(start: number): Block<T> {
  return { start, values: [], next: undefined, window: undefined };
}
