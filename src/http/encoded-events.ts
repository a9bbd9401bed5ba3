import { Buffer, isUtf8 } from 'node:buffer';
import { isMillraceError } from '../errors.js';
import { type EncodedMessage, encodedMessageOf, type HubEvent } from '../hub/index.js';
import { bodyOf, type ChannelEvent, type EventText, type MessageBody, PIECE_BYTES } from '../wire/events.js';
import { scanJson } from './scan-json.js';

/** How an event is written. Without a body: that of the event's own message. */
export type EventWriter = (event: ChannelEvent, body?: MessageBody) => EventText;
/** What stands around a piece of an event on the wire: a chunk, a frame. */
export type PieceWrapper = (piece: Uint8Array, isFirst: boolean, isLast: boolean) => Uint8Array;

/**
 * What events become on the wire, made once per event and shared by all who send it. The hub hands the very same event
 * to all subscribers of the same channels; the encoding is garbage when the event is.
 */
export class EncodedEvents {
  readonly #write: EventWriter;
  readonly #wrap: PieceWrapper;
  readonly #done = new WeakMap<HubEvent, Uint8Array | LargeEvent>();

  constructor(write: EventWriter, wrap: PieceWrapper = (piece) => piece) {
    this.#write = write;
    this.#wrap = wrap;
  }

  /**
   * The bytes of an event; of one that is large, the way to get them. A message that has no JSON form becomes a gap: in
   * memory anything can be published.
   */
  of(event: HubEvent): Uint8Array | LargeEvent {
    let encoded = this.#done.get(event);
    if (encoded === undefined) {
      encoded = this.#encode(event);
      this.#done.set(event, encoded);
    }
    return encoded;
  }

  #encode(event: HubEvent): Uint8Array | LargeEvent {
    if (event.gap !== undefined) return this.#whole(event);
    let body: MessageBody | Promise<MessageBody>;
    const message = encodedMessageOf(event);
    try {
      body = message === undefined ? bodyOf(event.message) : bodyOfMessage(message);
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      return this.#whole({ channel: event.channel, gap: { reason: 'undecodable', missed: 1, detail } });
    }
    if (body instanceof Promise) {
      const { bytes } = message as EncodedMessage;
      return new LargeEvent(bytes, () => Promise.resolve(body).then((each) => this.#write(event, each)), this.#wrap);
    }
    const { bytes } = body;
    if (bytes.length <= PIECE_BYTES) return this.#whole(event, body);
    const text = this.#write(event, body);
    return new LargeEvent(bytes, () => Promise.resolve(text), this.#wrap);
  }

  #whole(event: ChannelEvent, body?: MessageBody): Uint8Array {
    const bytes = this.#wrap(this.#write(event, body).piece(0), true, true);
    // Sockets take a `Buffer` as it is, but wrap any other `Uint8Array` anew at each write.
    return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }
}

/**
 * An event that is sent in pieces. They are made when somebody sends them, and are the same for all who send them at the
 * time; nobody keeps one, or a message of 16 MB that is all line breaks would be kept as 112.
 */
export class LargeEvent {
  /** Of the message: what is in memory for as long as somebody sends it. */
  readonly bytes: Uint8Array;
  readonly #write: () => Promise<EventText>;
  readonly #wrap: PieceWrapper;
  #text: Promise<EventText> | undefined;
  readonly #pieces: (WeakRef<Uint8Array> | undefined)[] = [];

  constructor(bytes: Uint8Array, write: () => Promise<EventText>, wrap: PieceWrapper) {
    this.bytes = bytes;
    this.#write = write;
    this.#wrap = wrap;
  }

  /** Resolves once it is known what the message is: large JSON is checked slice by slice. */
  text(): Promise<EventText> {
    this.#text ??= this.#write();
    return this.#text;
  }

  piece(text: EventText, at: number): Uint8Array {
    let piece = this.#pieces[at]?.deref();
    if (piece === undefined) {
      piece = this.#wrap(text.piece(at), at === 0, at === text.pieceCount - 1);
      this.#pieces[at] = new WeakRef(piece);
    }
    return piece;
  }
}

/** What large messages are that came from a broker: found out once. */
const bodies = new WeakMap<EncodedMessage, Promise<MessageBody>>();

function bodyOfMessage(message: EncodedMessage): MessageBody | Promise<MessageBody> {
  const { bytes, form } = message;
  if (form === 'json') return { bytes, kind: 'json' };
  if (form === 'binary') return bodyOfBytes(bytes);
  const known = bodies.get(message);
  if (known !== undefined) return known;
  const isNoJson = (error: unknown) => {
    if (!isMillraceError(error, 'INVALID_JSON')) throw error;
    return bodyOfBytes(bytes);
  };
  try {
    const checking = scanJson(bytes);
    if (checking === undefined) return { bytes, kind: 'json' };
    const body = checking.then((): MessageBody => ({ bytes, kind: 'json' }), isNoJson);
    bodies.set(message, body);
    return body;
  } catch (error) {
    return isNoJson(error);
  }
}

function bodyOfBytes(bytes: Uint8Array): MessageBody {
  return { bytes, kind: isUtf8(bytes) ? 'text' : 'binary' };
}
