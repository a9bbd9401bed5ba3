import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Fields } from './stream-fields.js';

/**
 * The header fields that every response begins with, and those of a preflight: what browsers have to know. This is
 * their one home. Streams are data, never pages of this origin: no sniffing; any site may read them (the Durable Streams
 * protocol asks for both, "Browser Security Headers").
 *
 * A mounted handler answers on a response that the application may have written to: what it decided stays.
 */

/** For any request. */
const EVERYWHERE: readonly string[] = ['X-Content-Type-Options', 'nosniff'];

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

/** Where pages of every origin may read. */
const ANY_ORIGIN = [...EVERYWHERE, 'Cross-Origin-Resource-Policy', 'cross-origin'];
const ANY_ORIGIN_READS = [...ANY_ORIGIN, 'Access-Control-Allow-Origin', '*', ...EXPOSED];

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
export function baseFields(req: IncomingMessage, res: ServerResponse): readonly string[] {
  const { method, headers } = req;
  // Without `Origin` nobody looks at the rest, unless a cache gives the answer to somebody who does.
  const isRead = method === 'GET' || method === 'HEAD';
  return besideThoseOf(res, headers.origin === undefined && !isRead ? ANY_ORIGIN : ANY_ORIGIN_READS);
}

/**
 * The fields of the answer to a CORS preflight: whatever headers it asks for are granted. A header that means nothing
 * here does no harm, and proxies, tracers and applications add their own.
 */
export function preflightFields(req: IncomingMessage, res: ServerResponse): readonly string[] {
  const asked = req.headers['access-control-request-headers'];
  return besideThoseOf(res, [
    ...ANY_ORIGIN_READS,
    'Access-Control-Allow-Methods',
    'GET, HEAD, PUT, POST, DELETE, OPTIONS',
    'Access-Control-Allow-Headers',
    isHeaderList(asked) ? asked : KNOWN_REQUEST_HEADERS,
    'Access-Control-Max-Age',
    '86400',
    'Vary',
    'Access-Control-Request-Headers',
  ]);
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
