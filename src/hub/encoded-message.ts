import { MillraceError } from '../errors.js';
import type { HubEvent, HubMessage } from './channels.js';
import { jsonCodec, plain } from './codec.js';

/**
 * What the bytes of a message are: JSON, bytes that were published as such, or, where they came from a broker, whatever
 * another program sent.
 */
export type MessageForm = 'json' | 'binary' | 'unknown';

/** In place of a value that nobody has asked for. */
const UNREAD = Symbol('unread');

/**
 * A message as the bytes in which it travels. Whoever passes messages on needs no more, and what is passed on so keeps its
 * text: numbers of twenty digits, `1e400`, `1.10`. The value is made when a program asks for it, once for all who do.
 *
 * Publish one to send JSON on as it was written: `hub.publish('chat', EncodedMessage.json(text))`. Ask
 * {@link encodedMessageOf} for that of an event.
 */
export class EncodedMessage {
  /** MUST NOT be changed: they are kept, and shared with all who get the message. */
  readonly bytes: Uint8Array;
  readonly form: MessageForm;
  #value: unknown = UNREAD;

  /** Of bytes whose form is known: nobody checks it. {@link json} does. */
  constructor(bytes: Uint8Array, form: MessageForm) {
    this.bytes = bytes;
    this.form = form;
  }

  /** JSON as its text or the bytes of that. Errors: `INVALID_JSON`. */
  static json(text: string | Uint8Array): EncodedMessage {
    const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
    const message = new EncodedMessage(bytes, 'json');
    // The codec gives as bytes what it cannot read, and JSON is never bytes.
    if (!(message.value instanceof Uint8Array)) return message;
    throw new MillraceError('INVALID_JSON', 'The message is not JSON: give one whole JSON value in UTF-8.');
  }

  /** Of a value that subscribers get as it is; undefined for what has no JSON form. */
  static of(value: unknown): EncodedMessage | undefined {
    try {
      const isBinary = value instanceof Uint8Array;
      const message = new EncodedMessage(
        isBinary ? new Uint8Array(value) : jsonCodec.encode(value),
        isBinary ? 'binary' : 'json',
      );
      message.#value = value;
      return message;
    } catch {
      return undefined;
    }
  }

  /** What a program gets: the value that the JSON stands for, or a `Uint8Array` where it is none. */
  get value(): unknown {
    if (this.#value === UNREAD) {
      const { bytes } = this;
      this.#value = this.form === 'binary' ? plain(bytes) : jsonCodec.decode(bytes);
    }
    return this.#value;
  }
}

/** A message that came as bytes. `message` is a property like any other: it is there for `{ ...event }` and `JSON.stringify`. */
export class ArrivedEvent implements HubMessage {
  readonly channel: string;
  declare readonly message: unknown;
  declare readonly pattern?: string;
  declare readonly id?: string;
  readonly #encoded: EncodedMessage;

  constructor(channel: string, encoded: EncodedMessage, pattern: string | undefined, id?: string) {
    this.channel = channel;
    this.#encoded = encoded;
    Object.defineProperty(this, 'message', ArrivedEvent.#message);
    if (pattern !== undefined) this.pattern = pattern;
    if (id !== undefined) this.id = id;
  }

  /** One getter for all of them, so that they have one shape. */
  static readonly #message: PropertyDescriptor & ThisType<ArrivedEvent> = {
    enumerable: true,
    get() {
      return this.#encoded.value;
    },
  };

  static encodedOf(event: object): EncodedMessage | undefined {
    return #encoded in event ? event.#encoded : undefined;
  }
}

/**
 * The message of an event as it came: from a broker, or published as an {@link EncodedMessage}. Undefined for gaps, in
 * memory for values that are passed on by reference, and with a codec other than `jsonCodec`.
 */
export function encodedMessageOf(event: HubEvent): EncodedMessage | undefined {
  return ArrivedEvent.encodedOf(event);
}

/** The same event with another id. */
export function withId(event: HubMessage, id: string): HubMessage {
  const encoded = ArrivedEvent.encodedOf(event);
  return encoded === undefined ? { ...event, id } : new ArrivedEvent(event.channel, encoded, event.pattern, id);
}

/** What an event and its message take beside the bytes, whatever they are: objects have heads, buffers have owners. */
export const MESSAGE_BYTES = 512;
/** What a value counts that is passed on by reference: it is the program's, and would be there without us. */
const VALUE_BYTES = 64;

/** What a message weighs that waits for subscribers: bytes and text by their length. */
export function weightOf(message: unknown): number {
  if (typeof message === 'string') return VALUE_BYTES + message.length;
  if (typeof message !== 'object' || message === null) return VALUE_BYTES;
  if (message instanceof EncodedMessage) return MESSAGE_BYTES + message.bytes.length;
  return ArrayBuffer.isView(message) ? MESSAGE_BYTES + message.byteLength : VALUE_BYTES;
}

/** The same of an event; of one that came as bytes without making its value. */
export function eventWeight(event: HubEvent): number {
  return weightOf(ArrivedEvent.encodedOf(event) ?? event.message);
}
