import { MillraceError } from '../errors.js';

/** How a message becomes bytes on the broker, and back. One codec serves all channels of a hub. */
export interface Codec {
  /** Throws (anything) when the message has no such form; the hub reports `HUB_MESSAGE_INVALID` with that as the cause. */
  encode(message: unknown): Uint8Array;
  /** Throws when the bytes are not of this form; subscribers are told by a gap `undecodable`. */
  decode(bytes: Uint8Array): unknown;
}

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The default: a message is its JSON text and nothing else, so that any other program on the broker is a peer.
 * A `Uint8Array` goes out as the bytes that it is. What arrives and is not JSON in UTF-8 is given as `Uint8Array`;
 * bytes that happen to be JSON are not told apart from it: use {@link bytesCodec} where all messages are bytes.
 */
export const jsonCodec: Codec = {
  encode(message) {
    if (message instanceof Uint8Array) return message;
    const text = JSON.stringify(message);
    if (text === undefined) throw new TypeError(`${typeof message} has no JSON form`);
    return toBytes(text);
  },
  decode(bytes) {
    try {
      return JSON.parse(toText(bytes));
    } catch {
      return plain(bytes);
    }
  },
};

/** Messages are bytes, always. */
export const bytesCodec: Codec = {
  encode(message) {
    if (!(message instanceof Uint8Array)) {
      throw new MillraceError('HUB_MESSAGE_INVALID', 'A hub with bytesCodec publishes Uint8Array only.');
    }
    return message;
  },
  decode: plain,
};

/** Messages are text in UTF-8, always. */
export const textCodec: Codec = {
  encode(message) {
    if (typeof message !== 'string') {
      throw new MillraceError('HUB_MESSAGE_INVALID', 'A hub with textCodec publishes strings only.');
    }
    return toBytes(message);
  },
  decode: toText,
};

/** Where there is `Buffer`, it takes less time than the standard classes for short text. */
const NodeBuffer = (globalThis as { readonly Buffer?: typeof Buffer }).Buffer;

function toBytes(text: string): Uint8Array {
  return NodeBuffer === undefined ? utf8.encode(text) : NodeBuffer.from(text);
}

/** Throws for bytes that are not UTF-8. */
function toText(bytes: Uint8Array): string {
  if (NodeBuffer === undefined || !(bytes instanceof NodeBuffer)) return fromUtf8.decode(bytes);
  const text = bytes.toString();
  // `Buffer` puts this character in place of what is not UTF-8; it may also have been sent.
  return text.includes('\uFFFD') ? fromUtf8.decode(bytes) : text;
}

/** Bytes as a plain `Uint8Array`, also where a client gives its own kind (`Buffer`). */
export function plain(bytes: Uint8Array): Uint8Array {
  if (bytes.constructor === Uint8Array) return bytes;
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
