import { base64Length, writeBase64 } from './base64.js';
import { forEachLine, isJsonType } from './json.js';
import { copyBytes } from './line-writer.js';

/**
 * Server-sent events of a stream (Durable Streams, section 5.8): `data` events with the contents, each followed by a
 * `control` event that says where the reader is.
 *
 * Lines are written as `data:` without the optional space, and with it only where the text itself begins with one
 * (which a reader would otherwise take for the optional one).
 */

/** The media type of server-sent events. */
export const SSE_TYPE = 'text/event-stream';

/** How contents are written: text as it is, JSON messages as an array, anything else in base64. */
export type SseEncoding = 'text' | 'json' | 'base64';

/**
 * The encoding of a stream. One of type `application/json` that is not made of messages (a file put there by hand) is
 * text like any other: its readers know the type.
 */
export function sseEncodingOf(stream: { readonly contentType: string; readonly json: boolean }): SseEncoding {
  if (stream.json) return 'json';
  return /^text\//i.test(stream.contentType) || isJsonType(stream.contentType) ? 'text' : 'base64';
}

/** What a control event says. */
export interface SseControl {
  /** A token. */
  readonly nextOffset: string;
  /** Left out once the stream is closed: nobody comes back. */
  readonly cursor?: string;
  readonly upToDate: boolean;
  readonly closed: boolean;
  /** The stream has no appender, and the last one was lost. */
  readonly appenderLost?: boolean;
}

const ascii = new TextEncoder();

/** The comment that is sent from time to time in any case, as the seed words it. */
export const SSE_HEARTBEAT: Uint8Array = ascii.encode(':heartbeat signal\n\n');

const DATA_LINE = ascii.encode('data:');
const JSON_OPEN = ascii.encode('data:[\n');
const JSON_CLOSE = ascii.encode('data:]\n\n');

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const COMMA = 0x2c;

/**
 * A data event. `data` is not empty; as `text` it should end with a whole character (see {@link wholeTextLength}).
 * `id` is the token of the offset after it, which an `EventSource` comes back with.
 */
export function encodeSseData(encoding: SseEncoding, data: Uint8Array, id?: string): Uint8Array {
  const head = ascii.encode(`${idLine(id)}event: data\n`);
  if (encoding === 'json') return jsonEvent(head, data);
  return encoding === 'text' ? textEvent(head, data) : base64Event(head, data);
}

/**
 * A control event, in the field order of the protocol's examples. One that follows a data event needs no `id`: it keeps
 * the one before.
 */
export function formatSseControl(control: SseControl, id?: string): string {
  const head = `${idLine(id)}event: control\n`;
  let json = `{"streamNextOffset":"${control.nextOffset}"`;
  if (control.closed) return `${head}data:${json},"upToDate":true,"streamClosed":true}\n\n`;
  if (control.cursor !== undefined) json += `,"streamCursor":"${control.cursor}"`;
  if (control.upToDate) json += ',"upToDate":true';
  if (control.appenderLost === true) json += ',"streamAppender":"lost"';
  return `${head}data:${json}}\n\n`;
}

/** Before `event:`: there are readers of this protocol that take the line after that for the data. */
function idLine(id: string | undefined): string {
  return id === undefined ? '' : `id: ${id}\n`;
}

/**
 * How many bytes of `data` make whole UTF-8 characters: all, or all but an unfinished one at the end (at most three
 * bytes). Bytes that can never become a character count as whole, or they would be held back for ever.
 */
export function wholeTextLength(data: Uint8Array): number {
  const length = data.length;
  for (let back = 1; back <= 3 && back <= length; back++) {
    const byte = data[length - back] as number;
    if (byte < 0x80) return length;
    if (byte >= 0xc0) {
      const needs = byte >= 0xf8 ? 1 : byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return needs > back ? length - back : length;
    }
  }
  return length;
}

/**
 * Text: every kind of line break begins a new `data:` line, so that contents can end neither a line nor the event.
 * A reader gets them all back as `\n`; that is a property of the format, not to be had otherwise.
 */
function textEvent(head: Uint8Array, data: Uint8Array): Uint8Array {
  const length = data.length;
  let lines = 1;
  for (let i = 0; i < length; i++) {
    const byte = data[i];
    if (byte === NEWLINE || (byte === CARRIAGE_RETURN && data[i + 1] !== NEWLINE)) lines++;
  }
  const out = new Uint8Array(head.length + length + lines * (DATA_LINE.length + 2) + 1);
  out.set(head);
  let size = head.length;
  let i = 0;
  while (lines-- > 0) {
    out.set(DATA_LINE, size);
    size += DATA_LINE.length;
    if (data[i] === SPACE) out[size++] = SPACE;
    for (; i < length; i++) {
      const byte = data[i] as number;
      if (byte === NEWLINE || byte === CARRIAGE_RETURN) break;
      out[size++] = byte;
    }
    i += data[i] === CARRIAGE_RETURN && data[i + 1] === NEWLINE ? 2 : 1;
    out[size++] = NEWLINE;
  }
  out[size++] = NEWLINE;
  return out.subarray(0, size);
}

/** JSON: an array with one message a line. */
function jsonEvent(head: Uint8Array, lines: Uint8Array): Uint8Array {
  let count = 0;
  let bytes = 0;
  forEachLine(lines, (start, end) => {
    count++;
    bytes += end - start;
  });
  const out = new Uint8Array(
    head.length + JSON_OPEN.length + JSON_CLOSE.length + bytes + count * (DATA_LINE.length + 2),
  );
  out.set(head);
  out.set(JSON_OPEN, head.length);
  let size = head.length + JSON_OPEN.length;
  let left = count;
  // Only a file put there by hand can hold one, and there it is whitespace.
  const returns = lines.includes(CARRIAGE_RETURN);
  forEachLine(lines, (start, end) => {
    size = copyBytes(DATA_LINE, 0, DATA_LINE.length, out, size);
    const from = size;
    size = copyBytes(lines, start, end, out, size);
    if (returns) for (let at = from; at < size; at++) if (out[at] === CARRIAGE_RETURN) out[at] = SPACE;
    if (--left > 0) out[size++] = COMMA;
    out[size++] = NEWLINE;
  });
  out.set(JSON_CLOSE, size);
  return out.subarray(0, size + JSON_CLOSE.length);
}

/** Base64 with padding on one line (RFC 4648, section 4). */
function base64Event(head: Uint8Array, data: Uint8Array): Uint8Array {
  const out = new Uint8Array(head.length + DATA_LINE.length + base64Length(data.length) + 2);
  out.set(head);
  out.set(DATA_LINE, head.length);
  const size = writeBase64(out, head.length + DATA_LINE.length, data);
  out.fill(NEWLINE, size);
  return out;
}
