import { isMillraceError } from '../errors.js';
import { formatOffset } from '../wire/offset.js';
import { baseHeaders } from './security-headers.js';

/** Header fields as `writeHead` takes them fastest: name, value, name, value. */
export type Fields = string[];

/** The fields of every response, flat. */
export const baseFields: readonly string[] = Object.entries(baseHeaders).flat();

/** The same without those that only a browser on another origin looks at. For responses that no cache may keep. */
export const sameOriginFields: readonly string[] = Object.entries(baseHeaders)
  .filter(([name]) => !name.startsWith('Access-Control-'))
  .flat();

/** Where the reader, or the stream, stands after a response. */
export function positionFields(position: { offset: number; upToDate?: boolean; closed: boolean }): Fields {
  const fields = ['Stream-Next-Offset', formatOffset(position.offset)];
  if (position.upToDate === true) fields.push('Stream-Up-To-Date', 'true');
  if (position.closed) fields.push('Stream-Closed', 'true');
  return fields;
}

/** What the protocol wants to be said in headers when an append is refused (sections 5.2 and 5.2.1). */
export function refusalHeaders(error: unknown): Record<string, string> {
  if (isMillraceError(error, 'STREAM_CLOSED')) {
    const { offset } = error.details;
    return {
      'Stream-Closed': 'true',
      ...(typeof offset === 'number' ? { 'Stream-Next-Offset': formatOffset(offset) } : {}),
    };
  }
  if (isMillraceError(error, 'PRODUCER_FENCED')) return { 'Producer-Epoch': String(error.details.epoch) };
  if (isMillraceError(error, 'PRODUCER_SEQ_GAP')) {
    return {
      'Producer-Expected-Seq': String(error.details.expectedSeq),
      'Producer-Received-Seq': String(error.details.receivedSeq),
    };
  }
  return {};
}
