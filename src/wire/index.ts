/** The codecs by themselves, for whoever writes a client or a server of their own: pure, without I/O, in any runtime. */
export {
  type Ack,
  APPEND_PROTOCOL,
  AppendCloseCode,
  type AppendFailure,
  type CloseStream,
  parseClientMessage,
  type ServerMessage,
  type Welcome,
} from './append-protocol.js';
export { encodeChunk } from './chunked.js';
export {
  type ChannelEvent,
  encodeEventFrame,
  encodeSseEvent,
  type MessageBody,
  positionOfEventId,
  SSE_SUBSCRIBED,
  type SseLabel,
} from './events.js';
export { encodeJsonLines, forEachLine, isJsonType, JsonLineEncoder, type JsonLines, jsonArrayOf } from './json.js';
export {
  checkJson,
  collectMembers,
  type JsonEntryVisitor,
  JsonScanner,
  type JsonScannerOptions,
} from './json-scanner.js';
export { NdjsonReader, type TakeLines } from './ndjson.js';
export {
  formatOffset,
  OFFSET_NOW,
  OFFSET_START,
  type OffsetOwner,
  type OffsetToken,
  offsetIn,
  parseOffset,
  parseStartOffset,
  type StartOffset,
} from './offset.js';
export {
  encodeSseData,
  formatSseControl,
  SSE_HEARTBEAT,
  SSE_TYPE,
  type SseControl,
  type SseEncoding,
  sseEncodingOf,
  wholeTextLength,
} from './sse.js';
export { STATE_MESSAGE_BYTES_MAX, withStateOffsets } from './state-offsets.js';
export { BINARY, CLOSE_APPENDER_LOST, encodeFrame, TEXT } from './websocket.js';
