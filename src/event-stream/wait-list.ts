/** A reader that has read everything there is and wants to know of more. */
export interface Waiter {
  /** Its index in the list while it waits, else {@link NOT_WAITING}. Belongs to the list. */
  slot: number;
  /**
   * Called in a microtask after something was published or the stream was closed, once however much that was; it may
   * also find nothing new. Answers whether it goes on waiting. Must not throw.
   */
  wake(): boolean;
  /** Called behind {@link wake} where a block of events was ended: lets go of it if all of it is read. */
  rest?(): void;
}

/** {@link Waiter.slot} of whoever does not wait. */
export const NOT_WAITING = -1;

/** Fewer empty slots than this are not worth closing. */
const EMPTY_SLOTS_MIN = 32;

/**
 * The readers at the tail, in the order in which they came. A reader that goes on waiting keeps its slot, so that
 * waking a thousand of them moves nothing, and leaving takes constant time however many there are.
 */
export class WaitList {
  #slots: (Waiter | undefined)[] = [];
  #empty = 0;
  #scheduled = false;
  #waking = false;
  #resting = false;

  /** How many wait. */
  get size(): number {
    return this.#slots.length - this.#empty;
  }

  add(waiter: Waiter): void {
    if (waiter.slot === NOT_WAITING) waiter.slot = this.#slots.push(waiter) - 1;
  }

  delete(waiter: Waiter): void {
    if (waiter.slot === NOT_WAITING) return;
    this.#slots[waiter.slot] = undefined;
    waiter.slot = NOT_WAITING;
    this.#empty++;
    if (!this.#waking) this.#compact();
  }

  /** Wakes everybody in a microtask. Calls until then change nothing. */
  wakeSoon(): void {
    if (this.#scheduled || this.#slots.length === 0) return;
    this.#scheduled = true;
    // Not queueMicrotask: in Node that makes an AsyncResource for each call, which takes several times as long.
    RESOLVED.then(this.#wake);
  }

  /** As {@link wakeSoon}, and then all rest: asked for now and then, so that waking costs nothing for it. */
  restSoon(): void {
    this.#resting = true;
    this.wakeSoon();
  }

  readonly #wake = (): void => {
    this.#scheduled = false;
    this.#waking = true;
    const slots = this.#slots;
    // Whoever comes while this runs has seen what was published before, and waits for the next time.
    const { length } = slots;
    for (let slot = 0; slot < length; slot++) {
      const waiter = slots[slot];
      if (waiter !== undefined && !waiter.wake()) this.delete(waiter);
    }
    this.#waking = false;
    if (this.#resting) {
      this.#resting = false;
      for (const waiter of slots) waiter?.rest?.();
    }
    if (this.#empty > 0) this.#compact();
  };

  /** Closes the empty slots once they are the majority: constant time per departure, taken over many. */
  #compact(): void {
    if (this.#empty === this.#slots.length) {
      this.#slots = [];
    } else if (this.#empty >= EMPTY_SLOTS_MIN && this.#empty * 2 >= this.#slots.length) {
      this.#slots = this.#slots.filter((waiter) => waiter !== undefined);
      for (let slot = 0; slot < this.#slots.length; slot++) (this.#slots[slot] as Waiter).slot = slot;
    } else return;
    this.#empty = 0;
  }
}

const RESOLVED = Promise.resolve();
