import type { ServerResponse } from 'node:http';
import { isMillraceError } from '../errors.js';
import type { StreamInfo } from '../log/index.js';
import { formatOffset } from '../wire/offset.js';

/** Header fields as `writeHead` takes them fastest: name, value, name, value. */
export type Fields = string[];

/**
 * Types that a browser runs when it shows them as a document, wherever in the value they stand: HTML, XML of every kind
 * (SVG, XHTML, style sheets), scripts, and what is made of parts. Not PDF: its scripts run in a viewer of their own, which
 * a sandbox would only keep from showing it.
 */
const ACTIVE_TYPE = /html|xml|svg|xsl|script|multipart|rfc822/i;

/**
 * Keeps what a stream holds from running beside the pages of its origin (CSP 3, section 6.3.2): in a sandbox it has an
 * origin of its own, and no scripts. Policies of the application in front hold as well.
 */
export function sandboxFields(res: ServerResponse, contentType: string): Fields {
  if (!ACTIVE_TYPE.test(contentType)) return [];
  const policies = [res.getHeader('Content-Security-Policy') ?? [], 'sandbox'].flat();
  return ['Content-Security-Policy', policies.join(', ')];
}

/** Fields of a response that has a stream's bytes, or the promise of some. */
export function typeFields(res: ServerResponse, contentType: string): Fields {
  return ['Content-Type', contentType, ...sandboxFields(res, contentType)];
}

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

/** What is known of the stream's appender: `active` while one lives, else how the last one ended. Closed streams need none. */
export function appenderFields({ appender, lastAppender, closed }: StreamInfo): Fields {
  const state = appender ? 'active' : lastAppender;
  return closed || state === undefined ? [] : ['Stream-Appender', state];
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
