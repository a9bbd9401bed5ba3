import { once } from 'node:events';
import { WebSocket } from 'ws';
import { combineSignals } from '../../src/signals.js';

interface ServerMessage {
  readonly type: 'welcome' | 'ack' | 'error';
  readonly offset: string;
  readonly seq: number;
  readonly closed?: boolean;
}

/** An appender over WebSocket with acknowledgements. */
export class WebSocketSession {
  readonly #socket: WebSocket;
  readonly #messages: ServerMessage[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly #closed: Promise<unknown>;
  #sent = 0;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    this.#closed = once(socket, 'close', { signal: combineSignals([], 20_000).signal });
    socket.on('message', (data) => {
      this.#messages.push(JSON.parse(String(data)) as ServerMessage);
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  /** Resolves with the session, or with the status of the refusal. */
  static open(url: string): Promise<WebSocketSession | number> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url.replace('http', 'ws'), 'millrace.append.v1');
      const session = new WebSocketSession(socket);
      session.#closed.catch(() => {});
      socket.on('open', () => resolve(session));
      socket.on('unexpected-response', (_req, res) => {
        res.resume();
        res.on('end', () => resolve(res.statusCode ?? 0));
      });
      socket.on('error', reject);
    });
  }

  send(data: string): void {
    this.#sent++;
    this.#socket.send(Buffer.from(data));
  }

  /** Resolves with the offset once everything that was sent is durable. */
  async acknowledged(): Promise<number> {
    for (;;) {
      const last = this.#messages.at(-1);
      if (last?.type === 'error') throw new Error(JSON.stringify(last));
      if (last !== undefined && (this.#sent === 0 || (last.type === 'ack' && last.seq === this.#sent - 1))) {
        return Number.parseInt(last.offset, 10);
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Leaves properly, or as a lost connection would, and waits until the connection is gone. */
  async leave(how: 'close' | 'terminate'): Promise<void> {
    if (how === 'close') this.#socket.close(1000);
    else this.#socket.terminate();
    await this.#closed;
  }
}
