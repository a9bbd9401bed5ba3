import { Buffer } from 'node:buffer';
import type { FollowEnd, Sink } from '../../src/follow/index.js';

/** A sink that keeps what it gets, and can be made to be full. */
export class CollectingSink implements Sink {
  readonly writes: Buffer[] = [];
  /** Says whether the sink is full after a write. */
  isFullAfter: (bytes: Buffer) => boolean = () => false;
  readonly ended: Promise<FollowEnd>;
  end: (reason: FollowEnd) => void = () => {};
  #resume: () => void = () => {};
  #bytes = 0;
  readonly #waiting: { bytes: number; resolve: () => void }[] = [];

  constructor() {
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }

  write(bytes: Buffer): boolean {
    // A copy: the chunk itself must be free to go.
    this.writes.push(Buffer.from(bytes));
    this.#bytes += bytes.length;
    for (const each of this.#waiting) if (this.#bytes >= each.bytes) each.resolve();
    return !this.isFullAfter(bytes);
  }

  onDrain(resume: () => void): void {
    this.#resume = resume;
  }

  drain(): void {
    this.#resume();
  }

  get bytes(): number {
    return this.#bytes;
  }

  get all(): Buffer {
    return Buffer.concat(this.writes);
  }

  /** Resolves once it has got so many bytes. */
  async has(bytes: number): Promise<void> {
    if (this.#bytes >= bytes) return;
    await new Promise<void>((resolve) => this.#waiting.push({ bytes, resolve }));
  }
}
