import { MillraceError } from '../errors.js';

/** What the HTTP side allows, all in one place. Every one is an option of `createHandler({ limits })`. */
export interface HttpLimits {
  /** Longest request target (path and query), in bytes: `URL_TOO_LONG` beyond it. */
  readonly urlBytesMax: number;
  /** Largest body of one request that is appended as a whole: `BODY_TOO_LARGE` beyond it. */
  readonly bodyBytesMax: number;
  /** About how many bytes are read at once; a long-poll answers with no more, a catch-up read piece by piece. */
  readonly readBytesMax: number;
  /** How long a long-poll waits for data before it is answered 204: less than any proxy waits for an answer. */
  readonly longPollTimeoutMs: number;
  /**
   * How long one SSE response of a stream lasts; its reader connects again, possibly to a cache. Less than the 60 s after
   * which proxies give up: where both are the same a proper end and a cut race each other.
   */
  readonly sseConnectionMs: number;
  /** How soon an `EventSource` is asked to come back to a stream; by itself it waits for 3 to 5 s. */
  readonly sseRetryMs: number;
  /** Largest WebSocket message: the socket is closed with 1009 beyond it. */
  readonly frameBytesMax: number;
  /** Bytes of one appender that are accepted and not yet committed; its socket is paused while there are more. */
  readonly appendBufferBytes: number;
  /**
   * Bytes that are on their way in, of all clients together: bodies and messages that are not whole yet, and all that is
   * not committed. Beyond it connections are not read until there is room: small ones go on while large ones wait.
   */
  readonly intakeBytesMax: number;
  /**
   * The same of one address, without small bodies and messages. For addresses of this machine there is no such limit: a
   * proxy beside the server has all its clients there.
   */
  readonly intakeBytesPerAddressMax: number;
  /** Bodies and messages that wait for room at one time: `INTAKE_BUSY` beyond it. */
  readonly intakeWaitersMax: number;
  /** How long one of them may wait: `INTAKE_BUSY` beyond it. */
  readonly intakeWaitMs: number;
  /** While others wait: how long one may take for 64 KiB; `REQUEST_TIMEOUT` beyond it. */
  readonly intakeStallMs: number;
  /**
   * How often a live connection gets a sign of life (SSE a comment, a WebSocket a ping, everything else TCP keepalive),
   * and how long an appender that answers pings may take.
   */
  readonly heartbeatIntervalMs: number;
  /** With `&resume=true`: how long a follower waits for an appender to come back. */
  readonly resumeGraceMs: number;
  /** Followers, of all kinds, at one time: `TOO_MANY_FOLLOWERS` beyond it. */
  readonly followersMax: number;
  /** How many events of a hub a slow SSE or WebSocket client may be behind; then it is told of a gap. */
  readonly eventsMaxLag: number;
  /** How many bytes of messages of a hub such a client may be behind. One message may always wait, however large it is. */
  readonly eventsMaxLagBytes: number;
  /** Bytes of large hub messages that are being sent, to all clients together; who has stood still longest is cut off. */
  readonly eventsSendBytesMax: number;
  /** Appender sessions at one time: `TOO_MANY_APPENDERS` beyond it. */
  readonly appendersMax: number;
  /**
   * How long an appender may stop in the middle of a message, or of a body whose length it told: `APPENDER_STALLED` beyond
   * it, and its stream is free. Looked at every `heartbeatIntervalMs`.
   */
  readonly appenderStallMs: number;
  /**
   * How long nothing at all may be heard of an appender, answers to pings included: `APPENDER_STALLED` beyond it. Only
   * uploads and clients that answer no pings can be so silent.
   */
  readonly appenderSilenceMs: number;
  /** Requests of one connection that wait behind another one; while there are as many it is not read on. */
  readonly pipelinedPerConnectionMax: number;
  /** The same of all connections: one that brings more is cut off. */
  readonly pipelinedMax: number;
  /** Bytes that those may have, heads and bodies; while there are as many the connection is not read on. */
  readonly pipelinedBytesPerConnectionMax: number;
  /** The same of all connections: one that brings more is cut off. */
  readonly pipelinedBytesMax: number;
  /** How long `close()` waits for clients before it cuts them off. */
  readonly drainMs: number;
}

export const DEFAULT_HTTP_LIMITS: HttpLimits = {
  urlBytesMax: 8 * 1024,
  bodyBytesMax: 16 * 1024 * 1024,
  readBytesMax: 1024 * 1024,
  longPollTimeoutMs: 20_000,
  sseConnectionMs: 55_000,
  sseRetryMs: 1_000,
  frameBytesMax: 16 * 1024 * 1024,
  appendBufferBytes: 4 * 1024 * 1024,
  intakeBytesMax: 64 * 1024 * 1024,
  intakeBytesPerAddressMax: 32 * 1024 * 1024,
  intakeWaitersMax: 1_000,
  intakeWaitMs: 10_000,
  intakeStallMs: 10_000,
  heartbeatIntervalMs: 10_000,
  resumeGraceMs: 10_000,
  followersMax: 100_000,
  eventsMaxLag: 1024,
  eventsMaxLagBytes: 16 * 1024 * 1024,
  eventsSendBytesMax: 64 * 1024 * 1024,
  appendersMax: 10_000,
  appenderStallMs: 120_000,
  appenderSilenceMs: 24 * 60 * 60 * 1000,
  pipelinedPerConnectionMax: 64,
  pipelinedMax: 10_000,
  pipelinedBytesPerConnectionMax: 64 * 1024,
  pipelinedBytesMax: 64 * 1024 * 1024,
  drainMs: 10_000,
};

/** The longest wait of a timer; a longer one would end at once. */
const TIMER_MS_MAX = 0x7fffffff;

/** A wait may be 0: then nothing is waited for. Nothing else works with 0 of it. */
const MAY_BE_ZERO: ReadonlySet<string> = new Set<keyof HttpLimits>(['resumeGraceMs', 'sseRetryMs', 'drainMs']);

/** Fills in the defaults. Errors: `INVALID_ARGUMENT`, which names the limit. */
export function httpLimits(given: Partial<HttpLimits> = {}): HttpLimits {
  // What is there and undefined is not given.
  const entries = Object.entries(given).filter(([, value]) => value !== undefined);
  for (const [name, value] of entries) {
    const min = MAY_BE_ZERO.has(name) ? 0 : 1;
    const max = name.endsWith('Ms') ? TIMER_MS_MAX : Number.MAX_SAFE_INTEGER;
    if (Number.isSafeInteger(value) && value >= min && value <= max) continue;
    const range = max === TIMER_MS_MAX ? `from ${min} to ${max}` : `of at least ${min}`;
    throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number ${range}, not ${value}.`);
  }
  return { ...DEFAULT_HTTP_LIMITS, ...Object.fromEntries(entries) };
}
