import type { Chunk } from './chunk.js';

/** The most recent chunks of a stream, without gaps, up to a number of bytes. */
export class Window {
  #chunks: Chunk[] = [];
  /** Index of the oldest chunk that is still kept: shifting a long array for each chunk would cost its length. */
  #head = 0;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Adds the next chunk (not an empty one), and drops the oldest ones beyond `bytesMax`; the newest always stays. */
  push(chunk: Chunk, bytesMax: number): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.data.length;
    while (this.#bytes > bytesMax && this.#head < this.#chunks.length - 1) {
      this.#bytes -= (this.#chunks[this.#head] as Chunk).data.length;
      this.#chunks[this.#head++] = undefined as unknown as Chunk;
    }
    if (this.#head > 64 && this.#head * 2 > this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#head);
      this.#head = 0;
    }
  }

  /**
   * The bytes from `offset` on, whole chunks (after the first, which may be cut), at least one and at most about
   * `bytesMax`. `undefined` where the window does not reach back that far, or holds nothing past `offset`.
   */
  from(offset: number, bytesMax: number): readonly Uint8Array[] | undefined {
    const first = this.#find(offset);
    if (first < 0) return undefined;
    const head = this.#chunks[first] as Chunk;
    const pieces = [offset === head.offset ? head.data : head.data.subarray(offset - head.offset)];
    let bytes = (pieces[0] as Uint8Array).length;
    for (let i = first + 1; i < this.#chunks.length; i++) {
      const { data } = this.#chunks[i] as Chunk;
      if (bytes + data.length > bytesMax) break;
      pieces.push(data);
      bytes += data.length;
    }
    return pieces;
  }

  /** Index of the chunk that holds the byte at `offset`, or -1. */
  #find(offset: number): number {
    let low = this.#head;
    let high = this.#chunks.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const chunk = this.#chunks[middle] as Chunk;
      if (offset < chunk.offset) high = middle - 1;
      else if (offset >= chunk.tail) low = middle + 1;
      else return middle;
    }
    return -1;
  }
}
