import { MillraceError } from '../errors.js';

/** What the HTTP side allows, all in one place. Every one is an option of `createHandler({ limits })`. */
export interface HttpLimits {
  /** Longest request target (path and query), in bytes: `URL_TOO_LONG` beyond it. */
  readonly urlBytesMax: number;
  /** Largest body of one request that is appended as a whole: `BODY_TOO_LARGE` beyond it. */
  readonly bodyBytesMax: number;
  /** About how many bytes are read at once; a long-poll answers with no more, a catch-up read piece by piece. */
  readonly readBytesMax: number;
  /** How long a long-poll waits for data before it is answered 204. */
  readonly longPollTimeoutMs: number;
  /** How long one SSE response lasts; its reader connects again, possibly to a cache. */
  readonly sseConnectionMs: number;
  /** Largest WebSocket message: the socket is closed with 1009 beyond it. */
  readonly frameBytesMax: number;
  /** Bytes of one appender that are accepted and not yet committed; its socket is paused while there are more. */
  readonly appendBufferBytes: number;
  /** How often a WebSocket is pinged, and how long a peer that answers pings may take. */
  readonly heartbeatIntervalMs: number;
  /** With `&resume=true`: how long a follower waits for an appender to come back. */
  readonly resumeGraceMs: number;
  /** Followers, of all kinds, at one time: `TOO_MANY_FOLLOWERS` beyond it. */
  readonly followersMax: number;
  /** How many events of a hub a slow SSE or WebSocket client may be behind; then it is told of a gap. */
  readonly eventsMaxLag: number;
  /** Appender sessions at one time: `TOO_MANY_APPENDERS` beyond it. */
  readonly appendersMax: number;
  /** How long `close()` waits for clients before it cuts them off. */
  readonly drainMs: number;
}

export const DEFAULT_HTTP_LIMITS: HttpLimits = {
  urlBytesMax: 8 * 1024,
  bodyBytesMax: 16 * 1024 * 1024,
  readBytesMax: 1024 * 1024,
  longPollTimeoutMs: 20_000,
  sseConnectionMs: 60_000,
  frameBytesMax: 16 * 1024 * 1024,
  appendBufferBytes: 4 * 1024 * 1024,
  heartbeatIntervalMs: 10_000,
  resumeGraceMs: 10_000,
  followersMax: 100_000,
  eventsMaxLag: 1024,
  appendersMax: 10_000,
  drainMs: 10_000,
};

/** Fills in the defaults. Errors: `INVALID_ARGUMENT` for what is not a whole number of at least 1. */
export function httpLimits(given: Partial<HttpLimits> = {}): HttpLimits {
  // What is there and undefined is not given.
  const entries = Object.entries(given).filter(([, value]) => value !== undefined);
  for (const [name, value] of entries) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number of at least 1, not ${value}.`);
    }
  }
  return { ...DEFAULT_HTTP_LIMITS, ...Object.fromEntries(entries) };
}
