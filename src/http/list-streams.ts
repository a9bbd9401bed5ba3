import { MillraceError } from '../errors.js';
import { type ListedStream, type ListOptions, type Store, type StreamPage, streamUrlPath } from '../log/index.js';
import { SLICE_BYTES, turnBudget } from '../turn-budget.js';
import { formatOffset } from '../wire/offset.js';
import type { MillraceHandler } from './context.js';
import { requireMethod, sendJsonText } from './respond.js';
import { isReserved } from './route.js';

/** Streams on a page of `/-/streams` for which the client named no number. */
export const STREAMS_PER_PAGE_DEFAULT = 1000;
/** Most streams on one page. */
export const STREAMS_PER_PAGE_MAX = 10_000;
/** How many of them are described in one slice. */
const SLICE_STREAMS = 256;

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
  const { store, prefix: mountedAt } = exchange.context;
  const { streams, next = null } = await listPublic(store, options);
  const described: string[] = [];
  for (const [at, info] of streams.entries()) {
    if (at % SLICE_STREAMS === SLICE_STREAMS - 1) await turnBudget.take(SLICE_BYTES);
    described.push(JSON.stringify(describe(info, mountedAt)));
  }
  sendJsonText(exchange, 200, `{"streams":[${described.join(',')}],"next":${JSON.stringify(next)}}`);
};

/** A page of what clients may know of: it is full of such as long as there are, and none of the others ends it. */
async function listPublic(store: Store, options: ListOptions): Promise<StreamPage> {
  const { limit = STREAMS_PER_PAGE_DEFAULT } = options;
  const streams: ListedStream[] = [];
  let { after = '' } = options;
  for (;;) {
    const page = await store.list({ ...options, after, limit: limit - streams.length });
    streams.push(...page.streams.filter(({ path }) => !isReserved(path)));
    if (page.next === undefined) return { streams };
    if (streams.length >= limit) return { streams, next: page.next };
    after = page.next;
  }
}

function parseLimit(text: string): number {
  const limit = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > STREAMS_PER_PAGE_MAX) {
    throw new MillraceError('INVALID_REQUEST', `limit must be a whole number from 1 to ${STREAMS_PER_PAGE_MAX}.`);
  }
  return limit;
}

function describe(info: ListedStream, prefix: string): object {
  return {
    path: info.path,
    url: prefix + streamUrlPath(info.path),
    contentType: info.contentType,
    bytes: info.tail,
    nextOffset: formatOffset(info.tail, info.id),
    closed: info.closed,
    appender: info.appender,
    ...(info.lastAppender === undefined ? {} : { lastAppender: info.lastAppender }),
    createdAt: new Date(info.createdAtMs).toISOString(),
    ...(info.ttlSeconds === undefined ? {} : { ttlSeconds: info.ttlSeconds }),
    ...(info.expiresAtMs === undefined ? {} : { expiresAt: new Date(info.expiresAtMs).toISOString() }),
  };
}
