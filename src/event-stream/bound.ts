import type { Block, Window } from './list.js';

/**
 * Keeps a stream within `maxLag` events, whatever its readers do. It holds no events itself, so that what all have
 * read is garbage as in a stream without a bound: it finds the blocks by weak references, and empties those that fall
 * out of the bound under readers that still hold them.
 */
export class Bound<T> {
  readonly #maxLag: number;
  /** The blocks within the bound, oldest first. */
  #oldest: Link<T>;
  #newest: Link<T>;
  /** Once the stream has this many events, the oldest block is out. Never, while it is the only one. */
  #emptyAt = Number.POSITIVE_INFINITY;
  /** Held by the blocks that fell out, and so by whoever still stands in one of them. */
  #window: WeakRef<Window<T>> | undefined;

  constructor(first: Block<T>, maxLag: number) {
    this.#maxLag = maxLag;
    this.#oldest = { block: new WeakRef(first), start: first.start, next: undefined };
    this.#newest = this.#oldest;
  }

  /** Learns of a new tail block. */
  add(block: Block<T>): void {
    this.#newest.next = { block: new WeakRef(block), start: block.start, next: undefined };
    this.#newest = this.#newest.next;
    if (this.#oldest.next === this.#newest) this.#watchOldest();
  }

  /** Learns that there are `count` events now. */
  advance(count: number): void {
    while (count >= this.#emptyAt) {
      const block = this.#oldest.block.deref();
      if (block !== undefined) this.#empty(block);
      // The newest event is within any bound, so there is a block behind one that is out.
      this.#oldest = this.#oldest.next as Link<T>;
      this.#watchOldest();
    }
  }

  #watchOldest(): void {
    const end = this.#oldest.next?.start ?? Number.POSITIVE_INFINITY;
    // One more than the bound: a reader that has just read the last event of a block still stands in that block.
    this.#emptyAt = end + this.#maxLag + 1;
  }

  #empty(block: Block<T>): void {
    const oldest = block.next as Block<T>;
    let window = this.#window?.deref();
    if (window === undefined) {
      window = { oldest };
      this.#window = new WeakRef(window);
    } else {
      window.oldest = oldest;
    }
    block.values = [];
    block.next = undefined;
    block.window = window;
  }
}

interface Link<T> {
  readonly block: WeakRef<Block<T>>;
  /** As the block's own. */
  readonly start: number;
  next: Link<T> | undefined;
}
