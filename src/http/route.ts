import type { IncomingMessage } from 'node:http';
import { MillraceError } from '../errors.js';
import { parseStreamPath } from '../log/index.js';
import type { HttpLimits } from './limits.js';

/** The verbs of the seed, beside HTTP's own methods. */
export type StreamVerb = 'append' | 'follow';

/** What a request asks for: its URL and verb, parsed and checked once. */
export type Route = StreamRoute | MillraceRoute | SubscriptionRoute;

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

/** Path and query as the server got them: a framework that mounts us may have shortened `req.url`. */
export function requestTarget(req: IncomingMessage): string {
  const target = (req as IncomingMessage & { originalUrl?: string }).originalUrl ?? req.url ?? '/';
  // A proxy may ask with the whole URL (RFC 9112, section 3.2.2).
  return target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/?]*/i, '');
}

/** Whether a request target lies below the prefix (`''` holds everything). */
export function isUnderPrefix(target: string, prefix: string): boolean {
  // Whatever it is, `*` too: without a prefix there is nobody else to answer it.
  if (prefix === '') return true;
  if (!target.startsWith(prefix)) return false;
  const next = target[prefix.length];
  return next === '/' || next === undefined || next === '?';
}

/** Whether a request is for a handler that is mounted at this prefix. */
export function isBelow(req: IncomingMessage, prefix: string): boolean {
  return isUnderPrefix(requestTarget(req), prefix);
}

/**
 * Parses method and URL. The target must lie below the prefix.
 * Errors: `URL_TOO_LONG`, `UNKNOWN_VERB`, `INVALID_PATH`.
 */
export function parseRoute(req: IncomingMessage, prefix: string, limits: HttpLimits): Route {
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
  if (!path.startsWith('-') && !path.includes('__ds')) return path;
  const segments = path.split('/');
  if (segments[0] !== '-' && !segments.includes('__ds')) return path;
  throw new MillraceError('INVALID_PATH', 'The path is reserved: no stream can begin with -/ or have a segment __ds.');
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
