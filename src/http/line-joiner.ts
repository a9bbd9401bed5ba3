import { Buffer } from 'node:buffer';
import { MillraceError } from '../errors.js';
import { encodeJsonLines } from '../wire/json.js';

const NEWLINE = 0x0a;
const OPEN = Buffer.from('[');
const CLOSE = Buffer.from(']');

/** Finds the lines in a body that arrives in pieces, and checks that each is one JSON message. */
export class LineJoiner {
  readonly #lineBytesMax: number;
  #rest: Buffer[] = [];
  #restBytes = 0;

  constructor(lineBytesMax: number) {
    this.#lineBytesMax = lineBytesMax;
  }

  /** Takes a piece; answers with the lines that are complete now. Errors: `INVALID_JSON`, `BODY_TOO_LARGE`. */
  push(piece: Buffer): Uint8Array[] {
    const lines: Uint8Array[] = [];
    let start = 0;
    for (let end = piece.indexOf(NEWLINE); end >= 0; end = piece.indexOf(NEWLINE, start)) {
      this.#keep(piece.subarray(start, end));
      start = end + 1;
      lines.push(...this.end());
    }
    if (start < piece.length) this.#keep(Buffer.from(piece.subarray(start)));
    return lines;
  }

  /** The last line, where it has no end of its own. */
  end(): Uint8Array[] {
    const line = Buffer.concat(this.#rest);
    this.#rest = [];
    this.#restBytes = 0;
    if (line.every(isBlank)) return [];
    // In brackets, so that a message that is an array stays one message.
    const { data, count } = encodeJsonLines(Buffer.concat([OPEN, line, CLOSE]));
    if (count !== 1) throw new MillraceError('INVALID_JSON', 'Send one JSON value on each line.');
    return [data];
  }

  #keep(part: Buffer): void {
    this.#restBytes += part.length;
    if (this.#restBytes > this.#lineBytesMax) {
      throw new MillraceError('BODY_TOO_LARGE', `A line has more than ${this.#lineBytesMax} bytes.`, {
        lineBytesMax: this.#lineBytesMax,
      });
    }
    this.#rest.push(part);
  }
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0d;
}
