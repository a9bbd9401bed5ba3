import { MillraceError } from '../errors.js';
import { Admission } from './admission.js';
import { type StoreTime, WALL_CLOCK_SETTLES_MS } from './clock.js';
import { GroupCommit, storeFailed } from './commit.js';
import { ExpirySweep } from './expiry.js';
import { sourceOf } from './forks.js';
import type { StoreLimits } from './limits.js';
import type { Medium } from './medium.js';
import { Operation } from './operation.js';
import type { Durability, StoreChange, StoreObserver } from './store.js';
import type { Stream } from './stream.js';
import { gone, Streams } from './streams.js';
import { endSession, makeVisible } from './visible.js';

/** What a store is set up with, all defaults filled in. */
export interface CoreOptions extends Required<StoreLimits> {
  /** How durable appends are that do not say it themselves. */
  readonly durability: Durability;
  /** Streams beyond this number leave memory when nobody is at them. */
  readonly streamsInMemoryMax: number;
  readonly time: StoreTime;
}

/** A use is journaled when the last one journaled is older than this part of the time to live, within these bounds. */
const USE_STEP_PART = 100;
const USE_STEP_MIN_MS = 50;
const USE_STEP_MAX_MS = 10_000;

/**
 * What all verbs of a store share: the streams, the commits, and what follows from a commit. The verbs themselves
 * stand in files of their own (`append.ts`, `read.ts`…) as functions over this.
 */
export class Core {
  readonly medium: Medium;
  readonly options: CoreOptions;
  readonly time: StoreTime;
  readonly streams: Streams;
  readonly commits: GroupCommit;
  readonly admission: Admission;
  readonly observers = new Set<StoreObserver>();
  readonly failed: Promise<Error>;
  failure: Error | undefined;
  readonly #sweep: ExpirySweep;
  #resolveFailed: (error: Error) => void = () => {};
  #closing: Promise<void> | undefined;

  constructor(medium: Medium, options: CoreOptions) {
    this.medium = medium;
    this.options = options;
    this.time = options.time;
    this.streams = new Streams(medium, options.streamsInMemoryMax);
    this.commits = new GroupCommit(
      medium,
      {
        visible: (step) =>
          makeVisible(step, this.time, {
            changed: (change) => this.#tell(change),
            deleted: (stream) => this.#deleted(stream),
          }),
        rolledBack: (stream, error) => this.#rolledBack(stream, error),
        vanishing: (stream) => this.streams.add(stream),
        forget: (stream) => this.#forget(stream),
        failed: (error) => this.#failed(error),
        drained: () => this.admission.admit(),
      },
      options.commitBytesMax,
    );
    this.admission = new Admission(options.pendingBytesMax, options.pendingWaitMs, () => this.commits.pendingBytes);
    this.#sweep = new ExpirySweep(
      this.streams,
      medium,
      this.time,
      { intervalMs: options.expirySweepMs, streamsMax: options.expirySweepStreamsMax },
      { expire: (stream) => this.expire(stream), touch: (stream) => this.touch(stream) },
    );
    this.failed = new Promise((resolve) => {
      this.#resolveFailed = resolve;
    });
    medium.onFileChanged = (stream) => this.fileChanged(stream);
    medium.onFailure = (error) => this.commits.fail(storeFailed(error));
  }

  /** Throws `STORE_CLOSED`, `STORE_FAILED` once no more is accepted. */
  checkOpen(): void {
    if (this.failure !== undefined) throw this.failure;
  }

  /** The stream as the next operation finds it; an expired one is on its way out. Undefined where there is none. */
  next(path: string): Stream | undefined {
    const stream = this.streams.find(path);
    if (stream === undefined) return undefined;
    // Before anything else of it is journaled.
    void this.name(stream);
    // A crash came between the end of its last fork and its own.
    this.#collect(stream);
    if (stream.gone === 'deleted') return undefined;
    if (stream.canExpire && stream.isExpired(this.time)) {
      // By a clock that may still be set right: the stream is not shown, and kept.
      if (!stream.isExpiredForGood(this.time)) {
        if (stream.nextForks > 0) throw gone(path);
        return undefined;
      }
      this.expire(stream);
      // Deleted for good, or `soft`; still there when it is too busy to go.
      if ((stream.gone as Stream['gone']) === 'deleted') return undefined;
    }
    return stream;
  }

  /** As {@link next}, for whoever is about to take the path. Throws `STREAM_EXPIRED` while what was there is kept. */
  nextOrFree(path: string): Stream | undefined {
    const stream = this.streams.find(path);
    if (stream?.exists && stream.gone === undefined && stream.canExpire && stream.isExpired(this.time)) {
      if (!stream.isExpiredForGood(this.time)) throw expired(path);
    }
    return this.next(path);
  }

  /** The stream that readers see. Throws `STREAM_NOT_FOUND`, `STREAM_GONE`. */
  visible(path: string): Stream {
    const stream = this.streams.find(path);
    if (stream?.softDeleted) this.#collect(stream);
    return this.streams.visible(path, this.time);
  }

  /**
   * Makes a stream's id durable, where it is not: nobody is to be told it before. Where that cannot be done (the disk is
   * full, the store failed) the stream can be read all the same, and the next who asks tries again. Never rejects.
   */
  name(stream: Stream): Promise<void> | undefined {
    if (stream.isNamed || this.failure !== undefined) return undefined;
    stream.naming ??= this.#name(stream);
    return stream.naming;
  }

  async #name(stream: Stream): Promise<void> {
    const naming = new Operation('name', stream);
    naming.snapshot = stream.snapshot();
    naming.onCommitted = () => {
      stream.isNamed = true;
    };
    try {
      await this.commits.commit(naming);
    } catch {
      // Whoever writes hears of it by what is written.
    } finally {
      stream.naming = undefined;
    }
  }

  /** Notes that somebody reads or follows. The journal hears of it now and then, and does not sync for it. */
  touch(stream: Stream): void {
    if (stream.ttlSeconds === undefined) return;
    const { nowMs } = this.time;
    stream.lastUsedMs = Math.max(stream.lastUsedMs, nowMs);
    if (!this.medium.persistent || this.failure !== undefined) return;
    const ttlMs = stream.ttlSeconds * 1000;
    const stepMs = Math.min(Math.max(ttlMs / USE_STEP_PART, USE_STEP_MIN_MS), USE_STEP_MAX_MS);
    if (nowMs - stream.journaledUseMs < stepMs || stream.gone !== undefined) return;
    stream.journaledUseMs = nowMs;
    const touch = new Operation('touch', stream);
    touch.durable = false;
    touch.offset = stream.next.tail;
    this.commits.push(touch);
  }

  /** Accepts a deletion; resolves when it is committed. */
  remove(stream: Stream): Promise<unknown> {
    const operation = new Operation('delete', stream);
    operation.soft = stream.nextForks > 0;
    stream.gone = operation.soft ? 'soft' : 'deleted';
    return this.commits.commit(operation);
  }

  /** Deletes a stream that is past its time, unless somebody is at it. */
  expire(stream: Stream): void {
    if (stream.gone !== undefined || !stream.exists || this.failure !== undefined) return;
    // Who asked for it hears that it is not there; where the deletion is refused, the next one who asks tries again.
    this.remove(stream).catch(() => {});
  }

  /** A stream's bytes are not as they were left: forget what memory knows, and let the next request load it anew. */
  fileChanged(stream: Stream): void {
    // With operations under way its next write finds it too, and takes them back.
    if (stream.pending > 0 || !this.streams.isIn(stream) || this.failure !== undefined) return;
    this.#forget(stream);
    this.commits.push(new Operation('forget', stream));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const failedBefore = this.failure !== undefined;
    const closed = new MillraceError('STORE_CLOSED', 'The store is closed. Open it again to go on.');
    this.failure ??= closed;
    this.#sweep.stop();
    this.admission.close(this.failure);
    await this.commits.idle();
    // What is void, and not yet so in the journal, is left to the next start.
    const failedSince = this.commits.failure !== undefined || this.commits.hasHeld;
    this.commits.close(closed);
    for (const stream of this.streams.values()) {
      endSession(stream, 'released');
      stream.closeEvents();
    }
    await this.medium.close(failedBefore || failedSince);
  }

  #tell(change: StoreChange): void {
    for (const observer of this.observers) {
      try {
        observer(change);
      } catch (error) {
        // The observer's own fault, to be heard where such faults are heard; the commit is not to suffer from it.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  #failed(error: Error): void {
    if (this.failure === undefined || this.#closing !== undefined) this.failure = error;
    this.#sweep.stop();
    this.admission.close(error);
    this.#resolveFailed(error);
  }

  #rolledBack(stream: Stream, error: unknown): void {
    const { session } = stream;
    if (session !== undefined) session.failure ??= error;
    if (stream.exists && !stream.deleted) {
      if (!this.streams.isIn(stream)) this.streams.add(stream);
      return;
    }
    this.streams.remove(stream);
    if (stream.fork !== undefined && !stream.exists) this.#collect(this.#source(stream));
  }

  #forget(stream: Stream): void {
    this.streams.remove(stream);
    endSession(stream, 'released');
    stream.closeEvents();
    this.medium.evicted(stream);
  }

  #deleted(stream: Stream): void {
    if (!stream.deleted) {
      this.#collect(stream);
      return;
    }
    this.streams.remove(stream);
    if (stream.fork === undefined || !stream.exists) return;
    const source = this.#source(stream);
    if (source === undefined) return;
    source.forks--;
    source.nextForks--;
    this.medium.changed(source);
    this.#collect(source);
  }

  /** Deletes a stream for good that was kept for its forks, once there are none. */
  #collect(stream: Stream | undefined): void {
    if (stream === undefined || !stream.softDeleted || stream.nextForks > 0 || stream.gone === 'deleted') return;
    if (this.failure !== undefined) return;
    this.remove(stream).catch(() => {});
  }

  #source(stream: Stream): Stream | undefined {
    try {
      return stream.fork === undefined ? undefined : sourceOf(this.streams, stream.fork);
    } catch {
      // Its file was taken away: there is nothing to count any more.
      return undefined;
    }
  }
}

function expired(path: string): MillraceError {
  const seconds = WALL_CLOCK_SETTLES_MS / 1000;
  return new MillraceError(
    'STREAM_EXPIRED',
    `The stream at ${path} has expired; its path is free once the server's clock has been past its time for ${seconds} s. Try again then.`,
    { retryAfterMs: WALL_CLOCK_SETTLES_MS },
  );
}
