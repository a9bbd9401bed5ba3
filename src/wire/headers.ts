import { MillraceError } from '../errors.js';
import { type OffsetToken, parseOffset } from './offset.js';

/**
 * Values of the request headers of Durable Streams. Each function takes what the client sent, or undefined, and throws
 * `INVALID_HEADER` with the header's name for what the protocol does not allow.
 */

/** Longest `Producer-Id`. It is written to the journal with every append. */
export const PRODUCER_ID_LENGTH_MAX = 256;
/** Longest `Stream-Seq`. */
export const STREAM_SEQ_LENGTH_MAX = 256;
/** Longest `Stream-TTL`: a hundred years. */
export const TTL_SECONDS_MAX = 100 * 365 * 24 * 60 * 60;
/** Longest content type. */
export const CONTENT_TYPE_LENGTH_MAX = 256;

/** Anything that looks up request headers by their lower-case names. */
export type RequestHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** `Stream-Closed`: only `true`, in any case, counts; everything else is as if it were absent (section 4.1). */
export function parseClosed(value: string | undefined): boolean {
  return value !== undefined && (value === 'true' || value.toLowerCase() === 'true');
}

/** `Stream-TTL`: a whole number of seconds without sign, leading zeros or exponent. */
export function parseTtl(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const seconds = parseWholeNumber(value);
  if (seconds === undefined || seconds > TTL_SECONDS_MAX) {
    throw invalid('Stream-TTL', `give a whole number of seconds, 0 to ${TTL_SECONDS_MAX}, without leading zeros`);
  }
  return seconds;
}

// RFC 3339, section 5.6. Groups: date, hours, minutes, seconds, fraction, zone.
const RFC3339 = /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(\.\d{1,9})?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

/** `Stream-Expires-At`: an RFC 3339 timestamp, as milliseconds since the epoch. */
export function parseExpiresAt(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const match = RFC3339.exec(value);
  if (match !== null) {
    const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const daysInMonth = new Date(Date.UTC(year, month, 0)).getUTCDate();
    // A leap second is the start of the next minute: Date has no name for it.
    if (month >= 1 && month <= 12 && day >= 1 && day <= daysInMonth && hour < 24 && minute < 60 && second <= 60) {
      const leap = second === 60 ? 1000 : 0;
      const text = value.toUpperCase();
      const ms = Date.parse(leap > 0 ? `${text.slice(0, 17)}59${text.slice(19)}` : text);
      if (!Number.isNaN(ms)) return ms + leap;
    }
  }
  throw invalid('Stream-Expires-At', 'give an RFC 3339 timestamp, such as 2030-01-01T00:00:00Z');
}

/** TTL and expiry of a new stream. One of them, not both (section 5.1). */
export function parseLifetime(headers: RequestHeaders): { ttlSeconds?: number; expiresAtMs?: number } {
  const ttlSeconds = parseTtl(one(headers, 'stream-ttl'));
  const expiresAtMs = parseExpiresAt(one(headers, 'stream-expires-at'));
  if (ttlSeconds !== undefined && expiresAtMs !== undefined) {
    throw invalid('Stream-Expires-At', 'leave out either it or Stream-TTL');
  }
  if (ttlSeconds !== undefined) return { ttlSeconds };
  return expiresAtMs === undefined ? {} : { expiresAtMs };
}

/** The three producer headers, all or none (section 5.2.1). */
export function parseProducer(headers: RequestHeaders): { id: string; epoch: number; seq: number } | undefined {
  const id = one(headers, 'producer-id');
  const epochText = one(headers, 'producer-epoch');
  const seqText = one(headers, 'producer-seq');
  if (id === undefined && epochText === undefined && seqText === undefined) return undefined;
  if (id === undefined || epochText === undefined || seqText === undefined) {
    const missing = id === undefined ? 'Producer-Id' : epochText === undefined ? 'Producer-Epoch' : 'Producer-Seq';
    throw invalid(missing, 'send Producer-Id, Producer-Epoch and Producer-Seq together, or none of them');
  }
  if (id === '' || id.length > PRODUCER_ID_LENGTH_MAX) {
    throw invalid('Producer-Id', `give 1 to ${PRODUCER_ID_LENGTH_MAX} characters`);
  }
  return { id, epoch: producerNumber('Producer-Epoch', epochText), seq: producerNumber('Producer-Seq', seqText) };
}

function producerNumber(header: string, text: string): number {
  const value = parseWholeNumber(text);
  if (value === undefined) throw invalid(header, 'give a whole number from 0 to 2^53 - 1');
  return value;
}

/** `Stream-Seq`: any text; it is compared byte by byte (section 5.2). */
export function parseStreamSeq(value: string | undefined): string | undefined {
  if (value === undefined) return undefined;
  if (value === '' || value.length > STREAM_SEQ_LENGTH_MAX) {
    throw invalid('Stream-Seq', `give 1 to ${STREAM_SEQ_LENGTH_MAX} characters`);
  }
  return value;
}

/** Where a fork branches off, as the client names it: `from` is a URL path (section 4.2). */
export interface ForkHeaders {
  readonly from: string;
  readonly offset?: OffsetToken;
  readonly subOffset?: number;
}

/** The fork headers, or undefined where the request asks for no fork. Throws also `INVALID_OFFSET`. */
export function parseFork(headers: RequestHeaders): ForkHeaders | undefined {
  const from = one(headers, 'stream-forked-from');
  const offsetText = one(headers, 'stream-fork-offset');
  const subOffsetText = one(headers, 'stream-fork-sub-offset');
  if (from === undefined) {
    if (offsetText !== undefined) throw invalid('Stream-Fork-Offset', 'send it only with Stream-Forked-From');
    if (subOffsetText !== undefined) throw invalid('Stream-Fork-Sub-Offset', 'send it only with Stream-Forked-From');
    return undefined;
  }
  if (!from.startsWith('/')) {
    throw invalid('Stream-Forked-From', "give the path of the source stream's URL, with its leading slash");
  }
  const subOffset = subOffsetText === undefined ? undefined : parseWholeNumber(subOffsetText);
  if (subOffsetText !== undefined && subOffset === undefined) {
    throw invalid('Stream-Fork-Sub-Offset', 'give a whole number without sign or leading zeros');
  }
  return {
    from,
    ...(offsetText === undefined ? {} : { offset: parseOffset(offsetText) }),
    ...(subOffset === undefined ? {} : { subOffset }),
  };
}

// RFC 9110, section 8.3.1: type and subtype are tokens. Parameters are kept, but not looked at.
const MEDIA_TYPE = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+\/[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*(?:;[ \t\x21-\x7e\x80-\xff]*)?$/;

/** The last one that was valid: nearly every append has the same as the one before it. */
let knownContentType = 'application/octet-stream';

/** `Content-Type`, kept as sent. Undefined where there is none, or an empty one. */
export function parseContentType(value: string | undefined): string | undefined {
  if (value === knownContentType) return value;
  if (value === undefined || value === '') return undefined;
  if (value.length > CONTENT_TYPE_LENGTH_MAX || !MEDIA_TYPE.test(value)) {
    throw invalid('Content-Type', 'give a media type, such as application/json or text/plain');
  }
  knownContentType = value;
  return value;
}

/** A whole number in plain decimal notation that a `number` holds exactly, or undefined. */
export function parseWholeNumber(text: string): number | undefined {
  if (text.length > 16 || !/^(?:0|[1-9]\d*)$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** Whether `If-None-Match` names the entity tag: weak comparison, lists and `*` (RFC 9110, section 13.1.2). */
export function matchesEntityTag(ifNoneMatch: string | undefined, tag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  if (ifNoneMatch === tag) return true;
  if (ifNoneMatch.trim() === '*') return true;
  return ifNoneMatch.split(',').some((each) => each.trim().replace(/^W\//, '') === tag);
}

/** A date of HTTP, in any of its three forms (RFC 9110, section 5.6.7), as milliseconds since the epoch. */
export function parseHttpDate(value: string | undefined): number | undefined {
  if (value === undefined || !/\d{2}:\d{2}:\d{2}/.test(value)) return undefined;
  // The oldest form leaves the zone out.
  const ms = Date.parse(value.endsWith(' GMT') ? value : `${value} GMT`);
  return Number.isNaN(ms) ? undefined : ms;
}

function one(headers: RequestHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

function invalid(header: string, advice: string): MillraceError {
  return new MillraceError('INVALID_HEADER', `The header ${header} is not valid: ${advice}.`, { header });
}
