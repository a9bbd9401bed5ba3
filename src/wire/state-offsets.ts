import { formatOffset } from './offset.js';

/**
 * Offsets in messages of the State Protocol (`@durable-streams/state`, sections 4 and 5): readers get, in the `headers` of each
 * change and control message, the offset after it. The rest of a message is the text of its writer, byte for byte, and
 * so are all other messages; what is kept has no such offsets.
 */

/** Longest message that is looked into: longer ones go out as they are, since everybody else waits meanwhile. */
export const STATE_MESSAGE_BYTES_MAX = 256 * 1024;

const NEWLINE = 0x0a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COLON = 0x3a;
const COMMA = 0x2c;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const utf8 = new TextEncoder();
/** What such a message holds in any case: most others are known by its absence. */
const MARK = utf8.encode('"headers":{');
const [TYPE, KEY, HEADERS, OPERATION, CONTROL, OFFSET] = texts(
  'type',
  'key',
  'headers',
  'operation',
  'control',
  'offset',
);
const OPERATIONS = texts('insert', 'update', 'upsert', 'delete');
const CONTROLS = texts('snapshot-start', 'snapshot-end', 'reset');

/** Lines of a JSON stream that end at an offset, as its readers get them: the very same bytes where there is no such message. */
export function withStateOffsets(lines: Uint8Array, end: number, streamId: string | undefined): Uint8Array {
  const pieces: Uint8Array[] = [];
  let copied = 0;
  let mark = find(lines, 0);
  while (mark >= 0) {
    const lineStart = lines.lastIndexOf(NEWLINE, mark) + 1;
    const newline = lines.indexOf(NEWLINE, mark);
    const lineEnd = newline < 0 ? lines.length : newline;
    if (lineEnd - lineStart <= STATE_MESSAGE_BYTES_MAX) {
      const place = placeOfOffset(lines, lineStart, lineEnd);
      if (place !== undefined) {
        const next = newline < 0 ? lineEnd : lineEnd + 1;
        const token = formatOffset(end - lines.length + next, streamId);
        const text = place.start === place.end ? `"offset":"${token}",` : `"${token}"`;
        pieces.push(lines.subarray(copied, place.start), utf8.encode(text));
        copied = place.end;
      }
    }
    mark = find(lines, lineEnd);
  }
  return pieces.length === 0 ? lines : joined([...pieces, lines.subarray(copied)]);
}

/** Where the offset belongs in a message. */
interface Place {
  /** The value that it replaces; where both are the same nothing is, and a name and a comma come with it. */
  readonly start: number;
  readonly end: number;
}

/**
 * Looks at the message from `start` to `end` of valid JSON without whitespace, in one pass that makes nothing of it:
 * there may be a million of them in an answer. Undefined for what is no message of the State Protocol, and for one of
 * control whose writer named an offset.
 */
function placeOfOffset(lines: Uint8Array, start: number, end: number): Place | undefined {
  if (lines[start] !== OPEN_BRACE) return undefined;
  let depth = 0;
  let hasType = false;
  let hasKey = false;
  let headers = -1;
  let isInHeaders = false;
  let isChange = false;
  let isControl = false;
  let offsetStart = -1;
  let offsetEnd = -1;
  for (let at = start; at < end; at++) {
    switch (lines[at]) {
      case QUOTE: {
        const name = at;
        at = endOfString(lines, at, end);
        if (lines[at + 1] !== COLON || !(depth === 1 || (depth === 2 && isInHeaders))) break;
        // The name of a member that may matter. One that is there twice counts the last time, as for every parser.
        const value = at + 2;
        if (depth === 1) {
          if (is(lines, name, TYPE)) hasType = lines[value] === QUOTE;
          else if (is(lines, name, KEY)) hasKey = lines[value] === QUOTE;
          else if (is(lines, name, HEADERS)) {
            isInHeaders = lines[value] === OPEN_BRACE;
            headers = isInHeaders ? value : -1;
            isChange = false;
            isControl = false;
            offsetStart = -1;
          }
        } else if (is(lines, name, OPERATION)) isChange = OPERATIONS.some((text) => is(lines, value, text));
        else if (is(lines, name, CONTROL)) isControl = CONTROLS.some((text) => is(lines, value, text));
        else if (is(lines, name, OFFSET)) {
          offsetStart = value;
          offsetEnd = -1;
        }
        at++;
        break;
      }
      case OPEN_BRACE:
      case OPEN_BRACKET:
        depth++;
        break;
      case COMMA:
        if (depth === 2 && isInHeaders && offsetEnd < 0) offsetEnd = at;
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        if (depth === 2 && isInHeaders) {
          if (offsetEnd < 0) offsetEnd = at;
          isInHeaders = false;
        }
        depth--;
        break;
      default:
    }
  }
  // Others may have written to the file.
  if (depth !== 0 || headers < 0) return undefined;
  // One that was read with the message where it was copied from means nothing here.
  if (isChange && hasType && hasKey)
    return offsetStart < 0 ? beginningOf(headers) : { start: offsetStart, end: offsetEnd };
  // The offset of a control message may be one that its writer means: where to start over.
  return isControl && offsetStart < 0 ? beginningOf(headers) : undefined;
}

function beginningOf(object: number): Place {
  return { start: object + 1, end: object + 1 };
}

/** Where the string that begins at `at` ends: at its closing quote. */
function endOfString(lines: Uint8Array, at: number, end: number): number {
  let next = at + 1;
  while (next < end && lines[next] !== QUOTE) next += lines[next] === BACKSLASH ? 2 : 1;
  return next;
}

/** Whether the bytes at a place are these. */
function is(lines: Uint8Array, at: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (lines[at + i] !== text[i]) return false;
  return true;
}

/** Where {@link MARK} stands next. Looked for by its last byte: messages have fewer braces than quotes. */
function find(lines: Uint8Array, from: number): number {
  let at = from - 1;
  for (;;) {
    at = lines.indexOf(OPEN_BRACE, at + 1);
    if (at < 0) return -1;
    let back = MARK.length - 1;
    while (back > 0 && lines[at - MARK.length + back] === MARK[back - 1]) back--;
    if (back === 0) return at + 1 - MARK.length;
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let size = 0;
  for (const piece of pieces) {
    out.set(piece, size);
    size += piece.length;
  }
  return out;
}

/** Words as JSON has them. */
function texts<W extends readonly string[]>(...words: W): { readonly [I in keyof W]: Uint8Array } {
  return words.map((word) => utf8.encode(`"${word}"`)) as { readonly [I in keyof W]: Uint8Array };
}
