import { MillraceError } from '../errors.js';
import { type ListOptions, type StreamInfo, streamUrlPath } from '../log/index.js';
import type { MillraceHandler } from './context.js';
import { requireMethod, sendJson } from './respond.js';

/** Most streams on one page of `/-/streams`. */
export const STREAMS_PER_PAGE_MAX = 10_000;

/** `GET /-/streams?prefix=&after=&limit=`: the streams in the order of their paths, a page at a time. */
export const listStreams: MillraceHandler = async (exchange) => {
  requireMethod(exchange, 'GET', 'HEAD');
  const { query } = exchange.route;
  const options: { -readonly [K in keyof ListOptions]: ListOptions[K] } = {};
  const prefix = query.get('prefix');
  if (prefix !== null) options.prefix = prefix;
  const after = query.get('after');
  if (after !== null) options.after = after;
  const limit = query.get('limit');
  if (limit !== null) options.limit = parseLimit(limit);
  const page = await exchange.context.store.list(options);
  sendJson(exchange, 200, {
    // The server's own are not for clients.
    streams: page.streams
      .filter(({ path }) => !path.startsWith('__ds/'))
      .map((info) => describe(info, exchange.context.prefix)),
    next: page.next ?? null,
  });
};

function parseLimit(text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > STREAMS_PER_PAGE_MAX) {
    throw new MillraceError('INVALID_REQUEST', `limit must be a whole number from 1 to ${STREAMS_PER_PAGE_MAX}.`);
  }
  return limit;
}

function describe(info: StreamInfo, prefix: string): object {
  return {
    path: info.path,
    url: prefix + streamUrlPath(info.path),
    contentType: info.contentType,
    bytes: info.tail,
    closed: info.closed,
    appender: info.appender,
    createdAt: new Date(info.createdAtMs).toISOString(),
    ...(info.ttlSeconds === undefined ? {} : { ttlSeconds: info.ttlSeconds }),
    ...(info.expiresAtMs === undefined ? {} : { expiresAt: new Date(info.expiresAtMs).toISOString() }),
  };
}
