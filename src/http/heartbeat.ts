import type { WebSocket } from 'ws';

/** Pings sockets, all on one timer, and cuts off appenders that have stopped answering. */
export interface Heartbeat {
  /**
   * An appender: pinged at once. One that answers has to go on answering within the interval; one that never does is
   * left to TCP keepalive, since a client that does not read (the original Go one) cannot answer.
   */
  watchAppender(ws: WebSocket): void;
  /** A follower: pinged so that nothing in between takes the connection for dead. It owes no answer. */
  pingFollower(ws: WebSocket, isFull: () => boolean): void;
  /** Stops the timer. */
  close(): void;
}

/** Makes a heartbeat. Its timer runs only while there are sockets, and does not keep the process alive. */
export function createHeartbeat(intervalMs: number): Heartbeat {
  const ticks = new Set<() => void>();
  let timer: NodeJS.Timeout | undefined;

  const add = (ws: WebSocket, tick: () => void) => {
    ticks.add(tick);
    timer ??= setInterval(() => {
      for (const each of ticks) each();
    }, intervalMs).unref();
    ws.once('close', () => {
      ticks.delete(tick);
      if (ticks.size > 0) return;
      clearInterval(timer);
      timer = undefined;
    });
  };

  return {
    watchAppender(ws) {
      let answers = false;
      let unanswered = false;
      let wasPaused = false;
      ws.on('pong', () => {
        answers = true;
        unanswered = false;
      });
      add(ws, () => {
        if (!answers) return;
        // While it is paused we do not listen, so its silence says nothing; and once more after that.
        if (ws.isPaused || wasPaused) {
          wasPaused = ws.isPaused;
          unanswered = false;
        }
        if (unanswered) return ws.terminate();
        unanswered = true;
        ws.ping();
      });
      ws.ping();
    },
    pingFollower(ws, isFull) {
      add(ws, () => {
        // A ping would only queue up behind data that the peer does not take.
        if (!isFull()) ws.ping();
      });
    },
    close() {
      clearInterval(timer);
      ticks.clear();
    },
  };
}
