import { encodeJsonLines, isJsonType } from '../wire/json.js';
import { type CheckedConnection, withQuery } from './connection-options.js';
import type { StreamEnd } from './follow-connection.js';
import { failureOf, openResponse, positionOf } from './requests.js';

/** How long a server may hold a long-poll: the specification leaves it to the server, and half a minute is common. */
const LONG_POLL_TIMEOUT_MS = 90_000;

/** A character that is held back has at most so many bytes: places so far back are remembered. */
const HELD_BYTES_MAX = 3;

/**
 * Follows a stream of a server that is not Millrace, by the means of the Durable Streams protocol alone: reads, then
 * long-polls. Its offsets are opaque here. What is one message of a JSON stream comes as one line, as from Millrace.
 */
export class ProtocolFollow {
  readonly #url: URL;
  readonly #live: boolean;
  /** Behind the last answer of which all was given out. */
  #offset: string;
  /** Where the last answers began, and how many bytes they had. */
  #answers: { readonly offset: string; readonly bytes: number }[] = [];
  /** Bytes behind `#offset` that were given out already: the connection may break in the middle of an answer. */
  #givenBytes = 0;
  #cursor: string | undefined;
  #upToDate = false;

  /** `live`: not to end at the tail, but when the stream is closed. */
  constructor(url: URL, offset: string, live: boolean) {
    this.#url = url;
    this.#offset = offset;
    this.#live = live;
  }

  /**
   * A token of a place that is not behind what was taken, less the `heldBytes` at its end. Such a server has no tokens
   * for the middle of an answer: whoever goes on from here may get some of it again.
   */
  offset(heldBytes: number): string {
    let token = this.#offset;
    let bytes = this.#givenBytes;
    for (const answer of this.#answers.toReversed()) {
      if (bytes >= heldBytes) break;
      token = answer.offset;
      bytes += answer.bytes;
    }
    return token;
  }

  /**
   * The data, until the tail or the closure, and which it was (an appender never said that it was there: it has `left`);
   * throws what a request fails with. Then it may be called again.
   */
  async *chunks(options: CheckedConnection, onOpen: () => void): AsyncGenerator<Uint8Array, StreamEnd, undefined> {
    for (;;) {
      const { response, release } = await this.#ask(options);
      try {
        onOpen();
        const { offset, closed } = positionOf(response);
        let knownBytes = this.#givenBytes;
        for await (const chunk of contentOf(response)) {
          const fresh = chunk.subarray(Math.min(knownBytes, chunk.length));
          knownBytes -= chunk.length - fresh.length;
          if (fresh.length === 0) continue;
          this.#givenBytes += fresh.length;
          yield fresh;
        }
        this.#moveTo(offset);
        this.#cursor = response.headers.get('stream-cursor') ?? undefined;
        this.#upToDate = response.status === 204 || response.headers.has('stream-up-to-date');
        if (this.#upToDate && (closed || !this.#live)) return closed ? 'closed' : 'left';
      } catch (error) {
        throw failureOf(error, this.#url, options);
      } finally {
        release();
      }
    }
  }

  #ask(options: CheckedConnection) {
    const poll = this.#upToDate ? { live: 'long-poll', cursor: this.#cursor } : {};
    const url = withQuery(this.#url, { offset: this.#offset, ...poll });
    return openResponse(
      url,
      { method: 'GET' },
      options,
      this.#upToDate ? LONG_POLL_TIMEOUT_MS : options.connectTimeoutMs,
    );
  }

  #moveTo(offset: string): void {
    if (this.#givenBytes > 0) {
      this.#answers.push({ offset: this.#offset, bytes: this.#givenBytes });
      if (this.#answers.length > HELD_BYTES_MAX) this.#answers.shift();
    }
    this.#offset = offset;
    this.#givenBytes = 0;
  }
}

/** The bytes of an answer, as they come; of a JSON stream its lines, all at once, since they are an array on the wire. */
async function* contentOf(response: Response): AsyncGenerator<Uint8Array, void, undefined> {
  if (response.body === null || response.status === 204) return;
  if (isJsonType(response.headers.get('content-type') ?? '')) {
    const { data } = encodeJsonLines(new Uint8Array(await response.arrayBuffer()));
    if (data.length > 0) yield data;
    return;
  }
  const reader = response.body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
