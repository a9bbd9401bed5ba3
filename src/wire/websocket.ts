/** WebSocket frames as a server sends them: never masked (RFC 6455, section 5.2). */

/** What a frame holds. */
/** Closes a follower whose stream was left unfinished: its appender is gone and never said that it was done. */
export const CLOSE_APPENDER_LOST = 4499;

export const TEXT = 0x1;
export const BINARY = 0x2;

const CONTINUATION = 0x0;
const FINAL = 0x80;
/** Payloads up to this length have it in the second byte; longer ones in two more, or eight. */
const SHORT_MAX = 125;
const LENGTH_16 = 126;
const LENGTH_64 = 127;

/** How many bytes stand before a payload of this length. */
export function frameHeaderLength(payloadLength: number): number {
  return payloadLength <= SHORT_MAX ? 2 : payloadLength <= 0xffff ? 4 : 10;
}

/** Writes one frame into `target` at `at`, and answers where it ends. */
export function writeFrame(target: Uint8Array, at: number, opcode: number, payload: Uint8Array): number {
  const { length } = payload;
  let next = at;
  target[next++] = FINAL | opcode;
  if (length <= SHORT_MAX) {
    target[next++] = length;
  } else if (length <= 0xffff) {
    target[next++] = LENGTH_16;
    target[next++] = length >>> 8;
    target[next++] = length & 0xff;
  } else {
    target[next++] = LENGTH_64;
    const high = Math.floor(length / 2 ** 32);
    for (const word of [high, length >>> 0]) {
      target[next++] = word >>> 24;
      target[next++] = (word >>> 16) & 0xff;
      target[next++] = (word >>> 8) & 0xff;
      target[next++] = word & 0xff;
    }
  }
  target.set(payload, next);
  return next + length;
}

/** One frame. */
export function encodeFrame(opcode: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(frameHeaderLength(payload.length) + payload.length);
  writeFrame(frame, 0, opcode, payload);
  return frame;
}

/** One of the frames of a message that is sent in pieces (section 5.4): pings and a close may go between them. */
export function encodeFragment(opcode: number, payload: Uint8Array, isFirst: boolean, isLast: boolean): Uint8Array {
  const frame = encodeFrame(isFirst ? opcode : CONTINUATION, payload);
  if (!isLast) frame[0] = (frame[0] as number) & ~FINAL;
  return frame;
}
