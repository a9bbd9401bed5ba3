import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { HttpLimits } from './limits.js';

type PipelineLimits = Pick<
  HttpLimits,
  'pipelinedPerConnectionMax' | 'pipelinedMax' | 'pipelinedBytesPerConnectionMax' | 'pipelinedBytesMax'
>;

/** A connection that is not read on brings at most the rest of one read, whatever its requests say of their bodies. */
const READ_BYTES = 64 * 1024;

/** Requests of one connection that wait for their turn, and what they take. */
interface Waiting {
  count: number;
  bytes: number;
}

/**
 * Lets a request wait that came before the ones ahead of it on its connection were answered (RFC 9112, section 9.3.2):
 * what those do comes first. Node parses requests as fast as they come, and stops reading only for a client that does
 * not take its responses; so here a connection with many waiting requests, or with large ones, is not read on,
 * and all that wait, of all connections, are bounded: what one read brings can be thousands.
 */
export class Pipeline {
  readonly #limits: PipelineLimits;
  readonly #waiting = new WeakMap<Socket, Waiting>();
  #count = 0;
  #bytes = 0;

  constructor(limits: PipelineLimits) {
    this.#limits = limits;
  }

  /** Calls `start` in its turn: Node gives a response its socket then. Not at all if the connection ends before that. */
  wait(socket: Socket, req: IncomingMessage, res: ServerResponse, start: () => void): void {
    if (socket.destroyed) return;
    const bytes = waitingBytes(req);
    if (this.#count >= this.#limits.pipelinedMax || this.#bytes + bytes > this.#limits.pipelinedBytesMax) {
      // Clients that pipeline know that what was not answered was perhaps not done (RFC 9112, section 9.3.2).
      socket.destroy();
      return;
    }
    const waiting = this.#waiting.get(socket) ?? this.#watch(socket);
    this.#add(waiting, 1, bytes);
    if (this.#isFull(waiting)) stopReading(socket);
    res.once('socket', () => {
      this.#add(waiting, -1, -bytes);
      if (!this.#isFull(waiting) && socket.isPaused()) socket.resume();
      start();
    });
  }

  #watch(socket: Socket): Waiting {
    const waiting: Waiting = { count: 0, bytes: 0 };
    this.#waiting.set(socket, waiting);
    // Node goes on reading whenever a response has drained, or somebody reads a body.
    socket.on('resume', () => {
      if (this.#isFull(waiting)) stopReading(socket);
    });
    socket.once('close', () => this.#add(waiting, -waiting.count, -waiting.bytes));
    return waiting;
  }

  #add(waiting: Waiting, count: number, bytes: number): void {
    waiting.count += count;
    waiting.bytes += bytes;
    this.#count += count;
    this.#bytes += bytes;
  }

  #isFull({ count, bytes }: Waiting): boolean {
    const { pipelinedPerConnectionMax, pipelinedBytesPerConnectionMax } = this.#limits;
    return count >= pipelinedPerConnectionMax || bytes >= pipelinedBytesPerConnectionMax;
  }
}

/**
 * Node's server takes the bytes from below the stream, and stops when it hears of a pause. Of a stream that was told to go
 * on and then paused before it did it hears nothing, and goes on.
 */
function stopReading(socket: Socket): void {
  if (socket.readableFlowing === false) socket.emit('pause');
  else socket.pause();
}

/** How much of a request can be here while it waits: its head, and of its body what came with the same read. */
function waitingBytes({ headers, rawHeaders, url = '' }: IncomingMessage): number {
  let bytes = url.length;
  for (const text of rawHeaders) bytes += text.length;
  if (headers['transfer-encoding'] !== undefined) return bytes + READ_BYTES;
  const declared = headers['content-length'];
  return declared === undefined ? bytes : bytes + Math.min(Number(declared), READ_BYTES);
}
