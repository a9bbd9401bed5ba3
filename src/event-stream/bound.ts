import type { Block, Window } from './list.js';

/**
 * Keeps a stream within `maxLag` events, whatever its readers do. It holds no events itself, so that what all have
 * read is garbage as in a stream without a bound: it finds the blocks by weak references, and empties those that fall
 * out of the bound under readers that still hold them.
 */
export class Bound<T> {
  readonly #bufferSize: number;
  /** The blocks within the bound, oldest first. */
  #oldest: Link<T>;
  #newest: Link<T>;
  /** Once the stream has this many events, the oldest block is out. */
  #emptyAt: number;
  /** Held by the blocks that fell out, and so by whoever still stands in one of them. */
  #window: WeakRef<Window<T>> | undefined;

  constructor(first: Block<T>, bufferSize: number, maxLag: number) {
    this.#bufferSize = bufferSize;
    this.#oldest = { block: new WeakRef(first), next: undefined };
    this.#newest = this.#oldest;
    // One more than the bound: a reader that has just read the last event of a block still stands in that block.
    this.#emptyAt = bufferSize + maxLag + 1;
  }

  /** Learns of a new tail block. */
  add(block: Block<T>): void {
    this.#newest.next = { block: new WeakRef(block), next: undefined };
    this.#newest = this.#newest.next;
  }

  /** Learns that there are `count` events now. */
  advance(count: number): void {
    while (count >= this.#emptyAt) {
      const block = this.#oldest.block.deref();
      if (block !== undefined) this.#empty(block);
      // The newest event is within any bound, so there is a block behind one that is out.
      this.#oldest = this.#oldest.next as Link<T>;
      this.#emptyAt += this.#bufferSize;
    }
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
  next: Link<T> | undefined;
}
