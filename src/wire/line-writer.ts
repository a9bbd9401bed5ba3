import type { JsonLines } from './json.js';
import type { JsonTokenSink } from './json-scanner.js';

const NEWLINE = 0x0a;
/** Runs shorter than this are looked through and copied by hand: a call costs more. */
export const SHORT_RUN_BYTES = 32;

export const NO_BYTES: Uint8Array = new Uint8Array(0);

/** Writes the tokens of JSON texts as lines. */
export class LineWriter implements JsonTokenSink {
  #out: Uint8Array = NO_BYTES;
  #size = 0;
  /** Where the last line ends that is whole, and how many there are. */
  #wholeSize = 0;
  #count = 0;
  /** Where, in the bytes at hand, what is not copied yet begins. */
  #from = 0;

  /** Begins with bytes of which each is written at most once, and a last newline. */
  begin(bytes: number): void {
    this.#out = new Uint8Array(bytes + 1);
    this.#size = 0;
    this.#wholeSize = 0;
    this.#count = 0;
    this.#from = 0;
  }

  drop(bytes: Uint8Array, start: number, end: number): void {
    this.keep(bytes, start);
    this.#from = end;
  }

  separate(bytes: Uint8Array, at: number): void {
    this.keep(bytes, at);
    this.#from = at + 1;
    this.#endLine();
  }

  /** Copies what was not dropped up to a place. */
  keep(bytes: Uint8Array, end: number): void {
    this.#size = copyBytes(bytes, this.#from, end, this.#out, this.#size);
    this.#from = end;
  }

  /** All lines, of which the last one ends here. */
  finish(bytes: Uint8Array, end: number): JsonLines {
    this.keep(bytes, end);
    // Nothing is left between the brackets of an empty array.
    if (this.#size > 0) this.#endLine();
    const lines = this.whole();
    this.#out = NO_BYTES;
    return lines;
  }

  /** The lines that are whole. */
  whole(): JsonLines {
    const { length } = this.#out;
    const size = this.#wholeSize;
    return { data: size === length ? this.#out : this.#out.subarray(0, size), count: this.#count };
  }

  /** What there is of a line that is not whole. */
  unfinished(): Uint8Array {
    return this.#out.subarray(this.#wholeSize, this.#size);
  }

  #endLine(): void {
    this.#out[this.#size++] = NEWLINE;
    this.#wholeSize = this.#size;
    this.#count++;
  }
}

/** Copies a run of bytes, which may be empty; answers where it ends in `out`. */
export function copyBytes(bytes: Uint8Array, start: number, end: number, out: Uint8Array, at: number): number {
  if (end - start >= SHORT_RUN_BYTES) {
    out.set(bytes.subarray(start, end), at);
    return at + end - start;
  }
  let size = at;
  for (let from = start; from < end; from++) out[size++] = bytes[from] as number;
  return size;
}
