import { forEachLine, isJsonType } from './json.js';
import { formatOffset } from './offset.js';

/**
 * Server-sent events of a stream (Durable Streams, section 5.8): `data` events with the contents, each followed by a
 * `control` event that says where the reader is.
 *
 * Lines are written as `data:` without the optional space, and with it only where the text itself begins with one
 * (which a reader would otherwise take for the optional one).
 */

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
  readonly nextOffset: number;
  /** Left out once the stream is closed: nobody comes back. */
  readonly cursor?: string;
  readonly upToDate: boolean;
  readonly closed: boolean;
}

const ascii = new TextEncoder();
const DATA_EVENT = ascii.encode('event: data\n');
const DATA_LINE = ascii.encode('data:');
const JSON_OPEN = ascii.encode('data:[\n');
const JSON_CLOSE = ascii.encode('data:]\n\n');
const BASE64 = ascii.encode('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const COMMA = 0x2c;
const EQUALS = 0x3d;

/** A data event. `data` is not empty; as `text` it should end with a whole character (see {@link wholeTextLength}). */
export function encodeSseData(encoding: SseEncoding, data: Uint8Array): Uint8Array {
  if (encoding === 'json') return jsonEvent(data);
  return encoding === 'text' ? textEvent(data) : base64Event(data);
}

/** A control event, in the field order of the protocol's examples. */
export function formatSseControl(control: SseControl): string {
  let json = `{"streamNextOffset":"${formatOffset(control.nextOffset)}"`;
  if (control.closed) return `event: control\ndata:${json},"upToDate":true,"streamClosed":true}\n\n`;
  if (control.cursor !== undefined) json += `,"streamCursor":"${control.cursor}"`;
  if (control.upToDate) json += ',"upToDate":true';
  return `event: control\ndata:${json}}\n\n`;
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
function textEvent(data: Uint8Array): Uint8Array {
  const length = data.length;
  let lines = 1;
  for (let i = 0; i < length; i++) {
    const byte = data[i];
    if (byte === NEWLINE || (byte === CARRIAGE_RETURN && data[i + 1] !== NEWLINE)) lines++;
  }
  const out = new Uint8Array(DATA_EVENT.length + length + lines * (DATA_LINE.length + 2) + 1);
  out.set(DATA_EVENT);
  let size = DATA_EVENT.length;
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
function jsonEvent(lines: Uint8Array): Uint8Array {
  let count = 0;
  let bytes = 0;
  forEachLine(lines, (start, end) => {
    count++;
    bytes += end - start;
  });
  const out = new Uint8Array(
    DATA_EVENT.length + JSON_OPEN.length + JSON_CLOSE.length + bytes + count * (DATA_LINE.length + 2),
  );
  out.set(DATA_EVENT);
  out.set(JSON_OPEN, DATA_EVENT.length);
  let size = DATA_EVENT.length + JSON_OPEN.length;
  let left = count;
  forEachLine(lines, (start, end) => {
    out.set(DATA_LINE, size);
    size += DATA_LINE.length;
    for (let i = start; i < end; i++) {
      // Only a file put there by hand can hold one, and there it is whitespace.
      const byte = lines[i] as number;
      out[size++] = byte === CARRIAGE_RETURN ? SPACE : byte;
    }
    if (--left > 0) out[size++] = COMMA;
    out[size++] = NEWLINE;
  });
  out.set(JSON_CLOSE, size);
  return out.subarray(0, size + JSON_CLOSE.length);
}

/** Base64 with padding on one line (RFC 4648, section 4). */
function base64Event(data: Uint8Array): Uint8Array {
  const length = data.length;
  const out = new Uint8Array(DATA_EVENT.length + DATA_LINE.length + Math.ceil(length / 3) * 4 + 2);
  out.set(DATA_EVENT);
  out.set(DATA_LINE, DATA_EVENT.length);
  let size = DATA_EVENT.length + DATA_LINE.length;
  const whole = length - (length % 3);
  for (let i = 0; i < whole; i += 3) {
    const bits = ((data[i] as number) << 16) | ((data[i + 1] as number) << 8) | (data[i + 2] as number);
    out[size++] = BASE64[bits >> 18] as number;
    out[size++] = BASE64[(bits >> 12) & 63] as number;
    out[size++] = BASE64[(bits >> 6) & 63] as number;
    out[size++] = BASE64[bits & 63] as number;
  }
  if (whole < length) {
    const two = whole + 2 === length;
    const bits = ((data[whole] as number) << 16) | (two ? (data[whole + 1] as number) << 8 : 0);
    out[size++] = BASE64[bits >> 18] as number;
    out[size++] = BASE64[(bits >> 12) & 63] as number;
    out[size++] = two ? (BASE64[(bits >> 6) & 63] as number) : EQUALS;
    out[size++] = EQUALS;
  }
  out[size++] = NEWLINE;
  out[size] = NEWLINE;
  return out;
}
