import { MillraceError } from '../errors.js';
import { checkMs, type RetryOptions } from './retry.js';

/** How to reach the server: the same for every function of the client. */
export interface ConnectionOptions extends RetryOptions {
  /** Sent with every request. A browser cannot set headers on a WebSocket: there `append` and `follow` refuse them. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Milliseconds for one attempt to connect (default {@link DEFAULT_CONNECT_TIMEOUT_MS}). */
  readonly connectTimeoutMs?: number;
  /**
   * A connection on which nothing was heard for two of these is given up and made anew (default
   * {@link DEFAULT_HEARTBEAT_MS}). On Node only; elsewhere the platform notices a dead connection when it does.
   */
  readonly heartbeatMs?: number;
  /** Ends it: what is waited for rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Default of {@link ConnectionOptions.connectTimeoutMs}. */
export const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
/** Default of {@link ConnectionOptions.heartbeatMs}. */
export const DEFAULT_HEARTBEAT_MS = 15_000;

/** Connection options with their defaults. */
export interface CheckedConnection {
  readonly headers: Readonly<Record<string, string>>;
  readonly connectTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly signal: AbortSignal | undefined;
}

/** Fills in the defaults. Errors: `INVALID_ARGUMENT`. */
export function checkConnection(options: ConnectionOptions): CheckedConnection {
  return {
    headers: options.headers ?? {},
    connectTimeoutMs: checkMs('connectTimeoutMs', options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS),
    heartbeatMs: checkMs('heartbeatMs', options.heartbeatMs ?? DEFAULT_HEARTBEAT_MS),
    signal: options.signal,
  };
}

/** A stream's URL; in a browser it may be relative to the page. Errors: `INVALID_ARGUMENT`. */
export function parseStreamUrl(url: string | URL): URL {
  const { location } = globalThis as { location?: { href?: string } };
  let parsed: URL | undefined;
  try {
    parsed = new URL(url, location?.href);
  } catch {
    // Said below, with all else that cannot be a stream's URL.
  }
  if (parsed?.protocol !== 'http:' && parsed?.protocol !== 'https:') {
    throw new MillraceError(
      'INVALID_ARGUMENT',
      `${String(url)} is not the URL of a stream: it must begin with http:// or https://.`,
    );
  }
  return parsed;
}

/** The URL with further query parameters; those that are undefined are left out. */
export function withQuery(url: URL, query: Readonly<Record<string, string | undefined>>): URL {
  const extended = new URL(url);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) extended.searchParams.set(name, value);
  }
  return extended;
}
