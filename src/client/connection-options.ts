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

/** Node refuses more than `Headers` does: all control characters but the tab. */
const CONTROL_CHARACTER = /[^\t\x20-\x7e\x80-\xff]/;

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
    headers: checkHeaders(options.headers ?? {}),
    connectTimeoutMs: checkMs('connectTimeoutMs', options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS),
    heartbeatMs: checkMs('heartbeatMs', options.heartbeatMs ?? DEFAULT_HEARTBEAT_MS),
    signal: options.signal,
  };
}

/** Errors: `INVALID_ARGUMENT`, which names the header and not its value, which may be secret. */
export function checkHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const checked: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    try {
      // Blanks around the value go, as they do on the wire.
      checked[name] = new Headers([[name, value]]).get(name) ?? '';
    } catch {
      throw badHeader(name);
    }
    if (CONTROL_CHARACTER.test(checked[name])) throw badHeader(name);
  }
  return checked;
}

function badHeader(name: string): MillraceError {
  return new MillraceError(
    'INVALID_ARGUMENT',
    `The header ${JSON.stringify(name)} has a name or a value that HTTP does not allow.`,
  );
}

/**
 * User and password of a URL as the header that they stand for: `fetch` refuses such a URL. A header of that name that
 * the caller gave counts more.
 */
export function withCredentials(
  url: URL,
  headers: Readonly<Record<string, string>>,
): { readonly url: URL; readonly headers: Readonly<Record<string, string>> } {
  if (url.username === '' && url.password === '') return { url, headers };
  const bare = new URL(url);
  bare.username = '';
  bare.password = '';
  if (Object.keys(headers).some((name) => name.toLowerCase() === 'authorization')) return { url: bare, headers };
  const credentials = new TextEncoder().encode(`${decoded(url.username)}:${decoded(url.password)}`);
  return { url: bare, headers: { ...headers, Authorization: `Basic ${btoa(String.fromCharCode(...credentials))}` } };
}

/** A lone `%` stands for itself. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** A stream's URL; in a browser it may be relative to the page. A fragment is no part of it. Errors: `INVALID_ARGUMENT`. */
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
  // A WebSocket refuses a URL that has one.
  parsed.hash = '';
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
