import { MillraceError } from '../errors.js';

/** How far a producer's appends were committed: the highest sequence number of an epoch, or -1. */
export interface Committed {
  readonly epoch: number;
  readonly seq: number;
}

/** A frame and its sequence number in the current epoch. */
export interface NumberedFrame {
  readonly frame: Uint8Array;
  readonly seq: number;
}

/**
 * Frames that are not known to be durable, in order: they are sent again after a reconnect, each exactly once as far
 * as the stream is concerned. Every connection is an epoch of the producer and numbers its frames from 0; here they
 * also have an index that never starts again, so that what an older epoch committed is understood in a newer one.
 */
export class ReplayQueue {
  /** Frames from index `#first` on; those below `#head` are gone and are cut off now and then. */
  #frames: (Uint8Array | undefined)[] = [];
  #head = 0;
  #first = 0;
  /** Index of the next frame to send on this connection. */
  #next = 0;
  #bytes = 0;
  #epoch = 0;
  /** The index of frame 0 of each epoch in which anything may have been committed. */
  readonly #starts = new Map<number, number>();

  /** Bytes of all frames that are not acknowledged. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether every frame was acknowledged. */
  get empty(): boolean {
    return this.#head === this.#frames.length;
  }

  push(frame: Uint8Array): void {
    this.#frames.push(frame);
    this.#bytes += frame.length;
  }

  /** The next frame to send in the current epoch, or undefined when all were sent. */
  take(): NumberedFrame | undefined {
    const frame = this.#frames[this.#head + (this.#next - this.#first)];
    if (frame === undefined) return undefined;
    const seq = this.#next - this.#startOf(this.#epoch);
    this.#next++;
    return { frame, seq };
  }

  /** Everything up to `seq` of the current epoch is durable: it is never sent again. */
  acknowledge(seq: number): void {
    const index = this.#startOf(this.#epoch) + seq;
    if (seq < 0 || !Number.isSafeInteger(seq) || index >= this.#next) {
      throw new MillraceError(
        'UNEXPECTED_RESPONSE',
        'The server acknowledged data that was never sent: check what stands between client and server.',
        { seq },
      );
    }
    this.#dropThrough(index);
    // From now on the server knows the current epoch: no older one can be answered any more.
    if (this.#starts.size > 1) {
      const start = this.#startOf(this.#epoch);
      this.#starts.clear();
      this.#starts.set(this.#epoch, start);
    }
  }

  /**
   * Begins an epoch on a new connection, given what the server says was committed before it. Frames that were are
   * dropped, the others will be sent again.
   * Errors: `RESUME_FAILED` where the server no longer has what it acknowledged, or knows an epoch that is not ours.
   */
  begin(epoch: number, committed: Committed | undefined): void {
    const through = this.#indexOf(committed);
    if (through < this.#first - 1) {
      throw new MillraceError(
        'RESUME_FAILED',
        'The server no longer has what it acknowledged before the connection broke: the stream was deleted, or the server lost its store. Start a new append.',
      );
    }
    if (through >= this.#next) {
      throw new MillraceError(
        'RESUME_FAILED',
        'The server has committed data of this producer that this appender never sent: give each appender a producer id of its own.',
      );
    }
    this.#dropThrough(through);
    this.#next = this.#first;
    this.#epoch = epoch;
    // In an epoch that an earlier appender began, the numbers go on where it stopped.
    const taken = committed?.epoch === epoch ? committed.seq + 1 : 0;
    this.#starts.set(epoch, this.#first - taken);
  }

  #indexOf(committed: Committed | undefined): number {
    // Nothing of ours was ever committed; then nothing was acknowledged either, or the store has lost it.
    if (committed === undefined || committed.seq < 0) return -1;
    const start = this.#starts.get(committed.epoch);
    if (start === undefined) {
      // The first connection of an appender that carries on another one's producer id.
      if (this.#starts.size === 0) return this.#first - 1;
      throw new MillraceError(
        'RESUME_FAILED',
        'Another appender has used the same producer id meanwhile: give each appender a producer id of its own.',
        { epoch: committed.epoch },
      );
    }
    return start + committed.seq;
  }

  #startOf(epoch: number): number {
    return this.#starts.get(epoch) ?? 0;
  }

  #dropThrough(index: number): void {
    while (this.#first <= index) {
      this.#bytes -= this.#frames[this.#head]?.length ?? 0;
      this.#frames[this.#head++] = undefined;
      this.#first++;
    }
    // Amortised: the array is cut when at least half of it is gone.
    if (this.#head > 64 && this.#head * 2 > this.#frames.length) {
      this.#frames = this.#frames.slice(this.#head);
      this.#head = 0;
    }
  }
}
