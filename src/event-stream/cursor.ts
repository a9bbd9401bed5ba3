import { MillraceError } from '../errors.js';
import { type Block, type EventList, newBlock, type Place } from './list.js';

/**
 * A reader's own, moving place in a list. Reading is synchronous: whoever drains a cursor pays for one call per event
 * and for no promise.
 */
export class Cursor<T> {
  readonly list: EventList<T>;
  /** Kept here, because the way to the list is a detour in the hottest loop there is. */
  readonly #bounded: boolean;
  #block: Block<T>;
  #index: number;

  constructor(list: EventList<T>, place: Place<T>) {
    this.list = list;
    this.#bounded = list.maxLag !== Number.POSITIVE_INFINITY;
    this.#block = place.block;
    this.#index = place.index;
  }

  /** Whether {@link read} may be called now. */
  get ready(): boolean {
    const block = this.#block;
    if (this.#index < block.values.length) return true;
    // The one behind a block that was ended is empty until something comes.
    return block.next === undefined ? block.window !== undefined : block.next.values.length > 0;
  }

  /** Leaves a block that was ended and is read: for readers that wait, who would keep it from being garbage. */
  rest(): void {
    const { next } = this.#block;
    if (next === undefined || this.#index < this.#block.values.length) return;
    this.#block = next;
    this.#index = 0;
  }

  /** How many published events are still to be read. */
  get lag(): number {
    return this.list.count - this.#block.start - this.#index;
  }

  /**
   * The next event. Only when {@link ready}.
   * Throws `EVENT_STREAM_LAGGED`, and moves to the oldest event within the bound, when it is further behind than that.
   */
  read(): T {
    if (this.#bounded && this.lag > this.list.maxLag) throw this.#skip();
    const block = this.#block;
    const index = this.#index;
    if (index < block.values.length) {
      this.#index = index + 1;
      return block.values[index] as T;
    }
    this.#block = block.next as Block<T>;
    this.#index = 1;
    return this.#block.values[0] as T;
  }

  /** Where the cursor stands now, to be kept or shared. */
  place(): Place<T> {
    return { block: this.#block, index: this.#index };
  }

  /** Lets go of all events. There is nothing to read from then on. */
  release(): void {
    this.#block = newBlock(0);
    this.#index = 0;
  }

  #skip(): MillraceError {
    const { count, maxLag } = this.list;
    const missed = this.lag - maxLag;
    const oldest = count - maxLag;
    let block = this.#block.window?.oldest ?? this.#block;
    while (block.next !== undefined && block.next.start <= oldest) block = block.next;
    this.#block = block;
    this.#index = oldest - block.start;
    return new MillraceError(
      'EVENT_STREAM_LAGGED',
      `This reader was ${missed + maxLag} events behind, of which ${missed} are lost to it (maxLag is ${maxLag}): read on from the oldest that is left, or start over.`,
      { missed, maxLag },
    );
  }
}
