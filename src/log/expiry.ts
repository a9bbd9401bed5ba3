import type { Medium } from './medium.js';
import type { Stream } from './stream.js';
import type { Streams } from './streams.js';

/**
 * Frees the space of expired streams in the background, a bounded number at a time. (That nobody sees an expired
 * stream does not depend on it: every access looks at the clock.)
 */
export class ExpirySweep {
  readonly #streams: Streams;
  readonly #medium: Medium;
  readonly #streamsMax: number;
  readonly #expire: (stream: Stream) => void;
  readonly #touch: (stream: Stream) => void;
  readonly #timer: NodeJS.Timeout;
  #round: Iterator<Stream> | undefined;
  #busy = false;
  #stopped = false;

  constructor(
    streams: Streams,
    medium: Medium,
    options: { readonly intervalMs: number; readonly streamsMax: number },
    actions: { readonly expire: (stream: Stream) => void; readonly touch: (stream: Stream) => void },
  ) {
    this.#streams = streams;
    this.#medium = medium;
    this.#streamsMax = options.streamsMax;
    this.#expire = actions.expire;
    this.#touch = actions.touch;
    this.#timer = setInterval(() => this.#step(), options.intervalMs).unref();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  #step(): void {
    const nowMs = Date.now();
    for (let looked = 0; looked < this.#streamsMax; looked++) {
      this.#round ??= this.#streams.expiring.values();
      const { done, value } = this.#round.next();
      if (done) {
        this.#round = undefined;
        break;
      }
      if (value.isExpired(nowMs)) this.#expire(value);
      // Also after a crash it is to live on from now.
      else if (value.subscribers > 0 || value.session !== undefined) this.#touch(value);
    }
    if (!this.#busy) void this.#stepOutside(nowMs);
  }

  /** Those that are not in memory. */
  async #stepOutside(nowMs: number): Promise<void> {
    this.#busy = true;
    try {
      for (const path of await this.#medium.expiring(this.#streamsMax)) {
        if (this.#stopped) return;
        if (!this.#streams.peek(path)?.isExpired(nowMs)) continue;
        const stream = this.#streams.find(path);
        if (stream !== undefined) this.#expire(stream);
      }
    } catch {
      // One unreadable stream must not end the server: whoever asks for it gets the error, and the next round comes.
    } finally {
      this.#busy = false;
    }
  }
}
