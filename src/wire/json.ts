import { MillraceError } from '../errors.js';

/**
 * JSON mode (Durable Streams, section 9.1) over NDJSON: a stream of JSON messages is kept as one message a line, with
 * the text of its writer. Values are checked, never rebuilt, so `1.0`, `1e400` and twenty digits come back as sent.
 */

/** How deep a message may be nested: readers in many languages are recursive. */
export const JSON_DEPTH_MAX = 1000;

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
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

// A byte order mark is kept by the decoder and then refused by the parser, as RFC 8259 section 8.1 wants it.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const EMPTY = new Uint8Array(0);

/**
 * Turns a request body into lines: an array gives one message per element (one level, not more), anything else is one
 * message. Throws `INVALID_JSON` for what is not JSON in UTF-8 or is nested deeper than {@link JSON_DEPTH_MAX}.
 * An empty array gives no message: whether that is allowed is the caller's to say.
 */
export function encodeJsonLines(body: Uint8Array): JsonLines {
  const lines = splitMessages(body);
  let text: string;
  try {
    text = utf8.decode(body);
  } catch {
    throw new MillraceError('INVALID_JSON', 'The body is not UTF-8: encode the JSON text as UTF-8.');
  }
  try {
    JSON.parse(text);
  } catch {
    throw new MillraceError(
      'INVALID_JSON',
      'The body is not valid JSON: send one JSON value, or an array of values to append each of them.',
    );
  }
  return lines;
}

/**
 * Splits without checking: on valid JSON the result is right, on anything else it is meaningless but harmless, and
 * `encodeJsonLines` throws it away. Checks the depth, so that the parser never sees an absurd one.
 */
function splitMessages(body: Uint8Array): JsonLines {
  const length = body.length;
  let at = 0;
  while (at < length && isSpace(body[at])) at++;
  let end = length;
  while (end > at && isSpace(body[end - 1])) end--;
  const isArray = end - at >= 2 && body[at] === OPEN_BRACKET;
  if (isArray) {
    at++;
    end--;
  }
  // Every byte is written at most once, and a last newline.
  const out = new Uint8Array(end - at + 1);
  let size = 0;
  let lineStart = 0;
  let count = 0;
  let depth = isArray ? 1 : 0;
  const top = depth;
  let inString = false;
  for (; at < end; at++) {
    const byte = body[at] as number;
    if (inString) {
      out[size++] = byte;
      if (byte === QUOTE) inString = false;
      else if (byte === BACKSLASH && at + 1 < end) out[size++] = body[++at] as number;
      continue;
    }
    if (byte <= SPACE && isSpace(byte)) continue;
    if (byte === QUOTE) inString = true;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      if (++depth > JSON_DEPTH_MAX + top) {
        throw new MillraceError(
          'INVALID_JSON',
          `The JSON is nested deeper than ${JSON_DEPTH_MAX} levels: flatten it.`,
          {
            depthMax: JSON_DEPTH_MAX,
          },
        );
      }
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--;
    else if (byte === COMMA && depth === top && isArray) {
      out[size++] = NEWLINE;
      lineStart = size;
      count++;
      continue;
    }
    out[size++] = byte;
  }
  if (size === lineStart && count === 0) return { data: EMPTY, count: 0 };
  out[size++] = NEWLINE;
  return { data: size === out.length ? out : out.subarray(0, size), count: count + 1 };
}

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
