import { formatOffset, OFFSET_NOW, OFFSET_START, parseStartOffset, type StartOffset } from '../wire/offset.js';
import { type CheckedConnection, withQuery } from './connection-options.js';
import { followOnce, type StreamEnd } from './follow-connection.js';

/** What a {@link MillraceFollow} is told. */
export interface MillraceFollowOptions {
  /** Not to end when the appender leaves, but when the stream is closed. */
  readonly live: boolean;
  readonly receivedBytesMax: number;
}

/** Follows a stream of a Millrace server, over WebSocket. Every byte is counted, so it goes on from any of them. */
export class MillraceFollow {
  readonly #url: URL;
  readonly #options: MillraceFollowOptions;
  #offset: number | typeof OFFSET_NOW = OFFSET_NOW;
  /** The stream that `#offset` is of, as its tokens name it; undefined before the server has said. */
  #owner: string | undefined;
  #opened = false;

  constructor(url: URL, start: StartOffset, options: MillraceFollowOptions) {
    this.#url = url;
    this.#options = options;
    this.#moveTo(start);
  }

  /** The token of the place after what was taken, less the `heldBytes` at its end. */
  offset(heldBytes: number): string {
    return this.#offset === OFFSET_NOW ? OFFSET_NOW : formatOffset(this.#offset - heldBytes, this.#owner);
  }

  /** Goes on with whatever stream is there, from its beginning. */
  restart(): void {
    this.#moveTo(parseStartOffset(OFFSET_START));
  }

  /** The data of one connection. Returns when all is there, and why; throws how else it ended. Then it may be called again. */
  async *chunks(options: CheckedConnection, onOpen: () => void): AsyncGenerator<Uint8Array, StreamEnd, undefined> {
    const chunks = followOnce(this.#target(), {
      ...options,
      receivedBytesMax: this.#options.receivedBytesMax,
      offset: this.#offset === OFFSET_NOW ? undefined : this.#offset,
      onOpen: () => {
        this.#opened = true;
        onOpen();
      },
      onPlace: (start) => this.#moveTo(start),
    });
    try {
      for (;;) {
        const { done, value } = await chunks.next();
        if (done === true) return value;
        this.#offset = (this.#offset as number) + value.length;
        yield value;
      }
    } finally {
      await chunks.return('left');
    }
  }

  #moveTo(start: StartOffset): void {
    this.#offset = start === OFFSET_NOW ? start : start.offset;
    this.#owner = start === OFFSET_NOW ? undefined : start.owner;
  }

  #target(): URL {
    const query = { live: 'ws', offset: this.offset(0) };
    if (this.#options.live) return withQuery(this.#url, query);
    // With `resume` the server waits for an appender that is on its way back as well.
    return withQuery(this.#url, { ...query, verb: 'follow', resume: this.#opened ? 'true' : undefined });
  }
}
