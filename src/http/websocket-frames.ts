import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { MillraceError } from '../errors.js';
import { FrameRuns } from '../wire/frame-runs.js';
import { clientAddress } from './client-address.js';
import type { HttpContext } from './context.js';
import { CLOSE_TIMEOUT_MS } from './websocket-close.js';

/** What a connection does with what its client sends. */
export interface FrameEvents {
  /** The payloads of `frames` binary messages, one after the other. Left out: `ws` emits each. */
  onRun?(payloads: Uint8Array, frames: number): void;
  /** The client has sent a close frame; `ws` answers it when `answer` is called. Left out: at once. */
  onClose?(code: number | undefined, answer: () => void): void;
  /** There was no room for a message that has come in part, or it did not go on while others waited: close the socket. */
  onRefused(error: MillraceError): void;
}

/** What is known of a connection that is read by {@link readFrames}. */
export interface FrameReading {
  /** Whether the client has stopped in the middle of a message, if it sends no more. */
  readonly isUnfinished: boolean;
  /** Whether it is not read because there is no room. */
  readonly isWaiting: boolean;
}

/**
 * Reads a WebSocket's bytes before `ws` does: messages that are not whole yet, which `ws` gathers, count against the
 * budget for what is on its way in; runs of binary messages are handed over at once; and a close frame waits until it
 * may be answered. `ws` gets everything else, in its place, and emits it as ever.
 * Call it right after the handshake, before any byte can have come.
 */
export function readFrames(
  ws: WebSocket,
  socket: Duplex & { readonly remoteAddress?: string },
  { intake: budget, limits }: Pick<HttpContext, 'intake' | 'limits'>,
  events: FrameEvents,
): FrameReading {
  const receivers = socket.listeners('data') as ((bytes: Uint8Array) => void)[];
  for (const receive of receivers) socket.off('data', receive);
  const passOn = (bytes: Uint8Array) => {
    // After the end `ws` takes no more.
    if (socket.readableEnded) return;
    for (const receive of receivers) receive.call(socket, bytes);
  };
  const runs = new FrameRuns(limits.frameBytesMax, {
    ...(events.onRun === undefined ? {} : { onRun: events.onRun }),
    onOther: passOn,
    onClose(frame, code) {
      if (events.onClose === undefined) passOn(frame);
      else events.onClose(code, () => passOn(frame));
    },
  });
  const intake = budget.open(
    {
      onFull(full) {
        if (full) socket.pause();
        else if (!ws.isPaused) socket.resume();
      },
      onRefused(error) {
        over = true;
        refused = true;
        intake.close();
        events.onRefused(error);
        // `ws` has what it gathered for as long as the connection lives, and that is not counted any more.
        const timer = setTimeout(() => ws.terminate(), CLOSE_TIMEOUT_MS);
        ws.once('close', () => clearTimeout(timer));
      },
    },
    clientAddress(socket),
  );
  let over = false;
  let refused = false;
  let held = 0;
  const take = (bytes: Uint8Array) => {
    // Else `ws` would go on gathering what was refused. It is read all the same, so that the client sees the answer.
    if (refused) return;
    runs.take(bytes);
    const { unfinishedBytes } = runs;
    if (over || unfinishedBytes === held) return;
    if (unfinishedBytes < held) {
      intake.close();
      held = 0;
    }
    if (unfinishedBytes > held) {
      intake.expect(runs.expectedBytes);
      intake.take(unfinishedBytes - held);
      held = unfinishedBytes;
    }
  };
  socket.on('data', take);
  // Whoever paused it for a reason of its own does not know of this one.
  socket.on('resume', () => {
    if (intake.isWaiting) socket.pause();
  });
  socket.once('close', () => {
    over = true;
    intake.close();
  });
  // `ws` reads no more after an error, but goes on emptying the socket.
  ws.once('error', () => {
    socket.off('data', take);
    over = true;
    intake.close();
    socket.resume();
  });
  return {
    get isUnfinished() {
      return runs.isUnfinished;
    },
    get isWaiting() {
      return intake.isWaiting;
    },
  };
}
