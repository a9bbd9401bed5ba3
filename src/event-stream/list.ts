import { MillraceError } from '../errors.js';

/** A run of events that is allocated, and freed, as a whole. */
export interface Block<T> {
  readonly values: T[];
  next: Block<T> | undefined;
}

/** A place between two events. `seq` counts the events before it since the stream began. Never changed once made. */
export interface Place<T> {
  /** Weakly held in a stream with a bound: what fell out of the bound must not be kept alive by a sleeper. */
  readonly block: Block<T> | WeakRef<Block<T>>;
  readonly index: number;
  readonly seq: number;
}

/** Somebody who has read everything and wants to know of more. */
export interface Waiter {
  /** Called once per wake-up, in a microtask after the publishing call. */
  wake(): void;
}

/**
 * The append-only list behind an `EventStream`: linked blocks of which it holds only the newest one (and, with a
 * bound, as many as the bound needs). Readers hold the block that they stand in, so the list is freed behind the
 * slowest of them.
 */
export class EventList<T> {
  readonly bufferSize: number;
  /** Infinity where there is no bound. */
  readonly maxLag: number;
  closed = false;
  /** How many events were published so far. */
  seq = 0;
  #tail: Block<T>;
  #tailIndex = 0;
  /** With a bound: the blocks that hold the newest `maxLag` events, oldest first. */
  readonly #kept: Block<T>[] | undefined;
  #waiters: Waiter[] = [];
  #cancelled = 0;
  #wakeQueued = false;

  constructor(bufferSize: number, maxLag: number) {
    this.bufferSize = bufferSize;
    this.maxLag = maxLag;
    this.#tail = newBlock(bufferSize);
    this.#kept = maxLag === Number.POSITIVE_INFINITY ? undefined : [this.#tail];
  }

  publish(value: T): void {
    if (this.closed) {
      throw new MillraceError(
        'EVENT_STREAM_CLOSED',
        'The event stream is closed: publish before close(), or make a new one.',
      );
    }
    if (this.#tailIndex === this.bufferSize) this.#grow();
    this.#tail.values[this.#tailIndex++] = value;
    this.seq++;
    if (this.#waiters.length > 0) this.#queueWake();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.#waiters.length > 0) this.#queueWake();
  }

  /** The place of the next event to be published. */
  tail(): Place<T> {
    return { block: this.#hold(this.#tail), index: this.#tailIndex, seq: this.seq };
  }

  /** Asks for one wake-up at the next publish or close. */
  wait(waiter: Waiter): void {
    this.#waiters.push(waiter);
  }

  /** Takes a waiter back. */
  cancel(waiter: Waiter): void {
    const at = this.#waiters.indexOf(waiter);
    if (at < 0) return;
    // Replaced, not spliced: a cancelled entry in a list of thousands must not move all the others.
    this.#waiters[at] = NOBODY;
    this.#cancelled++;
    if (this.#cancelled > 16 && this.#cancelled * 2 > this.#waiters.length) {
      this.#waiters = this.#waiters.filter((each) => each !== NOBODY);
      this.#cancelled = 0;
    }
  }

  /** How many readers wait at the tail. */
  get waiting(): number {
    return this.#waiters.length - this.#cancelled;
  }

  #grow(): void {
    const block = newBlock<T>(this.bufferSize);
    this.#tail.next = block;
    this.#tail = block;
    this.#tailIndex = 0;
    if (this.#kept === undefined) return;
    this.#kept.push(block);
    // The oldest block may go once the blocks behind it, the new one still empty, hold `maxLag` events.
    while ((this.#kept.length - 2) * this.bufferSize >= this.maxLag) this.#kept.shift();
  }

  #hold(block: Block<T>): Block<T> | WeakRef<Block<T>> {
    return this.#kept === undefined ? block : new WeakRef(block);
  }

  /** The oldest event that a reader of a bounded stream can still have. */
  oldestKept(): Place<T> {
    const seq = Math.max(0, this.seq - this.maxLag);
    const kept = this.#kept as Block<T>[];
    let before = this.seq - this.#tailIndex - (kept.length - 1) * this.bufferSize;
    for (const block of kept) {
      if (seq < before + this.bufferSize) return { block: new WeakRef(block), index: seq - before, seq };
      before += this.bufferSize;
    }
    return this.tail();
  }

  #queueWake(): void {
    if (this.#wakeQueued) return;
    this.#wakeQueued = true;
    queueMicrotask(() => {
      this.#wakeQueued = false;
      const waiters = this.#waiters;
      this.#waiters = [];
      this.#cancelled = 0;
      for (const waiter of waiters) waiter.wake();
    });
  }
}

/**
 * A reader's own, moving place in a list. `read` is the one way forward; it is synchronous, so whoever drains a
 * cursor pays one call per event and no promise.
 */
export class Cursor<T> {
  readonly #list: EventList<T>;
  #block: Block<T> | WeakRef<Block<T>>;
  #index: number;
  #seq: number;

  constructor(list: EventList<T>, place: Place<T>) {
    this.#list = list;
    this.#block = place.block;
    this.#index = place.index;
    this.#seq = place.seq;
  }

  /** Whether `read` has an event now. */
  get ready(): boolean {
    return this.#seq < this.#list.seq;
  }

  /** How many published events are still to be read. */
  get lag(): number {
    return this.#list.seq - this.#seq;
  }

  /**
   * The next event. Only when `ready`.
   * Throws `EVENT_STREAM_LAGGED` and moves to the oldest kept event when it is further behind than the bound.
   */
  read(): T {
    const list = this.#list;
    let block: Block<T>;
    if (list.maxLag === Number.POSITIVE_INFINITY) {
      block = this.#block as Block<T>;
    } else {
      if (this.lag > list.maxLag) throw this.#skip();
      // Within the bound the list itself holds the block, so the reference cannot be empty.
      block = (this.#block as WeakRef<Block<T>>).deref() as Block<T>;
    }
    if (this.#index === list.bufferSize) {
      block = block.next as Block<T>;
      this.#block = list.maxLag === Number.POSITIVE_INFINITY ? block : new WeakRef(block);
      this.#index = 0;
    }
    this.#seq++;
    return block.values[this.#index++] as T;
  }

  /** The cursor's place now, to be kept or shared. */
  place(): Place<T> {
    return { block: this.#block, index: this.#index, seq: this.#seq };
  }

  /** Lets go of the events ahead, so that a finished reader keeps nothing alive. */
  release(): void {
    const tail = this.#list.tail();
    this.#block = { values: [], next: undefined };
    this.#index = 0;
    this.#seq = tail.seq;
  }

  #skip(): MillraceError {
    const oldest = this.#list.oldestKept();
    const missed = oldest.seq - this.#seq;
    this.#block = oldest.block;
    this.#index = oldest.index;
    this.#seq = oldest.seq;
    return new MillraceError(
      'EVENT_STREAM_LAGGED',
      `The reader was more than maxLag = ${this.#list.maxLag} events behind and missed ${missed}. Read on from the oldest kept event, or start again.`,
      { missed },
    );
  }
}

const NOBODY: Waiter = { wake() {} };

function newBlock<T>(size: number): Block<T> {
  return { values: new Array<T>(size), next: undefined };
}
