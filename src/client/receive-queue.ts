/** How the data of a connection ended: all of it came, or this happened. */
export type ReceiveEnd = 'complete' | { readonly error: unknown };

/** Between a socket that pushes and a reader that pulls: one reader, and what it has not taken is counted. */
export class ReceiveQueue {
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  #end: ReceiveEnd | undefined;
  #wake: (() => void) | undefined;

  /** Bytes that the reader has not taken. */
  get bytes(): number {
    return this.#bytes;
  }

  push(chunk: Uint8Array): void {
    if (this.#end !== undefined || chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    this.#wake?.();
  }

  /** Nothing more comes; what is queued is still read. Only the first end counts. */
  end(end: ReceiveEnd): void {
    this.#end ??= end;
    this.#wake?.();
  }

  /** All that is queued, as soon as there is anything; or the end once everything was taken. */
  async take(): Promise<{ readonly chunks: readonly Uint8Array[] } | { readonly end: ReceiveEnd }> {
    while (this.#chunks.length === 0) {
      if (this.#end !== undefined) return { end: this.#end };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#bytes = 0;
    return { chunks };
  }
}
