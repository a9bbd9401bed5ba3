import { Buffer } from 'node:buffer';
import type { Appended, AppendSession } from '../log/index.js';

/** Frames are gathered into one append up to this many bytes. */
const BATCH_BYTES_MAX = 1024 * 1024;

/** What the connection of an appender does for its intake. */
export interface IntakeEvents {
  /** There is too much that is not committed: read no more, or (`false`) read on. */
  onFull(full: boolean): void;
  /** All frames up to number `frames - 1` of this connection are durable. */
  onCommitted(appended: Appended, frames: number): void;
  /** An append failed. Nothing after it will be appended. Called at most once. */
  onFailed(error: unknown): void;
}

/**
 * Takes what an appender sends, whatever carries it, and appends it: all that one socket read brought is one append,
 * and the next one does not wait for it. Keeps count of what is not committed.
 */
export class AppendIntake {
  readonly #session: AppendSession;
  readonly #bufferBytes: number;
  readonly #events: IntakeEvents;
  #pieces: Uint8Array[] = [];
  #gatheredBytes = 0;
  #gatheredFrames = 0;
  #flushQueued = false;
  #uncommittedBytes = 0;
  #full = false;
  #committedFrames = 0;
  #failure: { readonly error: unknown } | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(session: AppendSession, bufferBytes: number, events: IntakeEvents) {
    this.#session = session;
    this.#bufferBytes = bufferBytes;
    this.#events = events;
  }

  /** Bytes that were taken and are not durable yet. */
  get uncommittedBytes(): number {
    return this.#uncommittedBytes;
  }

  /**
   * Takes one frame, in a JSON stream its lines; or the bytes of several. They are copied before the caller's run of
   * synchronous code has been followed by another one, so they may be a part of a larger buffer.
   */
  take(data: Uint8Array, frames = 1): void {
    if (this.#failure !== undefined) return;
    if (this.#gatheredBytes > 0 && this.#gatheredBytes + data.length > BATCH_BYTES_MAX) this.#flush();
    if (data.length > 0) this.#pieces.push(data);
    this.#gatheredBytes += data.length;
    this.#gatheredFrames += frames;
    this.#uncommittedBytes += data.length;
    if (!this.#full && this.#uncommittedBytes > this.#bufferBytes) {
      this.#full = true;
      this.#events.onFull(true);
    }
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    // After everything that this socket read brought, before the next read.
    queueMicrotask(() => this.#flush());
  }

  /** Closes the stream after all that was taken. */
  closeStream(): void {
    this.#flush();
    if (this.#failure === undefined) this.#append(Buffer.alloc(0), 0, true);
  }

  /**
   * Waits until all that was taken is durable, or failed, and frees the stream. Throws what failed. `lost`: the appender
   * is gone without having said that it was done.
   */
  async finish({ lost }: { readonly lost: boolean }): Promise<void> {
    this.#flush();
    // In the same commit as the last append.
    const released = this.#session.release({ lost: lost || this.#failure !== undefined });
    await this.#last;
    await released;
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  #flush(): void {
    this.#flushQueued = false;
    if (this.#gatheredBytes === 0 || this.#failure !== undefined) return;
    const pieces = this.#pieces;
    const data = Buffer.concat(pieces, this.#gatheredBytes);
    const frames = this.#gatheredFrames;
    this.#pieces = [];
    this.#gatheredBytes = 0;
    this.#gatheredFrames = 0;
    this.#append(data, frames, false);
  }

  #append(data: Buffer, frames: number, close: boolean): void {
    const before = this.#last;
    const appending = this.#session.append(data, close ? { close } : { count: frames });
    this.#last = appending.then(
      async (appended) => {
        await before;
        this.#onCommitted(appended, data.length, frames);
      },
      async (error) => {
        await before;
        this.#fail(error);
      },
    );
  }

  #onCommitted(appended: Appended, bytes: number, frames: number): void {
    if (this.#failure !== undefined) return;
    this.#uncommittedBytes -= bytes;
    this.#committedFrames += frames;
    if (this.#full && this.#uncommittedBytes <= this.#bufferBytes / 2) {
      this.#full = false;
      this.#events.onFull(false);
    }
    this.#events.onCommitted(appended, this.#committedFrames);
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { error };
    this.#pieces = [];
    this.#events.onFailed(error);
  }
}
