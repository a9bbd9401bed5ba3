import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';

/** How long a peer may take to answer a close, once it has got it, before the connection is cut. */
export const CLOSE_TIMEOUT_MS = 5_000;

/** For `ws` itself: it would count from the moment of closing and cut off a slow reader before it has read all. */
export const WS_CLOSE_TIMEOUT_MS = 2 ** 31 - 1;

const NOTHING = Buffer.alloc(0);

/** Closes a socket properly: after all that was written, however long the peer takes to read it. */
export function closeWebSocket(ws: WebSocket, socket: Duplex, code: number, reason: string): void {
  if (ws.readyState === ws.CLOSING || ws.readyState === ws.CLOSED) return;
  ws.close(code, reason);
  // Called when the network has taken everything before it.
  socket.write(NOTHING, () => cutAfter(ws, CLOSE_TIMEOUT_MS));
}

/**
 * Calls `onEnd` as soon as the peer is on its way out: it sent a close frame or the end of its bytes, or is gone.
 * The `close` event of `ws` may come much later, when the peer has closed the connection too.
 */
export function whenPeerEnds(ws: WebSocket, socket: Duplex, onEnd: () => void): void {
  let told = false;
  const tell = () => {
    if (told) return;
    told = true;
    onEnd();
  };
  // `ws` ends our side when close frames have gone both ways.
  socket.once('finish', () => {
    cutAfter(ws, CLOSE_TIMEOUT_MS);
    tell();
  });
  socket.once('end', tell);
  ws.once('close', tell);
}

function cutAfter(ws: WebSocket, ms: number): void {
  const timer = setTimeout(() => ws.terminate(), ms);
  ws.once('close', () => clearTimeout(timer));
}
