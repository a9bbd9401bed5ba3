import type { IncomingMessage } from 'node:http';
import { MillraceError } from '../errors.js';
import { parseStreamPath } from '../log/index.js';
import type { HttpContext } from './context.js';
import { requestTarget } from './request-target.js';

/** The verbs of the seed, beside HTTP's own methods. */
export type StreamVerb = 'append' | 'follow';

/** What a request asks for: its URL and verb, parsed and checked once. */
export type Route = StreamRoute | MillraceRoute | SubscriptionRoute | ServerRoute;

interface Target {
  readonly method: string;
  /** The path below the prefix, still percent-encoded, with its leading slash. */
  readonly pathname: string;
  readonly query: URLSearchParams;
}

/** A stream: every path but the reserved ones. */
export interface StreamRoute extends Target {
  readonly kind: 'stream';
  /** The store's path of the stream, decoded and checked. */
  readonly stream: string;
  /** From `?verb=` or the header `X-Verb`, in any case. */
  readonly verb: StreamVerb | undefined;
  /** Whether the verb came in the header `X-Verb`, as the original Go clients send it. */
  readonly verbInHeader: boolean;
  /** `?live=`, lower case. */
  readonly live: string | undefined;
}

/** Below `/-/`: Millrace's own resources. */
export interface MillraceRoute extends Target {
  readonly kind: 'millrace';
  /** What comes after `/-/`, still percent-encoded: `health`, `streams`. */
  readonly name: string;
}

/** `/__ds/…` at any depth: reserved by the Durable Streams protocol for subscriptions. */
export interface SubscriptionRoute extends Target {
  readonly kind: 'subscription';
  /** The path before `/__ds`, with its leading slash (`''` at the root), still percent-encoded. */
  readonly base: string;
  /** What comes after `/__ds/`, still percent-encoded. */
  readonly rest: string;
}

/** `OPTIONS *`, or of a whole URL without a path: the server as a whole (RFC 9110, section 9.3.7). */
export interface ServerRoute extends Target {
  readonly kind: 'server';
}

/**
 * The way in of every request, to whichever door: whether it means one thing, whether its page may ask, and what it asks
 * for. The target must lie below the prefix.
 * Errors: `INVALID_REQUEST`, `HOST_UNKNOWN`, `ORIGIN_REFUSED`, `URL_TOO_LONG`, `UNKNOWN_VERB`, `INVALID_PATH`.
 */
export function routeOf(req: IncomingMessage, context: Pick<HttpContext, 'prefix' | 'limits' | 'originCheck'>): Route {
  refuseAmbiguity(req);
  context.originCheck?.check(req);
  return parseRoute(req, context);
}

/**
 * Fields of which there can be one only, by the length of their names. Of several Node keeps the first and drops the rest
 * in silence; a proxy in front may have decided by another (RFC 9112, section 3.2, has 400 for `Host`). The official Rust
 * client sends `Authorization` twice where it was given twice: who reads that field looks itself.
 */
const SINGLE_FIELDS: readonly ({ readonly usual: string; readonly lower: string } | undefined)[] = Object.assign([], {
  4: { usual: 'Host', lower: 'host' },
  12: { usual: 'Content-Type', lower: 'content-type' },
});

function refuseAmbiguity({ rawHeaders, headers, httpVersion }: IncomingMessage): void {
  const coding = headers['transfer-encoding'];
  // Node takes the chunks apart and leaves other codings where they are; HTTP/1.0 has none (RFC 9112, section 6.1).
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || httpVersion === '1.0')) {
    throw new MillraceError(
      'INVALID_REQUEST',
      'The transfer coding is none that is understood here: send chunked with HTTP/1.1, or a Content-Length.',
    );
  }
  let seen = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string;
    const single = SINGLE_FIELDS[name.length];
    if (single === undefined || (name !== single.usual && name.toLowerCase() !== single.lower)) continue;
    const mark = 1 << name.length;
    if ((seen & mark) !== 0) {
      throw new MillraceError('INVALID_REQUEST', `The request has more than one field ${name}: send one.`);
    }
    seen |= mark;
  }
}

function parseRoute(req: IncomingMessage, { prefix, limits }: Pick<HttpContext, 'prefix' | 'limits'>): Route {
  const target = requestTarget(req);
  if (target.length > limits.urlBytesMax) {
    throw new MillraceError(
      'URL_TOO_LONG',
      `The URL has ${target.length} bytes; at most ${limits.urlBytesMax} are allowed.`,
      { urlBytesMax: limits.urlBytesMax },
    );
  }
  // Not `new URL()`: it resolves `..` and would hide from the path check what the client really sent.
  const mark = target.indexOf('?', prefix.length);
  const pathname = target.slice(prefix.length, mark < 0 ? undefined : mark) || '/';
  const query = mark < 0 ? NO_QUERY : new URLSearchParams(target.slice(mark + 1));
  const method = req.method ?? 'GET';

  if (method === 'OPTIONS' && (target === '*' || target === '')) return { method, pathname, query, kind: 'server' };
  if (pathname === '/-' || pathname.startsWith('/-/')) {
    return { method, pathname, query, kind: 'millrace', name: pathname.slice(3) };
  }
  // Looked for before it is matched: this is the way of every small append.
  const reserved = pathname.includes('/__ds') ? RESERVED.exec(pathname) : null;
  if (reserved !== null) {
    return { method, pathname, query, kind: 'subscription', base: reserved[1] ?? '', rest: reserved[2] ?? '' };
  }
  const inHeader = req.headers['x-verb'];
  const verbInHeader = typeof inHeader === 'string' && inHeader !== '';
  return {
    method,
    pathname,
    query,
    kind: 'stream',
    stream: publicStreamPath(parseStreamPath(pathname)),
    verb: verbInHeader ? parseVerb(inHeader) : mark < 0 ? undefined : parseVerb(query.get('verb') ?? ''),
    verbInHeader,
    live: mark < 0 ? undefined : query.get('live')?.toLowerCase(),
  };
}

/** Shared: nobody writes to the query of a route. */
const NO_QUERY = new URLSearchParams();
const RESERVED = /^(.*?)\/__ds(?:\/(.*))?$/;

/**
 * Refuses the store's own streams, however their names were encoded: they hold keys and the state of subscriptions.
 * Errors: `INVALID_PATH`.
 */
export function publicStreamPath(path: string): string {
  if (!isReserved(path)) return path;
  throw new MillraceError('INVALID_PATH', 'The path is reserved: no stream can begin with -/ or have a segment __ds.');
}

/** Whether a path is one of the store's own, or of `/-/`: no client has to do with it. */
export function isReserved(path: string): boolean {
  if (!path.startsWith('-') && !path.includes('__ds')) return false;
  const segments = path.split('/');
  return segments[0] === '-' || segments.includes('__ds');
}

function parseVerb(name: string): StreamVerb | undefined {
  const verb = name.toLowerCase();
  if (verb === 'append' || verb === 'follow') return verb;
  if (verb === '') return undefined;
  throw new MillraceError(
    'UNKNOWN_VERB',
    'There is no such verb: use append or follow (header X-Verb or ?verb=), or leave it out for plain HTTP.',
  );
}
