import { Buffer } from 'node:buffer';
import type { Appended, AppendSession } from '../log/index.js';
import type { HttpContext } from './context.js';
import type { Intake } from './intake-budget.js';

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
  /** Its bytes go away with their commit, so it is never refused. */
  readonly #intake: Intake;
  readonly #events: IntakeEvents;
  #pieces: Uint8Array[] = [];
  #gatheredBytes = 0;
  #gatheredFrames = 0;
  #flushQueued = false;
  #uncommittedBytes = 0;
  /** It has more than its own share; there is no room for anybody. */
  #overfull = false;
  #waits = false;
  #full = false;
  #committedFrames = 0;
  #failure: { readonly error: unknown } | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    session: AppendSession,
    { limits, intake }: Pick<HttpContext, 'limits' | 'intake'>,
    events: IntakeEvents,
    address?: string,
  ) {
    this.#session = session;
    this.#bufferBytes = limits.appendBufferBytes;
    this.#events = events;
    const onFull = (full: boolean) => {
      this.#waits = full;
      this.#tell();
    };
    this.#intake = intake.open({ onFull }, address);
  }

  /** Bytes that were taken and are not durable yet. */
  get uncommittedBytes(): number {
    return this.#uncommittedBytes;
  }

  /**
   * Takes one frame, in a JSON stream its lines; or the bytes of several. They are kept where they fill a large buffer of
   * their own, and copied otherwise, before the caller's run of synchronous code has been followed by another one.
   */
  take(data: Uint8Array, frames = 1): void {
    if (this.#failure !== undefined) return;
    if (this.#gatheredBytes > 0 && this.#gatheredBytes + data.length > BATCH_BYTES_MAX) this.#flush();
    if (data.length > 0) this.#pieces.push(data);
    this.#gatheredBytes += data.length;
    this.#gatheredFrames += frames;
    this.#uncommittedBytes += data.length;
    this.#intake.take(data.length);
    if (!this.#overfull && this.#uncommittedBytes > this.#bufferBytes) {
      this.#overfull = true;
      this.#tell();
    }
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    // After everything that this socket read brought, before the next read.
    queueMicrotask(() => this.#flush());
  }

  /** Counts what was received and is looked at before it is taken, until the answer is called. */
  hold(bytes: number): () => void {
    this.#intake.take(bytes);
    return () => this.#intake.give(Math.min(bytes, this.#intake.bytes));
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
    const [first] = pieces as [Uint8Array];
    // A message that is large stands for itself. What is small is a part of something larger.
    const data = pieces.length === 1 && isWhole(first) ? first : Buffer.concat(pieces, this.#gatheredBytes);
    const frames = this.#gatheredFrames;
    this.#pieces = [];
    this.#gatheredBytes = 0;
    this.#gatheredFrames = 0;
    this.#append(data, frames, false);
  }

  #append(data: Uint8Array, frames: number, close: boolean): void {
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
    if (this.#overfull && this.#uncommittedBytes <= this.#bufferBytes / 2) {
      this.#overfull = false;
      this.#tell();
    }
    this.#intake.give(bytes);
    this.#events.onCommitted(appended, this.#committedFrames);
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { error };
    this.#pieces = [];
    this.#intake.close();
    this.#events.onFailed(error);
  }

  #tell(): void {
    const full = this.#overfull || this.#waits;
    if (full === this.#full) return;
    this.#full = full;
    this.#events.onFull(full);
  }
}

/** Whether bytes are large and all that their buffer holds: those are kept, the copy would take as much again. */
function isWhole(bytes: Uint8Array): boolean {
  return bytes.length > BATCH_BYTES_MAX && bytes.length === bytes.buffer.byteLength;
}
