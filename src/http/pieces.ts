import { Buffer } from 'node:buffer';

/** Pieces up to this size are put together: each of its own would take far more memory than what it holds. */
const SMALL_PIECE_BYTES = 16 * 1024;
const BLOCK_BYTES = 64 * 1024;

const EMPTY = Buffer.alloc(0);

/** Bytes that come in pieces of any size, and are wanted in one. They take little more memory than their number. */
export class Pieces {
  #whole: Buffer[] = [];
  #block = EMPTY;
  #blockBytes = 0;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes a piece. A small one is copied; others must not be changed any more. */
  add(piece: Uint8Array): void {
    const { length } = piece;
    if (length > SMALL_PIECE_BYTES) {
      this.#endBlock();
      this.#whole.push(Buffer.from(piece.buffer, piece.byteOffset, length));
    } else if (length > 0) {
      if (this.#blockBytes + length > this.#block.length) {
        this.#endBlock();
        const blockBytes = this.#bytes === 0 ? Math.max(length, 64) : Math.min(BLOCK_BYTES, this.#bytes + length);
        this.#block = Buffer.allocUnsafeSlow(blockBytes);
      }
      this.#block.set(piece, this.#blockBytes);
      this.#blockBytes += length;
    }
    this.#bytes += length;
  }

  /** All of them together; then there are none. */
  join(): Buffer {
    this.#endBlock();
    const whole = this.#whole;
    const joined = whole.length === 1 ? (whole[0] as Buffer) : Buffer.concat(whole, this.#bytes);
    this.clear();
    return joined;
  }

  clear(): void {
    this.#whole = [];
    this.#block = EMPTY;
    this.#blockBytes = 0;
    this.#bytes = 0;
  }

  #endBlock(): void {
    if (this.#blockBytes > 0) this.#whole.push(this.#block.subarray(0, this.#blockBytes));
    this.#block = EMPTY;
    this.#blockBytes = 0;
  }
}
