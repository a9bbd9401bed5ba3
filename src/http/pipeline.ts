import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Requests of one connection that wait for their turn. */
interface Waiting {
  count: number;
}

/**
 * Lets a request wait that came before the ones ahead of it on its connection were answered (RFC 9112, section 9.3.2):
 * what those do comes first. Node parses requests as fast as they come, and stops reading only for a client that does
 * not take its responses; so here a connection with many waiting requests is not read on, and all that wait, of all
 * connections, are bounded: what one read brings can be thousands.
 */
export class Pipeline {
  readonly #perConnectionMax: number;
  readonly #max: number;
  readonly #waiting = new WeakMap<Socket, Waiting>();
  #count = 0;

  constructor(limits: { readonly pipelinedPerConnectionMax: number; readonly pipelinedMax: number }) {
    this.#perConnectionMax = limits.pipelinedPerConnectionMax;
    this.#max = limits.pipelinedMax;
  }

  /** Calls `start` in its turn: Node gives a response its socket then. Not at all if the connection ends before that. */
  wait(socket: Socket, res: ServerResponse, start: () => void): void {
    if (socket.destroyed) return;
    if (this.#count >= this.#max) {
      // Clients that pipeline know that what was not answered was perhaps not done (RFC 9112, section 9.3.2).
      socket.destroy();
      return;
    }
    const waiting = this.#waiting.get(socket) ?? this.#watch(socket);
    this.#count++;
    waiting.count++;
    if (waiting.count >= this.#perConnectionMax) socket.pause();
    res.once('socket', () => {
      this.#count--;
      waiting.count--;
      if (waiting.count < this.#perConnectionMax && socket.isPaused()) socket.resume();
      start();
    });
  }

  #watch(socket: Socket): Waiting {
    const waiting: Waiting = { count: 0 };
    this.#waiting.set(socket, waiting);
    // Node goes on reading whenever a response has drained, or somebody reads a body.
    socket.on('resume', () => {
      if (waiting.count >= this.#perConnectionMax) socket.pause();
    });
    socket.once('close', () => {
      this.#count -= waiting.count;
      waiting.count = 0;
    });
    return waiting;
  }
}
