import type { IncomingMessage, ServerResponse } from 'node:http';
import { isMillraceError, MillraceError } from '../errors.js';
import type { ReadResult, Store, StreamInfo } from '../log/store.js';
import { jsonArrayOf, jsonArrayPart } from '../wire/json.js';
import {
  OFFSET_NOW,
  OFFSET_START,
  type OffsetToken,
  offsetIn,
  parseStartOffset,
  type StartOffset,
} from '../wire/offset.js';
import { withStateOffsets } from '../wire/state-offsets.js';
import type { Exchange, StreamHandler } from './context.js';
import { drained } from './drained.js';
import type { StreamRoute } from './route.js';
import { type Fields, positionFields, sandboxFields, typeFields } from './stream-fields.js';
import { isNotModified, validatorFields, validatorsOf } from './validators.js';

/** Seconds that a cache may keep an answer with data, and serve it while it asks for a newer one (section 10.1). */
const CACHE_SECONDS_MAX = 60;
const STALE_SECONDS = 300;

/** `GET`: what there is from an offset on (Durable Streams, section 5.6). */
export const read: StreamHandler = async (exchange) => {
  const { req, res, route, context, base } = exchange;
  const asked = startOffset(route.query) ?? parseStartOffset(OFFSET_START);
  const { store, limits } = context;
  if (asked === OFFSET_NOW) {
    const info = await readTail(store, route.stream);
    const body = bodyOf(info, EMPTY, info.tail);
    res.writeHead(200, [
      ...base,
      ...positionFields(info.id, { offset: info.tail, upToDate: true, closed: info.closed }),
      'Cache-Control',
      'no-store',
      ...contentFields(res, info, body),
    ]);
    res.end(body);
    return;
  }
  const first = await readFrom(store, route.stream, asked, limits.readBytesMax);
  const { info } = first;
  const start = asked.offset;
  // All of it in any case: clients that only catch up, the official ones among them, ask once. What is more than one
  // piece is sent piece by piece, in constant memory.
  const range: Range = { info, start, next: info.tail, data: first.data, upToDate: true, closed: info.closed };
  if (isNotModified(req, validatorsOf(info, start, range.next))) {
    res.writeHead(304, [...rangeFields(exchange, range), ...sandboxFields(res, info.contentType)]).end();
    return;
  }
  if (first.next < info.tail) {
    await sendPieces(exchange, range, first.next);
    return;
  }
  const body = bodyOf(info, first.data, first.next);
  res.writeHead(200, [...rangeFields(exchange, range), ...contentFields(res, info, body)]);
  res.end(body);
};

/** Sends a range of which only the beginning, up to `from`, has been read. */
async function sendPieces(exchange: Exchange<StreamRoute>, range: Range, from: number): Promise<void> {
  const { res, context } = exchange;
  const { info, start, next: to } = range;
  const fields = [...rangeFields(exchange, range), ...typeFields(res, info.contentType)];
  if (!info.json) fields.push('Content-Length', String(to - start));
  res.writeHead(200, fields);
  const gone = new AbortController();
  res.once('close', () => gone.abort());
  const { path, id } = info;
  let hasMessages = false;
  let at = start;
  const write = (data: Uint8Array) => {
    if (!info.json) return res.write(data);
    at += data.length;
    const part = jsonArrayPart(withStateOffsets(data, at, id), hasMessages);
    hasMessages ||= part.length > 0;
    return res.write(part);
  };
  try {
    if (info.json) res.write('[');
    write(range.data);
    const sink = { write, drained: () => drained(res) };
    await context.follow.copy({ path, id, from, to }, sink, gone.signal);
    res.end(info.json ? ']' : undefined);
  } catch (error) {
    if (gone.signal.aborted) return;
    context.log.warn({ err: error, path }, 'a response was cut off in the middle');
    res.destroy();
  }
}

/** A piece of a stream as it goes to a reader. */
export interface Range {
  readonly info: StreamInfo;
  readonly start: number;
  /** The offset after `data`. */
  readonly next: number;
  readonly data: Uint8Array;
  /** Whether it ends at the tail. */
  readonly upToDate: boolean;
  /** Whether it ends at the tail of a closed stream. */
  readonly closed: boolean;
}

/** What the store has read, as a range. */
export function rangeOf(start: number, { data, next, info }: ReadResult): Range {
  const upToDate = next >= info.tail;
  return { info, start, next, data, upToDate, closed: upToDate && info.closed };
}

/** The `offset` of a request, if there is one. Errors: `INVALID_OFFSET` (also for an empty or repeated one). */
export function startOffset(query: URLSearchParams): StartOffset | undefined {
  const tokens = query.getAll('offset');
  if (tokens.length === 0) return undefined;
  if (tokens.length > 1) throw new MillraceError('INVALID_OFFSET', 'There is more than one offset: send one.');
  return parseStartOffset(tokens[0] as string);
}

/** The `offset` of a live request. Errors: `INVALID_OFFSET`, `INVALID_REQUEST` where there is none. */
export function requireOffset(query: URLSearchParams): StartOffset {
  const start = startOffset(query);
  if (start !== undefined) return start;
  throw new MillraceError(
    'INVALID_REQUEST',
    `A live read needs an offset: add offset=${OFFSET_START} for all, or offset=${OFFSET_NOW} for what is new.`,
  );
}

/**
 * Reads from the place that a token names.
 * Errors: those of `Store.read`, and before them `OFFSET_OF_ANOTHER_STREAM`.
 */
export async function readFrom(store: Store, path: string, from: OffsetToken, maxBytes: number): Promise<ReadResult> {
  try {
    const result = await store.read(path, from.offset, { maxBytes });
    offsetIn(from, result.info);
    return result;
  } catch (error) {
    // Too large an offset, maybe because it is one of a longer stream.
    if (isMillraceError(error, 'OFFSET_OUT_OF_RANGE')) offsetIn(from, await store.stat(path));
    throw error;
  }
}

/** The stream's tail and state, as a read: unlike `stat` it counts as use, so that the stream does not expire. */
export async function readTail(store: Store, path: string): Promise<StreamInfo> {
  const { tail } = await store.stat(path);
  return (await store.read(path, tail, { maxBytes: 1 })).info;
}

/** What a reader gets of the stream's bytes up to `next`: a JSON stream is an array of its messages. */
export function bodyOf(info: StreamInfo, data: Uint8Array, next: number): Uint8Array {
  return info.json ? jsonArrayOf(withStateOffsets(data, next, info.id)) : data;
}

/** Fields of an answer with a body. */
export function contentFields(res: ServerResponse, info: StreamInfo, body: Uint8Array): Fields {
  return [...typeFields(res, info.contentType), 'Content-Length', String(body.length)];
}

/** Fields that a range of a stream has in every answer, also in one without a body. */
export function rangeFields({ req, base }: Pick<Exchange, 'req' | 'base'>, range: Range): Fields {
  return [
    ...base,
    ...positionFields(range.info.id, { offset: range.next, upToDate: range.upToDate, closed: range.closed }),
    ...validatorFields(validatorsOf(range.info, range.start, range.next)),
    'Cache-Control',
    cacheControl(req, range),
  ];
}

/**
 * Bytes at an offset never change, so an answer that holds some may be kept for a while, but not beyond the life of
 * the stream. An empty one from an open stream would hide the next append.
 */
function cacheControl(req: IncomingMessage, { data, info, closed }: Range): string {
  if (data.length === 0 && !closed) return 'no-cache';
  const { authorization, cookie } = req.headers;
  const scope = authorization === undefined && cookie === undefined ? 'public' : 'private';
  let lifeSeconds = info.ttlSeconds ?? Number.POSITIVE_INFINITY;
  if (info.expiresAtMs !== undefined) lifeSeconds = Math.max(0, Math.floor((info.expiresAtMs - Date.now()) / 1000));
  const seconds = Math.min(CACHE_SECONDS_MAX, lifeSeconds);
  if (lifeSeconds < CACHE_SECONDS_MAX + STALE_SECONDS) return `${scope}, max-age=${seconds}`;
  return `${scope}, max-age=${seconds}, stale-while-revalidate=${STALE_SECONDS}`;
}

const EMPTY = new Uint8Array(0);
