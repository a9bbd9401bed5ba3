import type { WebSocket } from 'ws';

/** Keeps the connections of a server alive, and cuts off appenders that have stopped answering. */
export interface Heartbeat {
  readonly intervalMs: number;
  /**
   * An appender: pinged at once. One that answers has to go on answering, or sending, within the interval; one that never
   * does is left to TCP keepalive, since a client that does not read (the original Go one) cannot answer.
   */
  watchAppender(ws: WebSocket, socket: Receiving): void;
  /** A follower: pinged so that nothing in between takes the connection for dead. It owes no answer. */
  pingFollower(ws: WebSocket, isFull: () => boolean): void;
  /** Stops all of it. */
  close(): void;
}

/** A connection that counts what came over it, as those of `node:net` do. */
export interface Receiving {
  readonly bytesRead?: number;
}

/** Makes a heartbeat for WebSockets. Responses have theirs in `live-body.ts`; all of one interval share a timer. */
export function createHeartbeat(intervalMs: number): Heartbeat {
  const stops = new Set<() => void>();

  const add = (ws: WebSocket, beat: () => void) => {
    const stop = beatEach(intervalMs, beat);
    stops.add(stop);
    ws.once('close', () => {
      stops.delete(stop);
      stop();
    });
  };

  return {
    intervalMs,
    watchAppender(ws, socket) {
      let answers = false;
      let unanswered = false;
      let wasPaused = false;
      let received = socket.bytesRead;
      ws.on('pong', () => {
        answers = true;
        unanswered = false;
      });
      add(ws, () => {
        if (!answers) return;
        // While it is paused we do not listen, so its silence says nothing; and once more after that. And whatever comes
        // is a sign of life: the answer may be a long way behind it.
        if (ws.isPaused || wasPaused || socket.bytesRead !== received) {
          wasPaused = ws.isPaused;
          received = socket.bytesRead;
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
      for (const stop of stops) stop();
      stops.clear();
    },
  };
}

/** In how many parts an interval is served, so that connections that came at different times are written to at such. */
const PARTS_MAX = 16;
/** How many beats there are in one turn of the event loop: everybody else goes on between them. */
const BEATS_PER_TURN_MAX = 500;

/**
 * Calls `beat` once each interval, for the first time about one interval from now, until what it answers with is called.
 * All beats of an interval share a timer, which does not keep the process alive and runs only while there are any.
 */
export function beatEach(intervalMs: number, beat: () => void): () => void {
  let pulse = pulses.get(intervalMs);
  if (pulse === undefined) {
    pulse = new Pulse(intervalMs, () => pulses.delete(intervalMs));
    pulses.set(intervalMs, pulse);
  }
  return pulse.add(beat);
}

const pulses = new Map<number, Pulse>();

class Pulse {
  readonly #onIdle: () => void;
  readonly #parts: Set<() => void>[];
  readonly #timer: NodeJS.Timeout;
  #now = 0;
  #count = 0;

  constructor(intervalMs: number, onIdle: () => void) {
    this.#onIdle = onIdle;
    const parts = Math.min(PARTS_MAX, intervalMs);
    this.#parts = Array.from({ length: parts }, () => new Set());
    this.#timer = setInterval(() => this.#beat(), intervalMs / parts).unref();
  }

  add(beat: () => void): () => void {
    // Of its own: the same function may be added twice.
    const entry = () => beat();
    const part = this.#parts[this.#now] as Set<() => void>;
    part.add(entry);
    this.#count++;
    return () => {
      if (!part.delete(entry) || --this.#count > 0) return;
      clearInterval(this.#timer);
      this.#onIdle();
    };
  }

  #beat(): void {
    this.#now = (this.#now + 1) % this.#parts.length;
    const part = this.#parts[this.#now] as Set<() => void>;
    if (part.size > 0) serve(part, [...part], 0);
  }
}

/** Calls those of `due` from `from` on that are in `part` still, some a turn. */
function serve(part: ReadonlySet<() => void>, due: readonly (() => void)[], from: number): void {
  const to = Math.min(due.length, from + BEATS_PER_TURN_MAX);
  for (const beat of due.slice(from, to)) if (part.has(beat)) beat();
  if (to < due.length) setImmediate(serve, part, due, to);
}
