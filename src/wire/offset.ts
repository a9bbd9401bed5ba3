import { MillraceError } from '../errors.js';

/**
 * Offset tokens. Inside Millrace an offset is a number of bytes. Clients see 16 decimal digits, so that tokens of one
 * stream sort as text the way offsets sort as numbers, then `_s` and the first characters of the stream's id, so that a
 * token of a stream that was deleted is never taken for a place in its successor.
 */

/** Sentinel: the beginning of the stream (Durable Streams, section 8). */
export const OFFSET_START = '-1';
/** Sentinel: the tail at the time of the request (Durable Streams, section 8). */
export const OFFSET_NOW = 'now';

/** Digits of a token: enough for `Number.MAX_SAFE_INTEGER`. */
const TOKEN_DIGITS = 16;
/**
 * A letter keeps what follows from being a number: to a program that knows the reference's tokens (`y-durable-streams`)
 * what stands behind an underscore is one, and it adds 1 to it.
 */
const MARK = '_s';
/** Characters of the stream's id in a token: 42 bits where the id is random base64url. */
const OWNER_LENGTH = 7;
const OWNER = /^[A-Za-z0-9_-]+$/;

/**
 * What the reference implementation calls the beginning of every stream. Its conformance suite writes this token
 * without having got it from the server, so it is understood, as the number 0, and never sent.
 */
const REFERENCE_ZERO = '0000000000000000_0000000000000000';

/** What a token says. */
export interface OffsetToken {
  readonly offset: number;
  /** The beginning of the id of the stream that it was given for. Undefined in a token that says none. */
  readonly owner: string | undefined;
}

/** Where a reader wants to start: a place, or the tail at the time of the request. */
export type StartOffset = OffsetToken | typeof OFFSET_NOW;

/** What a token is compared with: `StreamInfo` has it. */
export interface OffsetOwner {
  readonly id: string;
  /** The streams that it was forked from, and up to where their offsets are its own. */
  readonly ancestors?: readonly { readonly id: string; readonly offset: number }[];
}

/** The token of an offset of the stream with this id; without an id the form that belongs to no stream. */
export function formatOffset(offset: number, streamId: string | undefined): string {
  const digits = String(offset).padStart(TOKEN_DIGITS, '0');
  return streamId === undefined ? digits : digits + MARK + streamId.slice(0, OWNER_LENGTH);
}

/** What a token that a server gave out says. Throws `INVALID_OFFSET` for anything else, sentinels too. */
export function parseOffset(token: string): OffsetToken {
  let owner: string | undefined;
  if (token.length !== TOKEN_DIGITS) {
    if (token === REFERENCE_ZERO) return ZERO;
    if (token.length !== TOKEN_DIGITS + MARK.length + OWNER_LENGTH || !token.startsWith(MARK, TOKEN_DIGITS)) {
      throw invalidOffset();
    }
    owner = token.slice(TOKEN_DIGITS + MARK.length);
    if (!OWNER.test(owner)) throw invalidOffset();
  }
  let offset = 0;
  for (let i = 0; i < TOKEN_DIGITS; i++) {
    const digit = token.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) throw invalidOffset();
    offset = offset * 10 + digit;
  }
  if (!Number.isSafeInteger(offset)) throw invalidOffset();
  return { offset, owner };
}

/** Whether a token has the form of those that Millrace gives out: other servers have their own. */
export function isOffsetToken(token: string): boolean {
  if (token === REFERENCE_ZERO) return false;
  try {
    parseOffset(token);
    return true;
  } catch {
    return false;
  }
}

/** Which stream a token says that it is of; undefined where it says none, as those of other servers. */
export function ownerOf(token: string): string | undefined {
  return isOffsetToken(token) ? parseOffset(token).owner : undefined;
}

/** Whether it is such a token, or one of the sentinels. */
export function isStartOffset(token: string): boolean {
  return token === OFFSET_START || token === OFFSET_NOW || isOffsetToken(token);
}

/** Where a reader wants to start: a place, or the tail. Throws `INVALID_OFFSET`. */
export function parseStartOffset(token: string): StartOffset {
  if (token === OFFSET_START) return ZERO;
  if (token === OFFSET_NOW) return OFFSET_NOW;
  return parseOffset(token);
}

/**
 * The offset that a token means in a stream. Good are the stream's own tokens, those of the streams that it was forked
 * from up to where it branched off, and those that name no stream. Throws `OFFSET_OF_ANOTHER_STREAM`.
 */
export function offsetIn(token: OffsetToken, stream: OffsetOwner): number {
  const { offset, owner } = token;
  if (owner === undefined || stream.id.startsWith(owner)) return offset;
  for (const ancestor of stream.ancestors ?? []) {
    if (ancestor.id.startsWith(owner) && offset <= ancestor.offset) return offset;
  }
  throw offsetOfAnotherStream();
}

/** `OFFSET_OF_ANOTHER_STREAM`. */
export function offsetOfAnotherStream(): MillraceError {
  return new MillraceError(
    'OFFSET_OF_ANOTHER_STREAM',
    'The offset is one of another stream: the one that it was given for was deleted or replaced, or is at another path. Drop what was read of it, and start over with offset=-1.',
  );
}

const ZERO: OffsetToken = { offset: 0, owner: undefined };

function invalidOffset(): MillraceError {
  return new MillraceError(
    'INVALID_OFFSET',
    'The offset is not one that this server gave out: use a Stream-Next-Offset value, -1 for the beginning, or now for the tail.',
  );
}
