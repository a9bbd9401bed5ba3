import { isMillraceError, MillraceError } from '../errors.js';
import { JSON_DEPTH_MAX, JsonMachine } from './json-scanner.js';
import { LineWriter, NO_BYTES } from './line-writer.js';

const NEWLINE = 0x0a;
const REST_BYTES_MIN = 256;

/** Takes whole lines, each a message ended by `\n`, without whitespace between tokens. */
export type TakeLines = (lines: Uint8Array, count: number) => void;

/**
 * Checks NDJSON that comes in pieces, however it is cut, and hands out the lines that are whole. A line is checked as it
 * comes, so a piece costs its own bytes, however long the line is; and what is kept of an unfinished one is its bytes.
 */
export class NdjsonReader {
  readonly #lineBytesMax: number;
  readonly #take: TakeLines;
  readonly #writer = new LineWriter();
  readonly #machine = new JsonMachine({ depthMax: JSON_DEPTH_MAX, sink: this.#writer, keepsArrays: true });
  /** The number of the line at hand, from 1 on. */
  #line = 1;
  #lineBytes = 0;
  /** What earlier pieces had of the line at hand. */
  #rest = NO_BYTES;
  #restBytes = 0;

  constructor(lineBytesMax: number, take: TakeLines) {
    this.#lineBytesMax = lineBytesMax;
    this.#take = take;
  }

  /** The memory that an unfinished line takes. */
  get unfinishedBytes(): number {
    return this.#rest.length;
  }

  /**
   * Takes a piece. Errors, after the lines before were handed out: `INVALID_JSON`, `BODY_TOO_LARGE`, with the line's
   * number in `details.line`.
   */
  push(piece: Uint8Array): void {
    this.#writer.begin(piece.length);
    try {
      let start = 0;
      for (let end = piece.indexOf(NEWLINE); end >= 0; end = piece.indexOf(NEWLINE, start)) {
        this.#check(piece, start, end);
        this.#endLine(piece, end);
        start = end + 1;
      }
      this.#check(piece, start, piece.length);
      this.#writer.keep(piece, piece.length);
    } finally {
      this.#handOut();
    }
    this.#keep(this.#writer.unfinished());
  }

  /** The last line may lack its end. Errors: as {@link push}. */
  end(): void {
    this.push(Uint8Array.of(NEWLINE));
  }

  #check(piece: Uint8Array, start: number, end: number): void {
    this.#lineBytes += end - start;
    if (this.#lineBytes > this.#lineBytesMax) {
      throw new MillraceError('BODY_TOO_LARGE', `Line ${this.#line} has more than ${this.#lineBytesMax} bytes.`, {
        line: this.#line,
        lineBytesMax: this.#lineBytesMax,
      });
    }
    try {
      this.#machine.take(piece, start, end);
    } catch (error) {
      throw inLine(this.#line, error);
    }
  }

  #endLine(piece: Uint8Array, end: number): void {
    if (this.#machine.isBlank) this.#writer.drop(piece, end, end + 1);
    else {
      try {
        this.#machine.end();
      } catch (error) {
        throw inLine(this.#line, error);
      }
      this.#writer.separate(piece, end);
    }
    this.#machine.reset();
    this.#line++;
    this.#lineBytes = 0;
  }

  #handOut(): void {
    const { data, count } = this.#writer.whole();
    if (count === 0) return;
    if (this.#restBytes === 0) this.#take(data, count);
    else {
      const all = new Uint8Array(this.#restBytes + data.length);
      all.set(this.#rest.subarray(0, this.#restBytes));
      all.set(data, this.#restBytes);
      this.#rest = NO_BYTES;
      this.#restBytes = 0;
      this.#take(all, count);
    }
  }

  /** In one buffer that doubles: a line that comes byte by byte must not be a million objects. */
  #keep(part: Uint8Array): void {
    const needed = this.#restBytes + part.length;
    if (needed > this.#rest.length) {
      const larger = new Uint8Array(Math.max(REST_BYTES_MIN, 2 * this.#rest.length, needed));
      larger.set(this.#rest.subarray(0, this.#restBytes));
      this.#rest = larger;
    }
    this.#rest.set(part, this.#restBytes);
    this.#restBytes = needed;
  }
}

/** The same error, with the number of the line that it is about. */
export function inLine(line: number, error: unknown): unknown {
  if (!isMillraceError(error)) return error;
  return new MillraceError(error.code, `Line ${line}: ${error.message}`, { ...error.details, line }, { cause: error });
}
