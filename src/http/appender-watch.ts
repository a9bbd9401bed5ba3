import { MillraceError } from '../errors.js';
import { beatEach, type Receiving } from './heartbeat.js';
import type { HttpLimits } from './limits.js';

/** What there is to be known of an appender's connection. */
export interface WatchedAppender {
  /** Its connection, which counts what came over it. */
  readonly socket: Receiving;
  /** Whether it is not read now: then its silence says nothing. */
  isPaused(): boolean;
  /** Whether it stopped in the middle of a message, or of a body of known length, if it sends no more. */
  isUnfinished(): boolean;
  /** It is to lose its stream. */
  onGone(error: MillraceError): void;
}

/**
 * An appender has its stream to itself, so one that is gone must not keep it for as long as its TCP connection lives.
 * It is taken for gone when nothing has come from it for `appenderStallMs` in the middle of what it was sending, or,
 * between messages, for `appenderSilenceMs`: answers to pings count, so whoever gives them may be idle for ever.
 * Answers with the way to stop.
 */
export function watchAppender(limits: HttpLimits, appender: WatchedAppender): () => void {
  const { heartbeatIntervalMs, appenderStallMs, appenderSilenceMs } = limits;
  const { socket } = appender;
  const intervalMs = Math.min(heartbeatIntervalMs, appenderStallMs, appenderSilenceMs);
  let received = socket.bytesRead;
  let silentMs = 0;
  const stop = beatEach(intervalMs, () => {
    if (socket.bytesRead !== received || appender.isPaused()) {
      received = socket.bytesRead;
      silentMs = 0;
      return;
    }
    silentMs += intervalMs;
    const unfinished = silentMs >= appenderStallMs && appender.isUnfinished();
    if (!unfinished && silentMs < appenderSilenceMs) return;
    stop();
    appender.onGone(
      new MillraceError(
        'APPENDER_STALLED',
        unfinished
          ? 'What was sent stopped in the middle: the stream is free again, and what was whole is appended.'
          : 'Nothing was heard of the appender for too long: the stream is free again.',
      ),
    );
  });
  return stop;
}
