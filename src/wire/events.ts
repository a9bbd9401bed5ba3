import { encodeFrame, TEXT } from './websocket.js';

/**
 * Messages of a hub as server-sent events and as WebSocket frames. docs/events.md has the formats for people.
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

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Sent as soon as the subscription stands. */
export const SSE_SUBSCRIBED: Uint8Array = utf8.encode(':subscribed\n\n');

/** One server-sent event. Throws what `JSON.stringify` throws. */
export function encodeSseEvent(event: ChannelEvent, label: SseLabel): Uint8Array {
  if (event.gap !== undefined) {
    return utf8.encode(`event: gap\ndata: ${JSON.stringify({ channel: event.channel, ...event.gap })}\n\n`);
  }
  const id = `id: ${formatEventId(event.channel, event.id)}\n`;
  const name = label === 'channel' ? `event: ${sseEventName(event.channel)}\n` : '';
  const { message } = event;
  if (!(message instanceof Uint8Array)) return utf8.encode(`${id}${name}data: ${jsonText(message)}\n\n`);
  const text = textOf(message);
  if (text === undefined) {
    return utf8.encode(
      `${id}event: ${label === 'channel' ? `${sseEventName(event.channel)};base64` : 'base64'}\ndata: ${base64(message)}\n\n`,
    );
  }
  return utf8.encode(
    `${id}${name}${text
      .split(/\r\n|\r|\n/)
      .map((line) => `data: ${line}\n`)
      .join('')}\n`,
  );
}

/** The frame of one event: `{"op":"message",…}` or `{"op":"gap",…}`. Throws what `JSON.stringify` throws. */
export function encodeEventFrame(event: ChannelEvent): Uint8Array {
  return encodeFrame(TEXT, utf8.encode(eventJson(event)));
}

/** One event as JSON, as WebSocket clients get it. */
function eventJson({ channel, message, id, pattern, gap }: ChannelEvent): string {
  if (gap !== undefined) return JSON.stringify({ op: 'gap', channel, pattern, gap });
  if (message instanceof Uint8Array) {
    return JSON.stringify({ op: 'message', channel, pattern, id, base64: base64(message) });
  }
  // By hand, so that a message without a JSON form is an error and not a field that is left out.
  return `${JSON.stringify({ op: 'message', channel, pattern, id }).slice(0, -1)},"message":${jsonText(message)}}`;
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

function jsonText(message: unknown): string {
  const text = JSON.stringify(message);
  if (text === undefined) throw new TypeError(`${typeof message} has no JSON form`);
  return text;
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return fromUtf8.decode(bytes);
  } catch {
    return undefined;
  }
}

function base64(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}
