import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { FrameRuns } from '../wire/frame-runs.js';

/**
 * Reads a WebSocket's bytes before `ws` does, and hands over runs of binary messages at once: `payloads` are those of
 * `frames` messages, one after the other. `ws` gets everything else, in its place among them, and emits it as ever.
 * Call it right after the handshake, before any byte can have come.
 */
export function readRuns(
  ws: WebSocket,
  socket: Duplex,
  payloadBytesMax: number,
  onRun: (payloads: Uint8Array, frames: number) => void,
): void {
  const receivers = socket.listeners('data') as ((bytes: Uint8Array) => void)[];
  for (const receive of receivers) socket.off('data', receive);
  const runs = new FrameRuns(payloadBytesMax, {
    onRun,
    onOther: (bytes) => {
      for (const receive of receivers) receive.call(socket, bytes);
    },
  });
  const take = (bytes: Uint8Array) => runs.take(bytes);
  socket.on('data', take);
  // `ws` reads no more after an error, but goes on emptying the socket.
  ws.once('error', () => {
    socket.off('data', take);
    socket.resume();
  });
}
