import { LRUCache } from 'lru-cache';
import { type Format, unfinishedCharacter } from '../follow/index.js';
import { nextCursor } from '../wire/cursor.js';
import { OFFSET_NOW } from '../wire/offset.js';
import { encodeSseData, formatSseControl, type SseEncoding, sseEncodingOf } from '../wire/sse.js';
import type { StreamHandler } from './context.js';
import { sendLive } from './live-response.js';
import { requireOffset } from './read.js';

/** `GET ?live=sse`: what there is from an offset on, then all that comes, as events (Durable Streams, section 5.8). */
export const sse: StreamHandler = async (exchange) => {
  const { route, context, base } = exchange;
  const asked = requireOffset(route.query);
  const opened = await context.follow.open(route.stream);
  const encoding = sseEncodingOf(opened.info);
  const headers = [...base, 'Content-Type', 'text/event-stream', 'Cache-Control', 'no-cache'];
  if (encoding === 'base64') headers.push('Stream-SSE-Data-Encoding', 'base64');
  sendLive(exchange, opened, {
    headers,
    offset: asked === OFFSET_NOW ? 'tail' : asked,
    format: formatFor(encoding, route.query.get('cursor') ?? undefined),
    // The client comes back with the offset of its last control event, perhaps to a cache this time.
    durationMs: context.limits.sseConnectionMs,
    onStop: 'end',
  });
};

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
    encode(data, { offset, upToDate, closed }) {
      if (data.length === 0 && !upToDate && !closed) return data;
      const cursor = String(Math.max(cursorMin, Number(nextCursor(undefined))));
      const control = Buffer.from(formatSseControl({ nextOffset: offset, cursor, upToDate, closed }));
      return data.length === 0 ? control : Buffer.concat([encodeSseData(encoding, data), control]);
    },
  };
}
