import type { StoreTime } from './clock.js';
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
  readonly #time: StoreTime;
  readonly #stopTimer: () => void;
  #round: Iterator<Stream> | undefined;
  #busy = false;
  #stopped = false;

  constructor(
    streams: Streams,
    medium: Medium,
    time: StoreTime,
    options: { readonly intervalMs: number; readonly streamsMax: number },
    actions: { readonly expire: (stream: Stream) => void; readonly touch: (stream: Stream) => void },
  ) {
    this.#streams = streams;
    this.#medium = medium;
    this.#time = time;
    this.#streamsMax = options.streamsMax;
    this.#expire = actions.expire;
    this.#touch = actions.touch;
    this.#stopTimer = time.clock.every(options.intervalMs, () => this.#step());
  }

  stop(): void {
    this.#stopped = true;
    this.#stopTimer();
  }

  #step(): void {
    this.#time.look();
    for (let looked = 0; looked < this.#streamsMax; looked++) {
      this.#round ??= this.#streams.expiring.values();
      const { done, value } = this.#round.next();
      if (done) {
        this.#round = undefined;
        break;
      }
      if (value.isExpiredForGood(this.#time)) this.#expire(value);
      // Also after a crash it is to live on from now.
      else if (value.subscribers > 0 || value.session !== undefined) this.#touch(value);
    }
    if (!this.#busy) void this.#stepOutside();
  }

  /** Those that are not in memory. */
  async #stepOutside(): Promise<void> {
    this.#busy = true;
    try {
      for (const path of await this.#medium.expiring(this.#streamsMax)) {
        if (this.#stopped) return;
        if (!this.#streams.peek(path)?.isExpiredForGood(this.#time)) continue;
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
