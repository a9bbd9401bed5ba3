import type { IncomingMessage, ServerResponse } from 'node:http';
import type { OriginCheck } from './origin-check.js';
import type { Fields } from './stream-fields.js';

/**
 * The header fields that every response begins with, and those of a preflight: what browsers have to know. This is
 * their one home. Streams are data, never pages of this origin: no sniffing; any site may read them (the Durable Streams
 * protocol asks for both, "Browser Security Headers").
 *
 * A mounted handler answers on a response that the application may have written to: what it decided stays.
 */

/** The methods of a stream, as fields list them. */
export const STREAM_METHODS = 'GET, HEAD, PUT, POST, DELETE, OPTIONS';

const NO_SNIFFING: readonly string[] = ['X-Content-Type-Options', 'nosniff'];

/** What pages may see of a response, besides its body. */
const EXPOSED: readonly string[] = [
  'Access-Control-Expose-Headers',
  [
    'Content-Range',
    'ETag',
    'Location',
    'Producer-Epoch',
    'Producer-Seq',
    'Producer-Expected-Seq',
    'Producer-Received-Seq',
    'Retry-After',
    'Stream-Appender',
    'Stream-Closed',
    'Stream-Cursor',
    'Stream-End',
    'Stream-Expires-At',
    'Stream-Fork-Offset',
    'Stream-Fork-Sub-Offset',
    'Stream-Forked-From',
    'Stream-Next-Offset',
    'Stream-SSE-Data-Encoding',
    'Stream-TTL',
    'Stream-Up-To-Date',
  ].join(', '),
];

/** Where pages of every origin may come: the same for all, so that caches keep one answer. */
const ANY_ORIGIN = [...NO_SNIFFING, 'Cross-Origin-Resource-Policy', 'cross-origin'];
const ANY_ORIGIN_READS = [...ANY_ORIGIN, 'Access-Control-Allow-Origin', '*', ...EXPOSED];

/**
 * Where only some may come. What they load without asking for the right to read it (an image, a script) carries no
 * `Origin` that could be checked: the browser keeps it from pages of other sites.
 */
const SOME_ORIGINS = [...NO_SNIFFING, 'Cross-Origin-Resource-Policy', 'same-site'];
const SOME_ORIGINS_READ = [...SOME_ORIGINS, 'Vary', 'Origin'];

/** Longest `Access-Control-Request-Headers` that is granted as it is. */
const REQUEST_HEADERS_LENGTH_MAX = 4096;

/** Request headers that somebody here reads: what a preflight is told that does not say what it wants. */
const KNOWN_REQUEST_HEADERS = [
  'Authorization',
  'Cache-Control',
  'Content-Type',
  'If-Modified-Since',
  'If-None-Match',
  'If-Range',
  'Last-Event-ID',
  'Producer-Epoch',
  'Producer-Id',
  'Producer-Seq',
  'Range',
  'Stream-Closed',
  'Stream-Expires-At',
  'Stream-Fork-Offset',
  'Stream-Fork-Sub-Offset',
  'Stream-Forked-From',
  'Stream-Seq',
  'Stream-TTL',
  'X-Verb',
].join(', ');

/** The fields with which the response to a request begins: name, value, name, value. Shared: not to be written to. */
export function baseFields(
  req: IncomingMessage,
  res: ServerResponse,
  check: OriginCheck | undefined,
): readonly string[] {
  return besideThoseOf(res, ownFields(req, check));
}

function ownFields(req: IncomingMessage, check: OriginCheck | undefined): readonly string[] {
  const { method, headers } = req;
  const { origin } = headers;
  const anyOrigin = check === undefined || check.anyOrigin;
  // Without `Origin` nobody looks at the rest, unless a cache gives the answer to somebody who does.
  if (origin === undefined && method !== 'GET' && method !== 'HEAD') return anyOrigin ? ANY_ORIGIN : SOME_ORIGINS;
  if (anyOrigin) return ANY_ORIGIN_READS;
  if (origin === undefined || !check.allows(origin, req)) return SOME_ORIGINS_READ;
  return [...SOME_ORIGINS_READ, 'Access-Control-Allow-Origin', origin, ...EXPOSED];
}

/**
 * The fields of the answer to a CORS preflight: whatever headers it asks for are granted. A header that means nothing
 * here does no harm, and proxies, tracers and applications add their own. A page that may not ask is told the same, but
 * for `Access-Control-Allow-Origin`, without which its browser goes no further.
 */
export function preflightFields(req: IncomingMessage, res: ServerResponse, check: OriginCheck | undefined): Fields {
  const asked = req.headers['access-control-request-headers'];
  return [
    ...besideThoseOf(res, [
      ...varyingBy(ownFields(req, check), 'Access-Control-Request-Headers'),
      'Access-Control-Allow-Methods',
      STREAM_METHODS,
      'Access-Control-Allow-Headers',
      isHeaderList(asked) ? asked : KNOWN_REQUEST_HEADERS,
      'Access-Control-Max-Age',
      '86400',
    ]),
  ];
}

/** The same fields, with one more name in `Vary`: of two such fields Node would write one. */
function varyingBy(fields: readonly string[], name: string): Fields {
  const at = fields.indexOf('Vary') + 1;
  return at === 0 ? [...fields, 'Vary', name] : fields.with(at, `${fields[at]}, ${name}`);
}

// Names are tokens (RFC 9110, section 5.6.2).
const HEADER_LIST = /^[!#$%&'*+\-.^_`|~0-9A-Za-z, \t]+$/;

function isHeaderList(text: string | undefined): text is string {
  return text !== undefined && text.length <= REQUEST_HEADERS_LENGTH_MAX && HEADER_LIST.test(text);
}

/** Our fields, without those that the application in front has set on the response. `Vary` gets both. */
function besideThoseOf(res: ServerResponse, fields: readonly string[]): readonly string[] {
  if (res.getHeaderNames().length === 0) return fields;
  // Who varies by origin has decided about this one, also where that means to set nothing.
  const decidesOnOrigins =
    res.hasHeader('Access-Control-Allow-Origin') ||
    res.hasHeader('Access-Control-Allow-Credentials') ||
    varies(res, 'Origin');
  const ours: Fields = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] as string;
    const value = fields[at + 1] as string;
    if (name === 'Vary') {
      ours.push(name, [...listOf(res, name), ...value.split(', ').filter((each) => !varies(res, each))].join(', '));
    } else if (name === 'Access-Control-Allow-Origin' ? !decidesOnOrigins : !res.hasHeader(name)) {
      ours.push(name, value);
    }
  }
  return ours;
}

function varies(res: ServerResponse, name: string): boolean {
  return listOf(res, 'Vary').some((each) => each === '*' || each.toLowerCase() === name.toLowerCase());
}

function listOf(res: ServerResponse, name: string): string[] {
  const value = res.getHeader(name);
  if (value === undefined) return [];
  return String(value)
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
}
