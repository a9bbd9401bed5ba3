import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { type FollowEnd, type Format, type Sink, unfinishedCharacter } from '../follow/index.js';
import { encodeFrame, frameHeaderLength, TEXT, writeFrame } from '../wire/websocket.js';

/**
 * Followers with the original Go client. It gives up at the first binary message. And of each message it takes what
 * one read with the caller's buffer has of it, and drops the rest: Go's programs begin with one of 512 bytes
 * (`io.ReadAll`), and what a read gets is what its 10 KiB buffer of the connection holds at that time. So it gets text
 * messages of that size, each in one piece, and never more of them at a time than fit in its buffer: it answers pings
 * once it has read up to them.
 */

/** Longest payload of a message: with its header of 4 bytes a frame has 512. */
const PAYLOAD_BYTES_MAX = 508;
/** What may be on its way to the client; its buffer has 10,240 bytes, and pings need some room as well. */
const UNREAD_BYTES_MAX = 8 * 1024;
/** A ping is sent along when so much has been written since the last one, so that sending need not stop for it. */
const PING_EACH_BYTES = UNREAD_BYTES_MAX / 2;

/** Text messages of at most {@link PAYLOAD_BYTES_MAX} bytes, cut between characters where the data is UTF-8. */
export const originalText: Format = {
  name: 'websocket text for the original client',
  unfinished: unfinishedCharacter,
  encode(data) {
    if (data.length <= PAYLOAD_BYTES_MAX) return data.length === 0 ? data : encodeFrame(TEXT, data);
    const pieces: Uint8Array[] = [];
    let length = 0;
    for (let at = 0; at < data.length; ) {
      let end = Math.min(data.length, at + PAYLOAD_BYTES_MAX);
      if (end < data.length) end -= unfinishedCharacter(data.subarray(at, end));
      pieces.push(data.subarray(at, end));
      length += frameHeaderLength(end - at) + end - at;
      at = end;
    }
    const frames = Buffer.allocUnsafeSlow(length);
    let next = 0;
    for (const piece of pieces) next = writeFrame(frames, next, TEXT, piece);
    return frames;
  },
};

/** Sends frames of {@link originalText} no faster than the client reads them. */
export class OriginalClientSink implements Sink {
  readonly #ws: WebSocket;
  readonly #socket: Duplex;
  readonly #onEnd: (reason: FollowEnd) => void;
  #queue: Buffer | undefined;
  #resume: () => void = () => {};
  #ended: FollowEnd | undefined;
  #sent = 0;
  /** Up to here the client has read. */
  #read = 0;
  /** Where the ping stands that has no answer yet. */
  #pinged: number | undefined;
  #pingNumber = 0;

  constructor(ws: WebSocket, socket: Duplex, onEnd: (reason: FollowEnd) => void) {
    this.#ws = ws;
    this.#socket = socket;
    this.#onEnd = onEnd;
    // Each write is to be a segment of its own.
    (socket as Partial<Socket>).setNoDelay?.(true);
    ws.on('pong', (payload: Buffer) => this.#onPong(payload));
    socket.on('drain', () => this.#pump());
  }

  write(bytes: Buffer): boolean {
    this.#queue = bytes;
    this.#send();
    return this.#queue === undefined;
  }

  onDrain(resume: () => void): void {
    this.#resume = resume;
  }

  end(reason: FollowEnd): void {
    if (this.#queue === undefined) this.#onEnd(reason);
    else this.#ended = reason;
  }

  #onPong(payload: Buffer): void {
    if (this.#pinged === undefined || payload.toString() !== String(this.#pingNumber)) return;
    this.#read = this.#pinged;
    this.#pinged = undefined;
    this.#pump();
  }

  #pump(): void {
    if (this.#queue === undefined) return;
    this.#send();
    if (this.#queue !== undefined) return;
    if (this.#ended !== undefined) this.#onEnd(this.#ended);
    else this.#resume();
  }

  /** Sends as many frames of the queue as the client has room for. */
  #send(): void {
    let queue = this.#queue;
    while (queue !== undefined && !this.#socket.writableNeedDrain) {
      const length = frameLength(queue);
      if (this.#sent + length - this.#read > UNREAD_BYTES_MAX) break;
      this.#socket.write(length === queue.length ? queue : queue.subarray(0, length));
      this.#sent += length;
      queue = length === queue.length ? undefined : queue.subarray(length);
      this.#ping();
    }
    this.#queue = queue;
  }

  #ping(): void {
    if (this.#pinged !== undefined || this.#sent - this.#read < PING_EACH_BYTES) return;
    this.#pinged = this.#sent;
    this.#ws.ping(String(++this.#pingNumber));
  }
}

/** Length of the first frame in bytes that we made ourselves: its payload is at most {@link PAYLOAD_BYTES_MAX} long. */
function frameLength(frames: Buffer): number {
  const short = frames[1] as number;
  return short < 126 ? 2 + short : 4 + frames.readUInt16BE(2);
}
