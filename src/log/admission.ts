import { MillraceError } from '../errors.js';

interface Waiting {
  readonly start: () => void;
  readonly refuse: (error: Error) => void;
  readonly deadlineMs: number;
}

/**
 * Keeps what is pending below a number of bytes. Above it appends wait in line, first come first served, so that the
 * order of one caller's appends stays; who waits too long gets `STORE_BUSY`.
 */
export class Admission {
  readonly #bytesMax: number;
  readonly #waitMs: number;
  readonly #pendingBytes: () => number;
  #line: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(bytesMax: number, waitMs: number, pendingBytes: () => number) {
    this.#bytesMax = bytesMax;
    this.#waitMs = waitMs;
    this.#pendingBytes = pendingBytes;
  }

  /** Whether an append may start at once. */
  get isOpen(): boolean {
    return this.#line.length === 0 && this.#pendingBytes() < this.#bytesMax;
  }

  /** Starts the append in its turn. */
  wait<T>(start: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const deadlineMs = performance.now() + this.#waitMs;
      this.#line.push({ start: () => start().then(resolve, reject), refuse: reject, deadlineMs });
      this.#timer ??= setTimeout(this.#expire, this.#waitMs).unref();
    });
  }

  /** Room may have come free. */
  admit(): void {
    let admitted = 0;
    while (admitted < this.#line.length && this.#pendingBytes() < this.#bytesMax) {
      (this.#line[admitted++] as Waiting).start();
    }
    if (admitted > 0) this.#line = this.#line.slice(admitted);
    if (this.#line.length === 0) this.#disarm();
  }

  /** Refuses everyone who waits. */
  close(error: Error): void {
    const line = this.#line;
    this.#line = [];
    this.#disarm();
    for (const waiting of line) waiting.refuse(error);
  }

  readonly #expire = (): void => {
    this.#timer = undefined;
    const now = performance.now();
    while (this.#line.length > 0 && (this.#line[0] as Waiting).deadlineMs <= now) {
      this.#line
        .shift()
        ?.refuse(
          new MillraceError(
            'STORE_BUSY',
            `More than ${this.#bytesMax} bytes wait to be written, for longer than ${this.#waitMs} ms. Append more slowly, or try again later.`,
            { pendingBytesMax: this.#bytesMax },
          ),
        );
    }
    const first = this.#line[0];
    if (first !== undefined) this.#timer = setTimeout(this.#expire, Math.max(1, first.deadlineMs - now)).unref();
  };

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
