import { MillraceError } from '../errors.js';

/**
 * Offset tokens. Inside Millrace an offset is a number of bytes; clients see 16 decimal digits, so that tokens sort as
 * text the way offsets sort as numbers, and are never taken for a sentinel.
 */

/** Sentinel: the beginning of the stream (Durable Streams, section 8). */
export const OFFSET_START = '-1';
/** Sentinel: the tail at the time of the request (Durable Streams, section 8). */
export const OFFSET_NOW = 'now';

/** Digits of a token: enough for `Number.MAX_SAFE_INTEGER`. */
const TOKEN_DIGITS = 16;

/**
 * What the reference implementation calls the beginning of every stream. Its conformance suite writes this token
 * without having got it from the server, so it is understood, as the number 0, and never sent.
 */
const REFERENCE_ZERO = '0000000000000000_0000000000000000';

/** The token of an offset. */
export function formatOffset(offset: number): string {
  return String(offset).padStart(TOKEN_DIGITS, '0');
}

/** The offset of a token that a server gave out. Throws `INVALID_OFFSET` for anything else, sentinels too. */
export function parseOffset(token: string): number {
  if (token.length === TOKEN_DIGITS) {
    let offset = 0;
    for (let i = 0; i < TOKEN_DIGITS; i++) {
      const digit = token.charCodeAt(i) - 48;
      if (digit < 0 || digit > 9) throw invalidOffset();
      offset = offset * 10 + digit;
    }
    if (Number.isSafeInteger(offset)) return offset;
  }
  if (token === REFERENCE_ZERO) return 0;
  throw invalidOffset();
}

/** Where a reader wants to start: an offset, or the tail. Throws `INVALID_OFFSET`. */
export function parseStartOffset(token: string): number | typeof OFFSET_NOW {
  if (token === OFFSET_START) return 0;
  if (token === OFFSET_NOW) return OFFSET_NOW;
  return parseOffset(token);
}

function invalidOffset(): MillraceError {
  return new MillraceError(
    'INVALID_OFFSET',
    'The offset is not one that this server gave out: use a Stream-Next-Offset value, -1 for the beginning, or now for the tail.',
  );
}
