import type { IncomingMessage } from 'node:http';
import { LRUCache } from 'lru-cache';
import { type Format, unfinishedCharacter } from '../follow/index.js';
import { nextCursor } from '../wire/cursor.js';
import { formatOffset, OFFSET_START, parseStartOffset } from '../wire/offset.js';
import {
  encodeSseData,
  formatSseControl,
  SSE_HEARTBEAT,
  SSE_TYPE,
  type SseEncoding,
  sseEncodingOf,
} from '../wire/sse.js';
import { withStateOffsets } from '../wire/state-offsets.js';
import type { StreamHandler } from './context.js';
import { admit, sendLive } from './live-response.js';
import { sendNothing } from './long-poll.js';
import { requireOffset } from './read.js';

/**
 * `GET ?live=sse`: what there is from an offset on, then all that comes, as events (Durable Streams, section 5.8).
 * An `EventSource` that comes back by itself goes on where it was, until it has all of a closed stream.
 */
export const sse: StreamHandler = async (exchange) => {
  const { req, res, route, context } = exchange;
  const last = lastEventId(req, route.query);
  const asked = last === undefined ? startOf(req, route.query) : parseStartOffset(last);
  const opened = await context.follow.open(route.stream);
  if (res.destroyed) return opened.release();
  const { info } = opened;
  const place = admit(exchange, opened, asked);
  if (last !== undefined && info.closed && (place === info.tail || place === 'tail')) {
    opened.release();
    // The only answer after which an `EventSource` does not come again (HTML, section 9.2.3).
    return sendNothing(exchange, info.id, info.tail, true);
  }
  const encoding = sseEncodingOf(info);
  sendLive(exchange, opened, {
    contentType: SSE_TYPE,
    fields: encoding === 'base64' ? ['Stream-SSE-Data-Encoding', 'base64'] : [],
    opening: Buffer.from(`retry: ${context.limits.sseRetryMs}\n\n`),
    comment: SSE_HEARTBEAT,
    start: asked,
    format: formatFor(encoding, route.query.get('cursor') ?? undefined),
    // The client comes back with the offset of its last control event, perhaps to a cache this time.
    durationMs: context.limits.sseConnectionMs,
    onStop: 'end',
  });
};

/**
 * The id of the last event that an `EventSource` got: its header, which it sends when it comes back to the same URL, or
 * what those put into the URL who cannot set a header. It knows better than `offset`, which is where it began.
 */
function lastEventId(req: IncomingMessage, query: URLSearchParams): string | undefined {
  const inHeader = req.headers['last-event-id'];
  // Empty, or left out: it has got no id yet.
  return (typeof inHeader === 'string' && inHeader) || query.get('lastEventId') || undefined;
}

/** Where a first request begins. An `EventSource` that says nothing but what it takes gets all. */
function startOf(req: IncomingMessage, query: URLSearchParams): ReturnType<typeof requireOffset> {
  const takesEvents = req.headers.accept?.includes(SSE_TYPE) === true;
  return takesEvents && !query.has('offset') ? parseStartOffset(OFFSET_START) : requireOffset(query);
}

/**
 * The format of a follower. All whose cursor is behind the clock share one; a client that has used the cursor of the
 * present interval up gets a later one, of which there are a few hundred.
 */
function formatFor(encoding: SseEncoding, echoed: string | undefined): Format {
  const cursor = nextCursor(echoed);
  const least = cursor === nextCursor(undefined) ? 0 : Number(cursor);
  const key = `${encoding} ${least}`;
  let format = formats.get(key);
  if (format === undefined) {
    format = sseFormat(encoding, least);
    formats.set(key, format);
  }
  return format;
}

const formats = new LRUCache<string, Format>({ max: 1000 });

/** The two characters of a line break in two events would be two line breaks. */
function unfinishedText(data: Uint8Array): number {
  return data[data.length - 1] === CARRIAGE_RETURN ? 1 : unfinishedCharacter(data);
}

const CARRIAGE_RETURN = 0x0d;

function sseFormat(encoding: SseEncoding, cursorMin: number): Format {
  return {
    name: `sse ${encoding}`,
    ...(encoding === 'text' ? { unfinished: unfinishedText } : {}),
    encode(data, { streamId, offset, upToDate, closed, appenderLost = false }) {
      if (data.length === 0 && !upToDate && !closed) return data;
      const cursor = String(Math.max(cursorMin, Number(nextCursor(undefined))));
      // The first event of a piece says what comes after the piece: whoever has its data has all of it.
      const id = formatOffset(offset, streamId);
      const control = { nextOffset: id, cursor, upToDate, closed, appenderLost };
      if (data.length === 0) return Buffer.from(formatSseControl(control, id));
      const shown = encoding === 'json' ? withStateOffsets(data, offset, streamId) : data;
      return Buffer.concat([encodeSseData(encoding, shown, id), Buffer.from(formatSseControl(control))]);
    },
  };
}
