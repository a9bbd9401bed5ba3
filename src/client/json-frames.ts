import { MillraceError } from '../errors.js';
import { checkJson } from '../wire/json-scanner.js';
import { inLine } from '../wire/ndjson.js';
import type { FrameGatherer } from './frame-buffer.js';

const NEWLINE = 0x0a;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
/** Space, tab and carriage return: what may surround a message, and what a blank line is made of. */
const BLANKS: ReadonlySet<number> = new Set([0x20, 0x09, 0x0d]);

/** The brackets around the only line of a frame. */
const BRACKETS_BYTES = 2;

/**
 * Frames for a JSON stream, where each frame must be JSON. A string is one JSON text and becomes a frame as it is.
 * Bytes are NDJSON, however they are cut: each line is a message, and lines that come together share a frame as the
 * elements of one array.
 */
export class JsonFrames implements FrameGatherer {
  readonly #frameBytesMax: number;
  readonly #lineBytesMax: number;
  readonly #emit: (frame: Uint8Array) => void;
  #lines: Uint8Array[] = [];
  #linesBytes = 0;
  /** The beginning of a line whose end has not come. */
  #rest: Uint8Array[] = [];
  #restBytes = 0;
  /** How many lines have ended. */
  #ended = 0;

  /**
   * Lines share a frame up to `frameBytesMax`; a longer line has one of its own, which the server takes up to
   * `serverFrameBytesMax`.
   */
  constructor(frameBytesMax: number, serverFrameBytesMax: number, emit: (frame: Uint8Array) => void) {
    this.#frameBytesMax = frameBytesMax;
    this.#lineBytesMax = serverFrameBytesMax - BRACKETS_BYTES;
    this.#emit = emit;
  }

  /** Without the line that has not ended: no wait would make it any shorter. It has a limit of its own. */
  get bytes(): number {
    return this.#linesBytes;
  }

  /**
   * Errors: `INVALID_JSON` for a line that is not JSON, `APPEND_TOO_LARGE` for one that no frame can hold. The lines
   * before it are emitted.
   */
  write(chunk: Uint8Array | string): void {
    if (typeof chunk === 'string') {
      this.flush();
      if (chunk !== '') this.#emit(new TextEncoder().encode(chunk));
      return;
    }
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      this.#endLine(chunk.subarray(start, end));
      start = end + 1;
    }
    if (start < chunk.length) {
      this.#checkLength(this.#restBytes + chunk.length - start);
      this.#rest.push(chunk.slice(start));
      this.#restBytes += chunk.length - start;
    }
  }

  /** Emits the lines that are whole. */
  flush(): void {
    if (this.#lines.length === 0) return;
    // "[", a comma or "]" behind each line.
    const frame = new Uint8Array(1 + this.#linesBytes + this.#lines.length);
    let used = 0;
    frame[used++] = OPEN_BRACKET;
    for (const line of this.#lines) {
      frame.set(line, used);
      used += line.length;
      frame[used++] = COMMA;
    }
    frame[used - 1] = CLOSE_BRACKET;
    this.#lines = [];
    this.#linesBytes = 0;
    this.#emit(frame);
  }

  /** The last line may lack its newline. Errors: as {@link write}. */
  end(): void {
    this.#endLine(new Uint8Array(0));
    this.flush();
  }

  #endLine(end: Uint8Array): void {
    this.#checkLength(this.#restBytes + end.length);
    this.#ended++;
    const line = new Uint8Array(this.#restBytes + end.length);
    let used = 0;
    for (const part of [...this.#rest, end]) {
      line.set(part, used);
      used += part.length;
    }
    this.#rest = [];
    this.#restBytes = 0;
    if (line.every((byte) => BLANKS.has(byte))) return;
    this.#checkJson(line);
    // With the brackets, and a comma behind each line that is there already.
    const frameBytes = this.#linesBytes + this.#lines.length + line.length + BRACKETS_BYTES;
    if (frameBytes > this.#frameBytesMax) this.flush();
    this.#lines.push(line);
    this.#linesBytes += line.length;
  }

  /**
   * Each line by itself: with commas between them, `1,2` or two halves of an object would pass for other messages. And
   * here, with the server's own check: it refuses a frame as a whole, and good lines with a bad one in it.
   */
  #checkJson(line: Uint8Array): void {
    try {
      checkJson(line);
    } catch (error) {
      this.flush();
      throw inLine(this.#ended, error);
    }
  }

  #checkLength(lineBytes: number): void {
    if (lineBytes <= this.#lineBytesMax) return;
    this.flush();
    throw new MillraceError(
      'APPEND_TOO_LARGE',
      `Line ${this.#ended + 1} is longer than the ${this.#lineBytesMax} bytes that the server takes as one message: check that each message ends with a newline.`,
      { line: this.#ended + 1, lineBytesMax: this.#lineBytesMax },
    );
  }
}
