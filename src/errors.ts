/**
 * Every error that Millrace raises on purpose. Each has a stable `code`, a sentence that says what to do, and a
 * section in docs/errors.md (a test keeps the two in step).
 *
 * The classes know nothing of HTTP: `http/problem.ts` is the one place where a code becomes a status.
 */

/** Facts about an error that a program may want: offsets, limits, the current epoch. Plain JSON values. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | null>>;

/** What all errors of Millrace have in common. Match on `code`, never on the message. */
export class MillraceError extends Error {
  /** Stable, upper snake case. Documented in docs/errors.md. */
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = 'MillraceError';
    this.code = code;
    this.details = details;
  }
}

/** Narrow an unknown value to a Millrace error, optionally of one code. */
export function isMillraceError(value: unknown, code?: ErrorCode): value is MillraceError {
  return value instanceof MillraceError && (code === undefined || value.code === code);
}

export type ErrorCode = (typeof errorCodes)[number];

/** All codes, grouped by the folder that raises them. Add the section in docs/errors.md with the code. */
export const errorCodes = [
  // event-stream
  'EVENT_STREAM_CLOSED',
  'EVENT_STREAM_LAGGED',
  'SUBSCRIPTION_ENDED',

  // any folder: an option or argument that cannot be right
  'INVALID_ARGUMENT',
  'ABORTED',

  // log: addressing
  'INVALID_PATH',
  'INVALID_OFFSET',
  'OFFSET_OUT_OF_RANGE',
  'OFFSET_OF_ANOTHER_STREAM',
  'STREAM_NOT_FOUND',
  'STREAM_GONE',
  'STREAM_EXISTS',
  'STREAM_EXPIRED',

  // log: append rules
  'STREAM_CLOSED',
  'CONTENT_TYPE_MISMATCH',
  'STREAM_SEQ_CONFLICT',
  'PRODUCER_FENCED',
  'PRODUCER_SEQ_GAP',
  'PRODUCER_EPOCH_START',
  'PRODUCERS_TOO_MANY',
  'APPENDER_ACTIVE',
  'SESSION_ENDED',
  'EMPTY_APPEND',
  'APPEND_TOO_LARGE',
  'INVALID_JSON',
  'FORK_SOURCE_NOT_FOUND',
  'FORK_SOURCE_GONE',
  'INVALID_FORK',

  // log: stores
  'STORE_CLOSED',
  'STORE_FAILED',
  'STORE_FULL',
  'STORE_BUSY',
  'STORE_LOCKED',
  'STORE_UNAVAILABLE',
  'STREAM_FILE_CHANGED',
  'JOURNAL_CORRUPT',

  // wire: what a client sent
  'INVALID_HEADER',

  // http
  'NOT_FOUND',
  'METHOD_NOT_ALLOWED',
  'UNKNOWN_VERB',
  'INVALID_REQUEST',
  'ORIGIN_REFUSED',
  'HOST_UNKNOWN',
  'REQUEST_TIMEOUT',
  'HEADERS_TOO_LARGE',
  'INVALID_HANDSHAKE',
  'UPGRADE_REQUIRED',
  'URL_TOO_LONG',
  'BODY_TOO_LARGE',
  'CONTENT_ENCODING_UNSUPPORTED',
  'EXPECTATION_FAILED',
  'RANGE_NOT_SATISFIABLE',
  'INTAKE_BUSY',
  'APPENDER_STALLED',
  'TOO_MANY_FOLLOWERS',
  'TOO_MANY_APPENDERS',
  'SHUTTING_DOWN',

  // subscriptions
  'SUBSCRIPTION_NOT_FOUND',
  'SUBSCRIPTION_EXISTS',
  'TOO_MANY_SUBSCRIPTIONS',
  'WEBHOOK_URL_REJECTED',
  'TOKEN_INVALID',
  'TOKEN_EXPIRED',
  'FENCED',
  'ALREADY_CLAIMED',
  'NO_PENDING_WORK',
  'INVALID_ACK',

  // hub
  'HUB_CLOSED',
  'HUB_CHANNEL_INVALID',
  'HUB_MESSAGE_INVALID',
  'HUB_MESSAGE_TOO_LARGE',
  'HUB_PATTERNS_UNSUPPORTED',
  'HUB_LAGGED',
  'HUB_HISTORY_GONE',
  'HUB_BUSY',
  'HUB_UNAVAILABLE',
  'HUB_UNAUTHORIZED',
  'HUB_UNKNOWN_SCHEME',
  'HUB_CLIENT_MISSING',

  // client
  'CONNECTION_FAILED',
  'RESUME_FAILED',
  'UNEXPECTED_RESPONSE',

  // server
  'LISTEN_FAILED',
] as const;
