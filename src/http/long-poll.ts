import type { After, FollowEnd, FollowedStream, Following, Format } from '../follow/index.js';
import { nextCursor } from '../wire/cursor.js';
import { jsonArrayOf } from '../wire/json.js';
import { OFFSET_NOW } from '../wire/offset.js';
import { withStateOffsets } from '../wire/state-offsets.js';
import type { Exchange, StreamHandler } from './context.js';
import { admit } from './live-response.js';
import { sendProblem } from './problem.js';
import { bodyOf, contentFields, type Range, rangeFields, rangeOf, readFrom, requireOffset } from './read.js';
import type { StreamRoute } from './route.js';
import { positionFields } from './stream-fields.js';
import { streamGone } from './stream-gone.js';

/**
 * `GET ?live=long-poll`: what there is from an offset on, or the next that comes (Durable Streams, section 5.7).
 * Whoever waits is a follower like any other, with a sink that takes one piece.
 */
export const longPoll: StreamHandler = async (exchange) => {
  const { res, route, context } = exchange;
  const asked = requireOffset(route.query);
  if (asked !== OFFSET_NOW) {
    const result = await readFrom(context.store, route.stream, asked, context.limits.readBytesMax);
    const range = rangeOf(asked.offset, result);
    if (range.data.length > 0) return sendData(exchange, range, bodyOf(range.info, range.data, range.next));
    if (range.closed) return sendNothing(exchange, range.info.id, range.next, true);
  }
  const opened = await context.follow.open(route.stream);
  if (res.destroyed) return opened.release();
  const { id, tail, closed } = opened.info;
  if (closed && asked === OFFSET_NOW) {
    opened.release();
    return sendNothing(exchange, id, tail, true);
  }
  const place = admit(exchange, opened, asked);
  const start = place === 'tail' ? tail : place;
  waitForData(exchange, opened, start);
};

/** Follows from `start`, for one piece or until the time is over. */
function waitForData(exchange: Exchange<StreamRoute>, opened: FollowedStream, start: number): void {
  const { req, res, context } = exchange;
  const { info } = opened;
  // Its own time is what counts, not that of an idle connection.
  req.setTimeout(0);
  let following: Following | undefined;
  let over = false;
  const finish = (answer: () => void) => {
    if (over) return;
    over = true;
    clearTimeout(timeout);
    untrack();
    following?.stop();
    if (!res.destroyed) answer();
  };
  const timeUp = () => finish(() => sendNothing(exchange, info.id, start, false));
  const timeout = setTimeout(timeUp, context.limits.longPollTimeoutMs);
  const untrack = context.track({ stop: timeUp, abort: () => res.destroy() });
  res.once('close', () => finish(() => {}));
  const sink = {
    onDrain() {},
    write(bytes: Buffer) {
      const { offset, upToDate, closed, body } = readFrame(bytes);
      finish(() => {
        if (offset === start) sendNothing(exchange, info.id, start, closed);
        else sendData(exchange, { info, start, next: offset, data: body, upToDate, closed }, body);
      });
      return false;
    },
    end(reason: FollowEnd) {
      finish(() => {
        if (reason.kind === 'deleted') sendProblem(exchange, streamGone());
        else if (reason.kind === 'failed') sendProblem(exchange, reason.error);
        else sendNothing(exchange, info.id, start, reason.kind === 'closed');
      });
    },
  };
  following = opened.follow({ offset: start, format: info.json ? jsonFrames : byteFrames, sink });
  // The first write may have come before `follow` returned, and found nothing to stop.
  if (over) following.stop();
}

function sendData(exchange: Exchange<StreamRoute>, range: Range, body: Uint8Array): void {
  const { res, route } = exchange;
  const fields = rangeFields(exchange, range);
  if (!range.closed) fields.push('Stream-Cursor', nextCursor(route.query.get('cursor') ?? undefined));
  res.writeHead(200, [...fields, ...contentFields(res, range.info, body)]);
  res.end(body);
}

/** That there is nothing at `offset`, now or (`closed`) for good. */
export function sendNothing(
  { res, route, base }: Exchange<StreamRoute>,
  streamId: string,
  offset: number,
  closed: boolean,
): void {
  const position = positionFields(streamId, { offset, upToDate: true, closed });
  const fields = [...base, ...position, 'Cache-Control', 'no-store'];
  if (!closed) fields.push('Stream-Cursor', nextCursor(route.query.get('cursor') ?? undefined));
  res.writeHead(204, fields).end();
}

/**
 * What a waiting request is told through the follow engine: where it stands then, and the body of its response, made
 * once for all that wait. Layout: the offset (8 bytes), flags (1 byte), the body.
 */
const FRAME_HEAD_BYTES = 9;
const UP_TO_DATE = 1;
const CLOSED = 2;

const byteFrames: Format = { name: 'long-poll bytes', encode: (data, after) => frame(data, data.length > 0, after) };
const jsonFrames: Format = {
  name: 'long-poll JSON',
  encode(data, after) {
    if (data.length === 0) return frame(data, false, after);
    return frame(jsonArrayOf(withStateOffsets(data, after.offset, after.streamId)), true, after);
  },
};

function frame(body: Uint8Array, hasData: boolean, after: After): Uint8Array {
  // That the reader is up to date is no news to one who waits at the tail.
  if (!hasData && !after.closed) return NOTHING;
  const bytes = Buffer.allocUnsafe(FRAME_HEAD_BYTES + body.length);
  bytes.writeDoubleBE(after.offset, 0);
  bytes[8] = (after.upToDate ? UP_TO_DATE : 0) | (after.closed ? CLOSED : 0);
  bytes.set(body, FRAME_HEAD_BYTES);
  return bytes;
}

function readFrame(bytes: Buffer): { offset: number; upToDate: boolean; closed: boolean; body: Buffer } {
  const flags = bytes[8] as number;
  return {
    offset: bytes.readDoubleBE(0),
    upToDate: (flags & UP_TO_DATE) !== 0,
    closed: (flags & CLOSED) !== 0,
    body: bytes.subarray(FRAME_HEAD_BYTES),
  };
}

const NOTHING = Buffer.alloc(0);
