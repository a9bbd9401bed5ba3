import { isMillraceError } from '../errors.js';
import { formatOffset } from '../wire/offset.js';

/** Header fields as `writeHead` takes them fastest: name, value, name, value. */
export type Fields = string[];

/** Where the reader, or the stream, stands after a response. */
export function positionFields(
  streamId: string,
  position: { offset: number; upToDate?: boolean; closed: boolean },
): Fields {
  const fields = ['Stream-Next-Offset', formatOffset(position.offset, streamId)];
  if (position.upToDate === true) fields.push('Stream-Up-To-Date', 'true');
  if (position.closed) fields.push('Stream-Closed', 'true');
  return fields;
}

/** What is to be said in headers when a request is refused: for the protocol sections 5.2 and 5.2.1, RFC 9110 section 15.5.16. */
export function refusalFields(error: unknown): Fields {
  if (isMillraceError(error, 'STREAM_CLOSED')) {
    const { offset, streamId } = error.details;
    const isKnown = typeof offset === 'number' && typeof streamId === 'string';
    return ['Stream-Closed', 'true', ...(isKnown ? ['Stream-Next-Offset', formatOffset(offset, streamId)] : [])];
  }
  if (isMillraceError(error, 'CONTENT_ENCODING_UNSUPPORTED')) return ['Accept-Encoding', 'identity'];
  if (isMillraceError(error, 'PRODUCER_FENCED')) return ['Producer-Epoch', String(error.details.epoch)];
  if (isMillraceError(error, 'PRODUCER_SEQ_GAP')) {
    const { expectedSeq, receivedSeq } = error.details;
    return ['Producer-Expected-Seq', String(expectedSeq), 'Producer-Received-Seq', String(receivedSeq)];
  }
  return [];
}
