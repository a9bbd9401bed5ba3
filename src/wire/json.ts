import { JSON_DEPTH_MAX, JsonMachine } from './json-scanner.js';
import { copyBytes, LineWriter, SHORT_RUN_BYTES } from './line-writer.js';

/**
 * JSON mode (Durable Streams, section 9.1) over NDJSON: a stream of JSON messages is kept as one message a line, with
 * the text of its writer. Values are checked, never rebuilt, so `1.0`, `1e400` and twenty digits come back as sent.
 */

/** Whether a stream of this content type is made of JSON messages. */
export function isJsonType(contentType: string): boolean {
  if (contentType === 'application/json') return true;
  const end = contentType.indexOf(';');
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase() === 'application/json';
}

/** Messages as lines. */
export interface JsonLines {
  /** One message a line, each ended by `\n`, without whitespace between tokens. */
  readonly data: Uint8Array;
  readonly count: number;
}

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/**
 * Turns a request body into lines: an array gives one message per element (one level, not more), anything else is one
 * message. Errors: `INVALID_JSON` for what is not JSON in UTF-8 or is nested deeper than {@link JSON_DEPTH_MAX}.
 * An empty array gives no message: whether that is allowed is the caller's to say.
 */
export function encodeJsonLines(body: Uint8Array): JsonLines {
  machine.reset();
  writer.begin(body.length);
  machine.take(body, 0, body.length);
  machine.end();
  return writer.finish(body, body.length);
}

/** {@link encodeJsonLines} in slices: `while (!encoder.encode(SLICE_BYTES)) await nextTurn()`. */
export class JsonLineEncoder {
  readonly #body: Uint8Array;
  readonly #writer = new LineWriter();
  readonly #machine = new JsonMachine({ depthMax: JSON_DEPTH_MAX, sink: this.#writer });
  #at = 0;

  constructor(body: Uint8Array) {
    this.#body = body;
    this.#writer.begin(body.length);
  }

  /** Goes on for so many bytes; the lines, once all are checked. Errors: as {@link encodeJsonLines}. */
  encode(bytesMax: number): JsonLines | undefined {
    const body = this.#body;
    const end = Math.min(body.length, this.#at + bytesMax);
    this.#machine.take(body, this.#at, end);
    this.#at = end;
    if (end < body.length) {
      this.#writer.keep(body, end);
      return undefined;
    }
    this.#machine.end();
    return this.#writer.finish(body, end);
  }
}

/** For all bodies that are encoded at once: whatever state the last one left them in, the next one begins anew. */
const writer = new LineWriter();
const machine = new JsonMachine({ depthMax: JSON_DEPTH_MAX, sink: writer });

/**
 * Lines as one JSON array, as a response body. Blank lines and a last line without its end are taken as a person
 * would: a file may have been put under the root by hand.
 */
export function jsonArrayOf(lines: Uint8Array): Uint8Array {
  return joinLines(lines, false, 1);
}

/** Whole lines as a part of a JSON array that is sent in pieces. The brackets are the caller's. */
export function jsonArrayPart(lines: Uint8Array, afterOthers: boolean): Uint8Array {
  return joinLines(lines, afterOthers, 0);
}

/** The messages with commas between them, and before them where others came before; with room for brackets around. */
function joinLines(lines: Uint8Array, afterOthers: boolean, brackets: 0 | 1): Uint8Array {
  const out = new Uint8Array(lines.length + 2);
  let size: number = brackets;
  let needsComma = afterOthers;
  forEachLine(lines, (start, end) => {
    if (needsComma) out[size++] = COMMA;
    needsComma = true;
    size = copyBytes(lines, start, end, out, size);
  });
  if (brackets === 1) {
    out[0] = OPEN_BRACKET;
    out[size++] = CLOSE_BRACKET;
  }
  return size === out.length ? out : out.subarray(0, size);
}

/** Calls `visit` with the bounds of every line that is not blank, line end and surrounding whitespace left out. */
export function forEachLine(lines: Uint8Array, visit: (start: number, end: number) => void): void {
  let start = 0;
  while (start < lines.length) {
    const next = endOfLine(lines, start);
    let end = next;
    while (end > start && isSpace(lines[end - 1])) end--;
    while (start < end && isSpace(lines[start])) start++;
    if (end > start) visit(start, end);
    start = next + 1;
  }
}

/** Where a line ends that begins at `start`. Looks at the first bytes by hand: most of a short line is the call. */
function endOfLine(lines: Uint8Array, start: number): number {
  const near = Math.min(lines.length, start + SHORT_RUN_BYTES);
  for (let at = start; at < near; at++) if (lines[at] === NEWLINE) return at;
  const next = lines.indexOf(NEWLINE, near);
  return next < 0 ? lines.length : next;
}

function isSpace(byte: number | undefined): boolean {
  return byte === SPACE || byte === NEWLINE || byte === CARRIAGE_RETURN || byte === TAB;
}
