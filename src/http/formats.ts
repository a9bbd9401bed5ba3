import { Buffer, isUtf8 } from 'node:buffer';
import { type After, type Format, unfinishedCharacter } from '../follow/index.js';
import { encodeChunk } from '../wire/chunked.js';
import { formatOffset } from '../wire/offset.js';
import { BINARY, encodeFrame, frameHeaderLength, TEXT, writeFrame } from '../wire/websocket.js';

/** The bytes as they are. */
export const raw: Format = { name: 'raw', encode: (data) => data };

/** WebSocket messages: text where the bytes are UTF-8, else binary. */
export const webSocketTextOrBinary: Format = {
  name: 'websocket text or binary',
  unfinished: unfinishedCharacter,
  encode: (data) => (data.length === 0 ? data : encodeFrame(isUtf8(data) ? TEXT : BINARY, data)),
};

/** WebSocket binary messages, each followed by a text message that says where the reader stands then. */
export const webSocketLive: Format = {
  name: 'websocket live',
  encode(data, after) {
    const control = Buffer.from(JSON.stringify(controlOf(after)));
    if (data.length === 0) return encodeFrame(TEXT, control);
    const length = frameHeaderLength(data.length) + data.length + frameHeaderLength(control.length) + control.length;
    const frames = Buffer.allocUnsafeSlow(length);
    writeFrame(frames, writeFrame(frames, 0, BINARY, data), TEXT, control);
    return frames;
  },
};

function controlOf(after: After): object {
  return {
    streamNextOffset: formatOffset(after.offset, after.streamId),
    ...(after.upToDate ? { upToDate: true } : {}),
    ...(after.closed ? { streamClosed: true } : {}),
    ...(after.appenderLost === true ? { streamAppender: 'lost' } : {}),
  };
}

const chunkedFormats = new WeakMap<Format, Format>();

/** The same, as chunks of a chunked response. One object per format, so that its followers share the encoding. */
export function chunked(format: Format): Format {
  let made = chunkedFormats.get(format);
  if (made === undefined) {
    made = {
      ...format,
      name: `${format.name}, chunked`,
      encode: (data, after) => encodeChunk(format.encode(data, after)),
    };
    chunkedFormats.set(format, made);
  }
  return made;
}
