import { once } from 'node:events';

/** Standard output that waits while its reader is slow, and notices when there is none any more. */
export class StandardOutput {
  readonly #gone = new AbortController();
  #error: Error | undefined;

  constructor() {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') this.#error = error;
      this.#gone.abort(error);
    });
  }

  /** Aborted when nobody reads any more. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Resolves when there is room for more. */
  async write(chunk: Uint8Array): Promise<void> {
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain', { signal: this.#gone.signal });
  }

  /** Throws what went wrong, other than that nobody reads: a full disk behind `>`, for instance. */
  throwIfFailed(): void {
    if (this.#error !== undefined) throw this.#error;
  }
}
