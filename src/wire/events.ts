import { base64Length, writeBase64 } from './base64.js';
import { encodeFrame, TEXT } from './websocket.js';

/**
 * Messages of a hub as server-sent events and as the texts of WebSocket messages. docs/events.md has the formats for people.
 * A message is written from its bytes, piece by piece where it is large, and so keeps its text.
 */

/** A message or a gap, as a hub's subscription yields them. */
export interface ChannelEvent {
  readonly channel: string;
  readonly message?: unknown;
  readonly id?: string | undefined;
  readonly pattern?: string | undefined;
  readonly gap?: { readonly reason: string; readonly missed?: number; readonly detail?: string } | undefined;
}

/** What the `event:` field of a message holds: nothing, so that `onmessage` gets it, or the name of its channel. */
export type SseLabel = 'message' | 'channel';

/** The bytes of a message, and what they are: JSON, text that is none, or anything else. */
export interface MessageBody {
  readonly bytes: Uint8Array;
  readonly kind: 'json' | 'text' | 'binary';
}

/** How many bytes of a message one piece of its event is made of: a whole number of groups of base64. */
export const PIECE_BYTES = 48 * 1024;

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const EMPTY = new Uint8Array(0);

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
/** What stands for the end of a line within an event. */
const NEXT_LINE = utf8.encode('\ndata: ');

/** Sent as soon as the subscription stands. */
export const SSE_SUBSCRIBED: Uint8Array = utf8.encode(':subscribed\n\n');

/**
 * How the bytes of a message stand in an event: as they are; on one line, where they are JSON and a line break is white
 * space; each line as a line of its own; as base64.
 */
type Writing = 'as-is' | 'one-line' | 'lines' | 'base64';

/** An event on the wire. It is made piece by piece, each from its own part of the message, so that none of it need be kept. */
export class EventText {
  readonly #head: Uint8Array;
  readonly #body: Uint8Array;
  readonly #writing: Writing;
  readonly #tail: Uint8Array;
  readonly pieceCount: number;

  constructor(head: string, body: Uint8Array = EMPTY, writing: Writing = 'as-is', tail = '') {
    this.#head = utf8.encode(head);
    this.#body = body;
    this.#writing = writing;
    this.#tail = utf8.encode(tail);
    this.pieceCount = Math.max(1, Math.ceil(body.length / PIECE_BYTES));
  }

  /** The pieces from 0 to `pieceCount` (not included), one behind the other, are the event. Each time the same bytes. */
  piece(at: number): Uint8Array {
    const start = at * PIECE_BYTES;
    const end = Math.min(start + PIECE_BYTES, this.#body.length);
    const head = at === 0 ? this.#head : EMPTY;
    const tail = at === this.pieceCount - 1 ? this.#tail : EMPTY;
    const out = new Uint8Array(head.length + this.#writtenLength(start, end) + tail.length);
    out.set(head);
    out.set(tail, this.#write(out, head.length, start, end));
    return out;
  }

  /** All of it at once. */
  whole(): Uint8Array {
    if (this.pieceCount === 1) return this.piece(0);
    const pieces = Array.from({ length: this.pieceCount }, (_, at) => this.piece(at));
    const out = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
    let size = 0;
    for (const piece of pieces) {
      out.set(piece, size);
      size += piece.length;
    }
    return out;
  }

  #writtenLength(start: number, end: number): number {
    const length = end - start;
    if (this.#writing === 'base64') return base64Length(length);
    if (this.#writing !== 'lines') return length;
    let written = 0;
    for (let at = start; at < end; at++) {
      const byte = this.#body[at] as number;
      if (byte !== NEWLINE && byte !== CARRIAGE_RETURN) written++;
      else if (!this.#isSecondOfPair(at)) written += NEXT_LINE.length;
    }
    return written;
  }

  #write(out: Uint8Array, from: number, start: number, end: number): number {
    const body = this.#body;
    if (this.#writing === 'base64') return writeBase64(out, from, body.subarray(start, end));
    let size = from;
    if (this.#writing === 'lines') {
      for (let at = start; at < end; at++) {
        const byte = body[at] as number;
        if (byte !== NEWLINE && byte !== CARRIAGE_RETURN) out[size++] = byte;
        else if (!this.#isSecondOfPair(at)) {
          // Not `set`: a call for seven bytes is ten times as slow, and a message may be all line breaks.
          for (let letter = 0; letter < NEXT_LINE.length; letter++) out[size++] = NEXT_LINE[letter] as number;
        }
      }
      return size;
    }
    out.set(body.subarray(start, end), from);
    size += end - start;
    if (this.#writing === 'one-line') {
      for (const lineBreak of [NEWLINE, CARRIAGE_RETURN]) {
        for (let at = out.indexOf(lineBreak, from); at >= 0 && at < size; at = out.indexOf(lineBreak, at + 1)) {
          out[at] = SPACE;
        }
      }
    }
    return size;
  }

  /** `\r\n` is one line break, told at its first byte, also where a piece ends between the two. */
  #isSecondOfPair(at: number): boolean {
    return this.#body[at] === NEWLINE && this.#body[at - 1] === CARRIAGE_RETURN;
  }
}

/** One server-sent event. Without a body that of `event.message`; that throws what `JSON.stringify` throws. */
export function sseEvent(event: ChannelEvent, label: SseLabel, body?: MessageBody): EventText {
  if (event.gap !== undefined) {
    return new EventText(`event: gap\ndata: ${JSON.stringify({ channel: event.channel, ...event.gap })}\n\n`);
  }
  const { bytes, kind } = body ?? bodyOf(event.message);
  const id = `id: ${formatEventId(event.channel, event.id)}\n`;
  if (kind === 'binary') {
    const name = label === 'channel' ? `${sseEventName(event.channel)};base64` : 'base64';
    return new EventText(`${id}event: ${name}\ndata: `, bytes, 'base64', '\n\n');
  }
  const name = label === 'channel' ? `event: ${sseEventName(event.channel)}\n` : '';
  return new EventText(`${id}${name}data: `, bytes, kind === 'json' ? 'one-line' : 'lines', '\n\n');
}

/** One event as a WebSocket client gets it: `{"op":"message",…}` or `{"op":"gap",…}`. Otherwise as {@link sseEvent}. */
export function socketEvent(event: ChannelEvent, body?: MessageBody): EventText {
  const { channel, pattern, id, gap } = event;
  if (gap !== undefined) return new EventText(JSON.stringify({ op: 'gap', channel, pattern, gap }));
  const { bytes, kind } = body ?? bodyOf(event.message);
  const head = JSON.stringify({ op: 'message', channel, pattern, id }).slice(0, -1);
  if (kind === 'json') return new EventText(`${head},"message":`, bytes, 'as-is', '}');
  return new EventText(`${head},"base64":"`, bytes, 'base64', '"}');
}

/** {@link sseEvent}, all of it at once. */
export function encodeSseEvent(event: ChannelEvent, label: SseLabel, body?: MessageBody): Uint8Array {
  return sseEvent(event, label, body).whole();
}

/** {@link socketEvent} as one frame. */
export function encodeEventFrame(event: ChannelEvent, body?: MessageBody): Uint8Array {
  return encodeFrame(TEXT, socketEvent(event, body).whole());
}

/** A value as the bytes that are sent: its JSON, or bytes as they are. Throws what `JSON.stringify` throws. */
export function bodyOf(message: unknown): MessageBody {
  if (message instanceof Uint8Array) return { bytes: message, kind: isText(message) ? 'text' : 'binary' };
  const text = JSON.stringify(message);
  if (text === undefined) throw new TypeError(`${typeof message} has no JSON form`);
  return { bytes: utf8.encode(text), kind: 'json' };
}

/**
 * `<channel>@<position>`, the channel percent-encoded: tells which channel an event came from, and where to go on.
 * The position is empty where the broker cannot replay.
 */
function formatEventId(channel: string, position: string | undefined): string {
  return `${encodeURIComponent(channel)}@${position ?? ''}`;
}

/** The position in an id made by {@link formatEventId}. Of anything else: an empty one, which nobody can go on from. */
export function positionOfEventId(id: string): string {
  const at = id.indexOf('@');
  return at < 0 ? '' : id.slice(at + 1);
}

/** Names that an `EventSource` or this format uses for something else. */
const RESERVED_EVENT_NAMES = new Set(['gap', 'error', 'open', 'base64']);

/** A channel as an event name: characters that would end the line, and the first one of a reserved name, as `%HH`. */
function sseEventName(channel: string): string {
  if (RESERVED_EVENT_NAMES.has(channel)) {
    return `%${channel.charCodeAt(0).toString(16).toUpperCase()}${channel.slice(1)}`;
  }
  return channel.replace(/[%\r\n\0]|^ /g, encodeURIComponent);
}

function isText(bytes: Uint8Array): boolean {
  try {
    fromUtf8.decode(bytes);
    return true;
  } catch {
    return false;
  }
}
