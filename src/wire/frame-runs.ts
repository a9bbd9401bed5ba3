import { BINARY, TEXT } from './websocket.js';

/** What the bytes of a WebSocket turned out to be, in their order. */
export interface FrameRunHandlers {
  /** The payloads of `frames` whole binary messages, one after the other. The bytes may be kept. */
  onRun(payloads: Uint8Array, frames: number): void;
  /** Bytes of anything else, as they came: give them to a receiver that knows all of RFC 6455. */
  onOther(bytes: Uint8Array): void;
}

const FINAL = 0x80;
const FINAL_BINARY = FINAL | BINARY;
const MASKED = 0x80;
const MASK_BYTES = 4;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
const HEAD_BYTES_MAX = 14;
const CONTROL_BYTES_MAX = 125;
const CLOSE = FINAL | 0x8;
const PING = FINAL | 0x9;
const PONG = FINAL | 0xa;

/**
 * Finds, in the bytes that a client sends, the binary messages that came whole and in one frame (RFC 6455, section 5),
 * and takes the payloads of all of them that follow each other out in one pass. A general receiver makes a buffer and
 * an event of each; for small messages that takes several times as long as everything else that is done with them.
 *
 * It judges nothing. Whatever else comes is passed on untouched; and from the first frame on that is fragmented, or that
 * a receiver might refuse, everything is.
 */
export class FrameRuns {
  readonly #payloadBytesMax: number;
  readonly #handlers: FrameRunHandlers;
  /** The beginning of a frame that is passed on, as far as it has come. */
  readonly #head = new Uint8Array(HEAD_BYTES_MAX);
  #headBytes = 0;
  /** Payload bytes of that frame which are still to come. */
  #rest = 0;
  #passOnAll = false;
  #closed = false;

  /** Payloads longer than `payloadBytesMax` are for the other receiver to refuse. */
  constructor(payloadBytesMax: number, handlers: FrameRunHandlers) {
    this.#payloadBytesMax = payloadBytesMax;
    this.#handlers = handlers;
  }

  /** Takes the next bytes, which it changes. What follows a close frame is dropped. */
  take(bytes: Uint8Array): void {
    const { length } = bytes;
    let at = 0;
    let other = 0;
    while (at < length && !this.#passOnAll) {
      if (this.#rest > 0) {
        const step = Math.min(this.#rest, length - at);
        this.#rest -= step;
        at += step;
      } else if (this.#closed) {
        break;
      } else if (this.#headBytes > 0 || bytes[at] !== FINAL_BINARY) {
        this.#head[this.#headBytes++] = bytes[at++] as number;
        this.#readHead();
      } else {
        const run = this.#run(bytes, at);
        if (run.frames === 0) {
          this.#head[this.#headBytes++] = bytes[at++] as number;
          continue;
        }
        if (at > other) this.#handlers.onOther(bytes.subarray(other, at));
        this.#handlers.onRun(bytes.subarray(at, at + run.payloadBytes), run.frames);
        at = run.end;
        other = at;
      }
    }
    if (this.#passOnAll) at = length;
    if (at > other) this.#handlers.onOther(bytes.subarray(other, at));
  }

  /** Takes the payloads of all whole binary frames from `start` on together, unmasked, into the place where they began. */
  #run(bytes: Uint8Array, start: number): { frames: number; payloadBytes: number; end: number } {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const { length } = bytes;
    let frames = 0;
    let at = start;
    let to = start;
    while (at + 2 + MASK_BYTES <= length && bytes[at] === FINAL_BINARY) {
      const second = bytes[at + 1] as number;
      let size = second - MASKED;
      let from = at + 2;
      if (size === LENGTH_16) {
        if (at + 4 + MASK_BYTES > length) break;
        size = view.getUint16(from);
        from += 2;
      }
      // Without a mask it is negative. What is empty, or longer than a read from a socket, is no hurry.
      if (size <= 0 || second === (MASKED | LENGTH_64) || size > this.#payloadBytesMax) break;
      const end = from + MASK_BYTES + size;
      if (end > length) break;
      const mask = view.getInt32(from, true);
      from += MASK_BYTES;
      // What is written lies at least a header before what is read.
      for (; from + 4 <= end; from += 4, to += 4) view.setInt32(to, view.getInt32(from, true) ^ mask, true);
      for (let shift = 0; from < end; shift += 8) bytes[to++] = (bytes[from++] as number) ^ (mask >>> shift);
      at = end;
      frames++;
    }
    return { frames, payloadBytes: to - start, end: at };
  }

  /** Learns what it can from the beginning of a frame that is passed on. */
  #readHead(): void {
    if (this.#headBytes < 2) return;
    const head = this.#head;
    const length = (head[1] as number) & ~MASKED;
    const lengthBytes = length === LENGTH_64 ? 8 : length === LENGTH_16 ? 2 : 0;
    const maskBytes = (head[1] as number) >= MASKED ? MASK_BYTES : 0;
    if (this.#headBytes < 2 + lengthBytes + maskBytes) return;
    const view = new DataView(head.buffer);
    this.#rest = length < LENGTH_16 ? length : lengthBytes === 2 ? view.getUint16(2) : Number(view.getBigUint64(2));
    this.#headBytes = 0;
    switch (head[0]) {
      case CLOSE:
        this.#closed = true;
        this.#passOnAll = this.#rest > CONTROL_BYTES_MAX;
        break;
      case PING:
      case PONG:
        this.#passOnAll = this.#rest > CONTROL_BYTES_MAX;
        break;
      case FINAL | TEXT:
      case FINAL_BINARY:
        this.#passOnAll = this.#rest > this.#payloadBytesMax;
        break;
      default:
        this.#passOnAll = true;
    }
    if (maskBytes === 0) this.#passOnAll = true;
  }
}
