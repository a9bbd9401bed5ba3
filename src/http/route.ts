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

/** The request target as the server got it: a framework that mounts us may have shortened `req.url`. */
export function requestTarget(req: IncomingMessage): string {
  return (req as IncomingMessage & { originalUrl?: string }).originalUrl ?? req.url ?? '/';
}

/** Whether a request target lies below the prefix (`''` holds everything). */
export function isUnderPrefix(target: string, prefix: string): boolean {
  if (!target.startsWith(prefix)) return false;
  const next = target[prefix.length];
  return next === '/' || (prefix !== '' && (next === undefined || next === '?'));
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
  const below = target.slice(prefix.length);
  const mark = below.indexOf('?');
  const pathname = (mark < 0 ? below : below.slice(0, mark)) || '/';
  const query = new URLSearchParams(mark < 0 ? '' : below.slice(mark + 1));
  const parts: Target = { method: req.method ?? 'GET', pathname, query };

  if (pathname === '/-' || pathname.startsWith('/-/')) {
    return { ...parts, kind: 'millrace', name: pathname.slice(3) };
  }
  const reserved = pathname.match(/^(.*?)\/__ds(?:\/(.*))?$/);
  if (reserved !== null) {
    return { ...parts, kind: 'subscription', base: reserved[1] ?? '', rest: reserved[2] ?? '' };
  }
  const inHeader = req.headers['x-verb'];
  const named = (typeof inHeader === 'string' && inHeader !== '' ? inHeader : query.get('verb')) ?? '';
  return {
    ...parts,
    kind: 'stream',
    stream: publicStreamPath(parseStreamPath(pathname)),
    verb: parseVerb(named),
    verbInHeader: typeof inHeader === 'string' && inHeader !== '',
    live: query.get('live')?.toLowerCase(),
  };
}

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
