import type { JournalRecord } from './record.js';
import type { Segment } from './segments.js';

/** Bytes of a stream that are still in the journal. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly segment: Segment;
  readonly position: number;
}

/** Where the journal has a stream's bytes, in the order of their offsets. */
export class Extents {
  #all: Extent[] = [];

  get all(): readonly Extent[] {
    return this.#all;
  }

  /** The offset of the first byte. */
  get first(): number | undefined {
    return this.#all[0]?.offset;
  }

  add({ offset, payloadLength, payloadPosition }: JournalRecord, segment: Segment): void {
    // An append at an offset says that the stream ended there: what stood behind it had been taken back.
    this.cut(offset);
    if (payloadLength > 0) this.#all.push({ offset, length: payloadLength, segment, position: payloadPosition });
  }

  /** Drops what lies behind an offset. */
  cut(offset: number): void {
    while (this.#all.length > 0) {
      const last = this.#all[this.#all.length - 1] as Extent;
      if (last.offset + last.length <= offset) return;
      this.#all.pop();
      if (last.offset < offset) {
        this.#all.push({ ...last, length: offset - last.offset });
        return;
      }
    }
  }
}
