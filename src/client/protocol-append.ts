import { isMillraceError, MillraceError } from '../errors.js';
import { isJsonType } from '../wire/json.js';
import type { AppendConnection, AppendConnectionEvents } from './append-connection.js';
import type { CheckedConnection } from './connection-options.js';
import { isTransient, resumeFailed } from './problem.js';
import { askOtherServer, notFoundThere } from './protocol-server.js';
import { headOf, openResponse } from './requests.js';
import { type Backoff, wait } from './retry.js';

/** Frames of bytes that wait share one request up to this size. */
const REQUEST_BYTES_MAX = 1024 * 1024;
/** The longest JSON message: such a server does not tell what it takes. */
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;

/** Who appends. */
interface ProtocolProducer {
  readonly id: string;
  readonly epoch: number;
}

/** What {@link appendByProtocol} needs beside its URL. */
export interface ProtocolAppendOptions {
  readonly connection: CheckedConnection;
  readonly backoff: Backoff;
  readonly producer: ProtocolProducer;
  /** Of the stream, where it is made. */
  readonly contentType: string | undefined;
  /** Why the server did not take a WebSocket. */
  readonly refusal: unknown;
}

/**
 * Appends to a stream of a Durable Streams server that is not Millrace, by `POST` as an idempotent producer. It is a
 * connection only in name: what is lost on the way is sent again within it, with the same number, so that it counts once.
 * Others may append at the same time: such a server has no exclusive appender.
 * Errors: `refusal` where it is no such server.
 */
export async function appendByProtocol(url: URL, options: ProtocolAppendOptions): Promise<AppendConnection> {
  const { connection, contentType = 'application/octet-stream' } = options;
  const found = await askOtherServer(url, connection, options.refusal);
  const type = found?.contentType ?? contentType;
  const offset = found?.offset ?? (await create(url, connection, contentType, options.refusal));
  const poster = new Poster(url, options, type, offset);
  return {
    welcome: {
      type: 'welcome',
      offset,
      contentType: type,
      json: isJsonType(type),
      frameBytesMax: MESSAGE_BYTES_MAX,
      committed: null,
    },
    attach: (events) => poster.attach(events),
    send: (frame) => poster.send(frame),
    closeStream: () => poster.closeStream(),
    close: async () => {},
    terminate: () => poster.terminate(),
  };
}

async function create(url: URL, connection: CheckedConnection, contentType: string, refusal: unknown): Promise<string> {
  const { response, release } = await openResponse(
    url,
    { method: 'PUT', headers: { 'Content-Type': contentType } },
    connection,
  );
  release();
  await response.body?.cancel();
  const offset = response.headers.get('stream-next-offset');
  // Whatever took that request: it is no server of streams.
  if (offset === null) throw refusal;
  return offset;
}

/** Sends frames one request after the other. */
class Poster {
  readonly #url: URL;
  readonly #options: ProtocolAppendOptions;
  readonly #contentType: string;
  readonly #ending = new AbortController();
  #frames: Uint8Array[] = [];
  /** Frames that were acknowledged. */
  #done = 0;
  #requests = 0;
  #closes = false;
  #working = false;
  #offset: string;
  #events: AppendConnectionEvents | undefined;

  constructor(url: URL, options: ProtocolAppendOptions, contentType: string, offset: string) {
    this.#url = url;
    this.#options = options;
    this.#contentType = contentType;
    this.#offset = offset;
  }

  attach(events: AppendConnectionEvents): void {
    this.#events = events;
  }

  send(frame: Uint8Array): void {
    this.#frames.push(frame);
    this.#work();
  }

  closeStream(): void {
    this.#closes = true;
    this.#work();
  }

  terminate(): void {
    this.#frames = [];
    this.#ending.abort();
  }

  #work(): void {
    if (this.#working) return;
    this.#working = true;
    this.#sendAll().catch((error: MillraceError) => {
      if (!this.#ending.signal.aborted) this.#events?.onLost(error);
    });
  }

  async #sendAll(): Promise<void> {
    try {
      while (this.#frames.length > 0 || this.#closes) {
        if (this.#frames.length > 0) await this.#sendFrames(this.#nextFrames());
        else await this.#sendClosure();
      }
    } finally {
      this.#working = false;
    }
  }

  async #sendFrames(frames: readonly Uint8Array[]): Promise<void> {
    const { id, epoch } = this.#options.producer;
    this.#offset = await this.#post(concat(frames), {
      'Content-Type': this.#contentType,
      'Producer-Id': id,
      'Producer-Epoch': String(epoch),
      'Producer-Seq': String(this.#requests++),
    });
    this.#done += frames.length;
    this.#events?.onAck({ seq: this.#done - 1, offset: this.#offset, closed: false });
  }

  async #sendClosure(): Promise<void> {
    await this.#post(null, { 'Stream-Closed': 'true' });
    this.#closes = false;
    this.#events?.onAck({ seq: this.#done - 1, offset: this.#offset, closed: true });
  }

  /** What goes into one request: JSON messages stay as they were written, one text each. */
  #nextFrames(): Uint8Array[] {
    let count = 1;
    if (!isJsonType(this.#contentType)) {
      let bytes = this.#frames[0]?.length ?? 0;
      while (count < this.#frames.length) {
        bytes += this.#frames[count]?.length ?? 0;
        if (bytes > REQUEST_BYTES_MAX) break;
        count++;
      }
    }
    return this.#frames.splice(0, count);
  }

  /** Sends one request until it is answered, and answers the stream's offset. */
  async #post(body: Uint8Array | null, headers: Readonly<Record<string, string>>): Promise<string> {
    const { backoff } = this.#options;
    const connection = { ...this.#options.connection, signal: this.#ending.signal };
    for (;;) {
      try {
        const init = { method: 'POST', headers, body: body as Uint8Array<ArrayBuffer> | null };
        const { response, release } = await openResponse(this.#url, init, connection);
        release();
        await response.body?.cancel();
        backoff.reset();
        // A duplicate may be answered without.
        return response.headers.get('stream-next-offset') ?? this.#offset;
      } catch (error) {
        connection.signal.throwIfAborted();
        if (!isTransient(error)) throw await this.#reasonOf(error, connection);
        const delayMs = backoff.next(error);
        if (delayMs === undefined) throw resumeFailed(this.#url, backoff.retryMs, error);
        await wait(delayMs, connection.signal);
      }
    }
  }

  /** The status of such a server says what happened, its text is for people (sections 5.2 and 5.2.1). */
  async #reasonOf(error: unknown, connection: CheckedConnection): Promise<unknown> {
    const status = isMillraceError(error, 'UNEXPECTED_RESPONSE') ? error.details.status : undefined;
    if (status === 404) return notFoundThere(this.#url);
    if (status === 403) {
      return new MillraceError('PRODUCER_FENCED', 'A newer appender with the same producer id has taken over.');
    }
    if (status !== 409) return error;
    const closed = await headOf(this.#url, connection).then(
      (found) => found.closed,
      () => false,
    );
    if (!closed) return error;
    return new MillraceError('STREAM_CLOSED', 'The stream was closed: nothing can be appended to it any more.');
  }
}

function concat(frames: readonly Uint8Array[]): Uint8Array {
  if (frames.length === 1) return frames[0] as Uint8Array;
  const all = new Uint8Array(frames.reduce((bytes, frame) => bytes + frame.length, 0));
  let used = 0;
  for (const frame of frames) {
    all.set(frame, used);
    used += frame.length;
  }
  return all;
}
