import { JSON_DEPTH_MAX, JsonMachine, type JsonTokenSink } from './json-scanner.js';

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

const EMPTY = new Uint8Array(0);

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
  #lines: JsonLines | undefined;

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
    this.#lines ??= this.#writer.finish(body, end);
    return this.#lines;
  }
}

/** Runs shorter than this are copied by hand: a call costs more. */
const SHORT_RUN_BYTES = 32;

/** Writes the tokens of texts as lines. */
class LineWriter implements JsonTokenSink {
  #out: Uint8Array = EMPTY;
  #size = 0;
  #count = 0;
  /** Where what is not copied yet begins. */
  #from = 0;

  /** Begins with a body of so many bytes. Each is written at most once, and a last newline. */
  begin(bytes: number): void {
    this.#out = new Uint8Array(bytes + 1);
    this.#size = 0;
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
    this.#out[this.#size++] = NEWLINE;
    this.#count++;
  }

  /** Copies what was not dropped up to a place. */
  keep(bytes: Uint8Array, end: number): void {
    const out = this.#out;
    let size = this.#size;
    if (end - this.#from >= SHORT_RUN_BYTES) {
      out.set(bytes.subarray(this.#from, end), size);
      size += end - this.#from;
    } else for (let at = this.#from; at < end; at++) out[size++] = bytes[at] as number;
    this.#size = size;
    this.#from = end;
  }

  /** The lines, of which the last one ends here. */
  finish(bytes: Uint8Array, end: number): JsonLines {
    this.keep(bytes, end);
    const out = this.#out;
    this.#out = EMPTY;
    // Nothing but the brackets of an array.
    if (this.#size === 0) return { data: EMPTY, count: 0 };
    out[this.#size++] = NEWLINE;
    return { data: this.#size === out.length ? out : out.subarray(0, this.#size), count: this.#count + 1 };
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
    out.set(lines.subarray(start, end), size);
    size += end - start;
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
    let next = lines.indexOf(NEWLINE, start);
    if (next < 0) next = lines.length;
    let end = next;
    while (end > start && isSpace(lines[end - 1])) end--;
    while (start < end && isSpace(lines[start])) start++;
    if (end > start) visit(start, end);
    start = next + 1;
  }
}

function isSpace(byte: number | undefined): boolean {
  return byte === SPACE || byte === NEWLINE || byte === CARRIAGE_RETURN || byte === TAB;
}
