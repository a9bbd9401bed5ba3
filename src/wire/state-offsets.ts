import { isMillraceError } from '../errors.js';
import { JsonScanner } from './json-scanner.js';
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
const QUOTE = 0x22;
const utf8 = new TextEncoder();
/** What such a message holds in any case: most others are known by its absence. */
const MARK = utf8.encode('"headers":{');
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
      const place = placeOfOffset(lines.subarray(lineStart, lineEnd));
      if (place !== undefined) {
        const next = newline < 0 ? lineEnd : lineEnd + 1;
        const token = formatOffset(end - lines.length + next, streamId);
        pieces.push(lines.subarray(copied, lineStart + place.start), utf8.encode(place.text(token)));
        copied = lineStart + place.end;
      }
    }
    mark = find(lines, lineEnd);
  }
  return pieces.length === 0 ? lines : joined([...pieces, lines.subarray(copied)]);
}

/** What takes the place of the bytes from `start` to `end` of a message. */
interface Place {
  readonly start: number;
  readonly end: number;
  text(token: string): string;
}

/** Undefined for what is no message of the State Protocol, and for one whose writer named an offset that counts. */
function placeOfOffset(message: Uint8Array): Place | undefined {
  if (message[0] !== OPEN_BRACE) return undefined;
  const members = membersOf(message, 0, message.length);
  const headers = members?.get('headers');
  if (members === undefined || headers === undefined || message[headers.start] !== OPEN_BRACE) return undefined;
  const fields = membersOf(message, headers.start, headers.end);
  const is = (name: string, values: readonly Uint8Array[]) => {
    const field = fields?.get(name);
    return field !== undefined && values.some((value) => same(message.subarray(field.start, field.end), value));
  };
  const isChange =
    is('operation', OPERATIONS) && isText(message, members.get('type')) && isText(message, members.get('key'));
  const given = fields?.get('offset');
  if (isChange && given !== undefined) {
    // One that was read with the message where it was copied from: it means nothing here.
    return { ...given, text: (token) => `"${token}"` };
  }
  // The offset of a control message may be one that its writer means: where to start over.
  if (given !== undefined || !(isChange || is('control', CONTROLS))) return undefined;
  const inside = headers.start + 1;
  return { start: inside, end: inside, text: (token) => `"offset":"${token}",` };
}

interface Bounds {
  readonly start: number;
  readonly end: number;
}

/** The members of an object; of one that is there twice the last, as for every parser. Undefined for what is no JSON. */
function membersOf(message: Uint8Array, start: number, end: number): Map<string, Bounds> | undefined {
  const members = new Map<string, Bounds>();
  const bytes = message.subarray(start, end);
  try {
    new JsonScanner(bytes, {
      onEntry(valueStart, valueEnd, nameStart, nameEnd) {
        // Names are short ones, without escapes, or not those that are looked for.
        if (nameEnd - nameStart > NAME_LENGTH_MAX) return;
        const name = String.fromCharCode(...bytes.subarray(nameStart + 1, nameEnd - 1));
        members.set(name, { start: start + valueStart, end: start + valueEnd });
      },
    }).scan();
  } catch (error) {
    // Others may have written to the file.
    if (isMillraceError(error, 'INVALID_JSON')) return undefined;
    throw error;
  }
  return members;
}

/** The longest name that matters, with its quotes. */
const NAME_LENGTH_MAX = '"operation"'.length;

function isText(message: Uint8Array, bounds: Bounds | undefined): boolean {
  return bounds !== undefined && message[bounds.start] === QUOTE;
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

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
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

function texts(...words: readonly string[]): readonly Uint8Array[] {
  return words.map((word) => utf8.encode(`"${word}"`));
}
