import { MillraceError } from '../errors.js';
import type { FollowEnd, FollowedStream, Following, FollowOptions } from '../follow/index.js';
import type { StreamInfo } from '../log/index.js';
import { OFFSET_NOW, offsetIn, type StartOffset } from '../wire/offset.js';
import type { Exchange, HttpContext } from './context.js';
import { chunked } from './formats.js';
import { type BodyEnd, type LiveBodyOptions, openLiveBody } from './live-body.js';

/** How a stream is sent live as the body of a response. */
export interface LiveResponse
  extends Pick<FollowOptions, 'format' | 'until' | 'graceMs'>,
    Pick<LiveBodyOptions, 'contentType' | 'fields' | 'comment'> {
  /** Where the client asks to begin. */
  readonly start: StartOffset;
  /** Sent at once, before anything else. */
  readonly opening?: Uint8Array;
  /** Ends the response properly after so long. Default: never. */
  readonly durationMs?: number;
  /** Whether trailers say why it ended. */
  readonly tellsEnd?: boolean;
  /**
   * How it ends when the server goes down, the store fails or the stream is deleted: `'end'` for formats whose readers
   * always come back; `'cut'` (default) leaves out the last chunk, so that nobody takes it for the stream's end.
   */
  readonly onStop?: 'end' | 'cut';
}

/**
 * Answers with a stream from an offset on, and everything that is appended while the response lasts. Releases `stream`.
 * Errors, before anything is sent: `TOO_MANY_FOLLOWERS`, `OFFSET_OUT_OF_RANGE`, `OFFSET_OF_ANOTHER_STREAM`.
 */
export function sendLive(exchange: Exchange, stream: FollowedStream, options: LiveResponse): void {
  const { res, context } = exchange;
  const offset = admit(exchange, stream, options.start);
  const { heartbeatIntervalMs } = context.limits;
  const fields = [...(options.fields ?? []), ...(announcesTrailers(exchange, options) ? TRAILERS : [])];
  const body = openLiveBody(exchange, { ...options, fields, heartbeatIntervalMs });

  if (options.opening !== undefined) body.comment(options.opening);
  let following: Following | undefined;
  const leave = () => {
    following?.stop();
    body.detach();
    clearTimeout(timer);
    untrack();
  };
  const finish = (reason: FollowEnd) => {
    leave();
    if (reason.kind === 'failed') context.log.warn({ err: reason.error }, 'a follower was cut off');
    // Whoever comes back from a server that goes down is not to do so on this connection.
    if (reason.kind === 'closed' || reason.kind === 'appender') body.end(trailersOf(exchange, reason, options));
    else if (options.onStop === 'end') body.end({ close: reason.kind === 'stopped' });
    else body.cut();
  };
  const timeUp = () => {
    leave();
    body.end();
  };
  const timer = options.durationMs === undefined ? undefined : setTimeout(timeUp, options.durationMs);
  const untrack = context.track({ stop: () => finish({ kind: 'stopped' }), abort: () => res.destroy() });
  res.once('close', leave);
  if (res.destroyed) {
    leave();
    stream.release();
    return;
  }
  const { until = 'closed', graceMs = 0 } = options;
  const format = body.isChunked ? chunked(options.format) : options.format;
  const sink = { write: body.write, onDrain: body.onDrain, end: finish };
  following = stream.follow({ offset, format, sink, until, graceMs });
}

/** Announces what may stand behind the body. Most clients do not look, which does them no harm. */
const TRAILERS = ['Trailer', 'Stream-Appender, Stream-Closed'] as const;

/** A body of HTTP/1.0 has no place for them. */
function announcesTrailers({ req }: Pick<Exchange, 'req'>, { tellsEnd = false }: LiveResponse): boolean {
  return tellsEnd && req.httpVersion !== '1.0';
}

function trailersOf(exchange: Exchange, reason: FollowEnd, options: LiveResponse): BodyEnd {
  if (!announcesTrailers(exchange, options)) return {};
  if (reason.kind === 'appender') return { trailers: { 'Stream-Appender': reason.lost ? 'lost' : 'left' } };
  return { trailers: { 'Stream-Closed': 'true' } };
}

/**
 * The place at which one more follower may begin. Releases the stream where it may not.
 * Errors: `TOO_MANY_FOLLOWERS`, `OFFSET_OUT_OF_RANGE`, `OFFSET_OF_ANOTHER_STREAM`.
 */
export function admit(
  { context }: Pick<Exchange, 'context'>,
  stream: FollowedStream,
  start: StartOffset,
): number | 'tail' {
  try {
    checkRoom(context);
    return placeIn(stream.info, start);
  } catch (error) {
    stream.release();
    throw error;
  }
}

/** What a client's start is in a stream. Errors: `OFFSET_OF_ANOTHER_STREAM`, `OFFSET_OUT_OF_RANGE`. */
export function placeIn(info: StreamInfo, start: StartOffset): number | 'tail' {
  if (start === OFFSET_NOW) return 'tail';
  const offset = offsetIn(start, info);
  const { tail } = info;
  if (offset <= tail) return offset;
  const message = `The offset lies beyond the stream's end at ${tail}: read from there.`;
  throw new MillraceError('OFFSET_OUT_OF_RANGE', message, { tail });
}

function checkRoom(context: HttpContext): void {
  const { followersMax } = context.limits;
  if (context.follow.usage.followers >= followersMax) {
    throw new MillraceError('TOO_MANY_FOLLOWERS', 'The server has as many followers as it may: try again later.', {
      followersMax,
    });
  }
}
