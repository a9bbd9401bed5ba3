import { BINARY } from './websocket.js';

/** What the bytes of a WebSocket turned out to be, in their order. */
export interface FrameRunHandlers {
  /** The payloads of `frames` whole binary messages, one after the other. The bytes may be kept. Left out: no runs. */
  onRun?(payloads: Uint8Array, frames: number): void;
  /** Bytes of anything else, as they came: give them to a receiver that knows all of RFC 6455. */
  onOther(bytes: Uint8Array): void;
  /**
   * A close frame has come whole. Its bytes are for the same receiver, which answers it at once: give them when that is
   * right. Nothing comes after it.
   */
  onClose(frame: Uint8Array, code: number | undefined): void;
}

const FINAL = 0x80;
const FINAL_BINARY = FINAL | BINARY;
const MASKED = 0x80;
const MASK_BYTES = 4;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
const HEAD_BYTES_MAX = 14;
const CONTROL_BYTES_MAX = 125;
const RESERVED = 0x70;
const OPCODE = 0x0f;
const CONTINUATION = 0x0;
/** Opcodes from here on are of control frames, which may come in the middle of a message. */
const CONTROL = 0x8;
const CLOSE = FINAL | 0x8;
/** What a receiver takes in memory for each frame of a message that it gathers, besides the payload. */
export const FRAME_OVERHEAD_BYTES = 160;
/** Of a close frame, whose length always fits in the second byte. */
const CLOSE_HEAD_BYTES = 2 + MASK_BYTES;
const PING = FINAL | 0x9;
const PONG = FINAL | 0xa;

/**
 * Finds, in the bytes that a client sends, the binary messages that came whole and in one frame (RFC 6455, section 5),
 * and takes the payloads of all of them that follow each other out in one pass. A general receiver makes a buffer and
 * an event of each; for small messages that takes several times as long as everything else that is done with them.
 *
 * It judges nothing. Whatever else comes is passed on untouched, and only looked at: how much of a message is here that
 * is not whole yet, and where the close frame begins. From the first frame on that is fragmented there are no more runs;
 * from the first one on that a receiver might refuse everything is passed on unseen.
 */
export class FrameRuns {
  readonly #payloadBytesMax: number;
  readonly #handlers: FrameRunHandlers;
  /** The beginning of a frame that is no part of a run, as far as it has come. Kept back until it is known what it is. */
  readonly #head = new Uint8Array(HEAD_BYTES_MAX);
  #headBytes = 0;
  /** Payload bytes of that frame which are still to come. */
  #rest = 0;
  /** Whether that frame is a part of a message, and the last one. */
  #isData = false;
  #isLast = false;
  /** A message whose last frame is still to come. */
  #fragmented = false;
  #messageBytes = 0;
  /** Frames of that message that have begun to come, after the first one. */
  #moreFrames = 0;
  /** The close frame, as far as it has come. */
  #close: Uint8Array | undefined;
  #closed = false;
  #takesRuns: boolean;
  #passOnAll = false;

  /** Payloads longer than `payloadBytesMax` are for the other receiver to refuse. */
  constructor(payloadBytesMax: number, handlers: FrameRunHandlers) {
    this.#payloadBytesMax = payloadBytesMax;
    this.#handlers = handlers;
    this.#takesRuns = handlers.onRun !== undefined;
  }

  /** How many bytes a message takes in memory that is not whole yet: frames of a byte each are not as small as that. */
  get unfinishedBytes(): number {
    return this.#messageBytes + this.#moreFrames * FRAME_OVERHEAD_BYTES;
  }

  /** How many it will have at least. */
  get expectedBytes(): number {
    return this.#isData ? this.unfinishedBytes + this.#rest : this.unfinishedBytes;
  }

  /** Whether the client stopped in the middle of a frame or message, if it sends no more. */
  get isUnfinished(): boolean {
    return this.#headBytes > 0 || this.#rest > 0 || this.#fragmented;
  }

  /** Takes the next bytes, which it changes. What follows a close frame is dropped. */
  take(bytes: Uint8Array): void {
    const { length } = bytes;
    let at = 0;
    let other = 0;
    const passOn = (end: number) => {
      if (end > other) this.#handlers.onOther(bytes.subarray(other, end));
      other = end;
    };
    while (at < length && !this.#passOnAll) {
      if (this.#closed) {
        other = length;
        break;
      }
      if (this.#rest > 0) {
        const step = Math.min(this.#rest, length - at);
        if (this.#close !== undefined) {
          this.#close.set(bytes.subarray(at, at + step), this.#close.length - this.#rest);
          other = at + step;
        }
        if (this.#isData) this.#messageBytes += step;
        this.#rest -= step;
        at += step;
        if (this.#rest === 0) this.#onFrame();
        continue;
      }
      if (this.#headBytes === 0 && this.#takesRuns && bytes[at] === FINAL_BINARY) {
        const run = this.#run(bytes, at);
        if (run.frames > 0) {
          passOn(at);
          this.#handlers.onRun?.(bytes.subarray(at, at + run.payloadBytes), run.frames);
          at = run.end;
          other = at;
          continue;
        }
      }
      if (this.#headBytes === 0) passOn(at);
      this.#head[this.#headBytes++] = bytes[at++] as number;
      other = at;
      this.#readHead();
    }
    if (this.#passOnAll) passOn(length);
    else if (this.#headBytes === 0) passOn(at);
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

  /** Learns what it can from the beginning of a frame, and lets it go on once it is whole. */
  #readHead(): void {
    if (this.#headBytes < 2) return;
    const first = this.#head[0] as number;
    const second = this.#head[1] as number;
    const short = second & ~MASKED;
    const lengthBytes = short === LENGTH_64 ? 8 : short === LENGTH_16 ? 2 : 0;
    const maskBytes = second >= MASKED ? MASK_BYTES : 0;
    if (this.#headBytes < 2 + lengthBytes + maskBytes) return;
    const head = this.#head.slice(0, this.#headBytes);
    const view = new DataView(head.buffer);
    const size = short < LENGTH_16 ? short : lengthBytes === 2 ? view.getUint16(2) : Number(view.getBigUint64(2));
    const opcode = first & OPCODE;
    this.#headBytes = 0;
    this.#isLast = (first & FINAL) !== 0;
    this.#isData = opcode < CONTROL;
    if (!this.#isAllowed(first, size, maskBytes > 0)) {
      this.#passOnAll = true;
      this.#isData = false;
      this.#handlers.onOther(head);
      return;
    }
    this.#rest = size;
    if (this.#isData && opcode === CONTINUATION) this.#moreFrames++;
    if (first === CLOSE) {
      this.#close = new Uint8Array(head.length + size);
      this.#close.set(head);
    } else {
      this.#handlers.onOther(head);
    }
    if (this.#isData && !this.#isLast) {
      this.#fragmented = true;
      this.#takesRuns = false;
    }
    if (size === 0) this.#onFrame();
  }

  /** Whether a receiver will take the frame. */
  #isAllowed(first: number, size: number, masked: boolean): boolean {
    if (!masked || (first & RESERVED) !== 0) return false;
    const opcode = first & OPCODE;
    if (opcode >= CONTROL) {
      return (first === CLOSE || first === PING || first === PONG) && size <= CONTROL_BYTES_MAX;
    }
    if (opcode > BINARY || (opcode === CONTINUATION) !== this.#fragmented) return false;
    return this.#messageBytes + size <= this.#payloadBytesMax;
  }

  /** The frame whose head was read last is whole. */
  #onFrame(): void {
    if (this.#close !== undefined) {
      this.#closed = true;
      const { length } = this.#close;
      const hasCode = length >= CLOSE_HEAD_BYTES + 2;
      const unmask = (at: number) =>
        (this.#close?.[CLOSE_HEAD_BYTES + at] as number) ^ (this.#close?.[2 + at] as number);
      this.#handlers.onClose(this.#close, hasCode ? (unmask(0) << 8) | unmask(1) : undefined);
      return;
    }
    if (!this.#isData || !this.#isLast) return;
    this.#fragmented = false;
    this.#messageBytes = 0;
    this.#moreFrames = 0;
  }
}
