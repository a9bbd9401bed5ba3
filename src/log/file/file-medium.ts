import type { Medium, Step } from '../medium.js';
import { Stream, type StreamIdentity } from '../stream.js';
import { diskError } from './disk-error.js';
import type { FileStorage } from './file-storage.js';
import { codeOf, removeFile } from './file-system.js';
import { Flush } from './flush.js';
import { GUARD_INTERVAL_MS, type Guard } from './guard.js';
import type { Journal } from './journal.js';
import type { StreamNames } from './journal-batch.js';
import { Listing } from './listing.js';
import { type FileParts, loadStream, makeStorage, storageOf } from './loading.js';
import type { Losses } from './losses.js';

/** When that many streams have something to be flushed, they are. */
export const DIRTY_STREAMS_MAX = 4096;
/** Nothing stays in the journal for much longer than this. */
export const FLUSH_INTERVAL_MS = 30_000;

export interface FileMediumOptions {
  readonly dirtyStreamsMax: number;
  readonly flushIntervalMs: number;
}

/** What the journal asks about streams of files. */
export const streamNames: StreamNames = {
  nameOf: (stream) => storageOf(stream).name,
  fileMarkOf: (stream) => storageOf(stream).mark,
  printOf: (stream) => storageOf(stream).print,
};

/** Streams as files below a root, with one journal. */
export class FileMedium implements Medium {
  readonly persistent = true;
  readonly #parts: FileParts;
  readonly #journal: Journal;
  readonly #flush: Flush;
  readonly #listing: Listing;
  readonly #dirtyStreamsMax: number;
  /** Streams that the journal told of at the start, until somebody asks for them. */
  readonly #recovered: Map<string, Stream>;
  readonly #timer: NodeJS.Timeout;
  readonly #unlock: () => void;
  readonly #guard: Guard;
  readonly #losses: Losses;
  readonly #guardTimer: NodeJS.Timeout;
  /** From the journaling of a batch until all of it is applied. */
  #committing = false;
  #flushDue = false;
  #rotating: Promise<void> | undefined;
  onFailure: ((error: Error) => void) | undefined;
  onFileChanged: ((stream: Stream) => void) | undefined;

  constructor(
    parts: FileParts,
    journal: Journal,
    guard: Guard,
    losses: Losses,
    recovered: Map<string, Stream>,
    options: FileMediumOptions,
    unlock: () => void,
  ) {
    this.#parts = parts;
    this.#journal = journal;
    this.#recovered = recovered;
    this.#dirtyStreamsMax = options.dirtyStreamsMax;
    this.#unlock = unlock;
    this.#guard = guard;
    this.#losses = losses;
    losses.segmentFiles = () => journal.segmentFiles;
    this.#listing = new Listing(parts);
    this.#flush = new Flush(parts, journal, guard, losses);
    this.#flush.onFailure = (error) => this.onFailure?.(error);
    this.#flush.onFileChanged = (stream) => this.#fileChanged(stream);
    journal.onFull = () => this.#flush.start();
    journal.onExhausted = () => this.#flush.free();
    for (const stream of recovered.values()) this.#flush.mark(stream);
    this.#timer = setInterval(() => this.#flushNow(), options.flushIntervalMs).unref();
    this.#guardTimer = setInterval(() => this.#checkOwn(), GUARD_INTERVAL_MS).unref();
    // What was replayed: once it is flushed, its segments are free.
    this.#flush.start();
  }

  load(path: string): Stream | undefined {
    const recovered = this.#recovered.get(path);
    if (recovered === undefined) return loadStream(this.#parts, path);
    // From here on it is the engine's.
    this.#recovered.delete(path);
    return recovered;
  }

  make(identity: StreamIdentity): Stream {
    return new Stream(identity, () => makeStorage(this.#parts, identity));
  }

  async journal(steps: readonly Step[], durable: boolean): Promise<void> {
    this.#committing = true;
    if (this.#rotating !== undefined) await this.#rotating;
    if (this.#flushDue) {
      this.#flushDue = false;
      await this.#journal.rotate();
    }
    const synced = await this.#journal.write(steps, () => durable || steps.some(needsSync));
    // A name says nothing of what becomes of the bytes.
    if (synced) for (const step of steps) if (step.kind !== 'name') storageOf(step.stream).inJournal = true;
  }

  apply(step: Step): Promise<void> | undefined {
    const { stream } = step;
    const storage = storageOf(stream);
    switch (step.kind) {
      case 'append':
        if (step.data.length === 0) return undefined;
        madeOurs(storage);
        return storage.write(step.offset - stream.start, step.data);
      case 'create':
        this.#makeFile(stream);
        return step.data.length === 0 ? undefined : storage.write(0, step.data);
      case 'state':
        madeOurs(storage);
        storage.truncate(step.snapshot.tail - stream.start);
        break;
      case 'delete':
        if (!step.soft) this.#removeFiles(stream);
        break;
      default:
    }
    return undefined;
  }

  applied(step: Step): void {
    const { stream } = step;
    const storage = storageOf(stream);
    switch (step.kind) {
      case 'append':
        if (stream.canExpire || step.operations.some(changesMetadata)) storage.metadataDirty = true;
        break;
      case 'create':
        storage.metadataDirty = true;
        if (step.source !== undefined) this.changed(step.source);
        break;
      case 'state':
      case 'delete':
      case 'name':
      case 'session':
        storage.metadataDirty = true;
        break;
      default:
        return;
    }
    storage.lsn = this.#journal.lastLsn;
    if (storage.file !== undefined) this.#flush.mark(stream);
  }

  settled(): void {
    this.#committing = false;
    if (this.#flushDue || this.#flush.dirtyStreams >= this.#dirtyStreamsMax) this.#flushNow();
  }

  changed(stream: Stream): void {
    const storage = storageOf(stream);
    storage.metadataDirty = true;
    storage.lsn = this.#journal.lastLsn;
    if (storage.file !== undefined) this.#flush.mark(stream);
  }

  async list(options: { prefix: string; after: string; limit: number }): Promise<string[]> {
    try {
      return await this.#listing.list(options);
    } catch (error) {
      throw diskError(error, 'The streams cannot be listed');
    }
  }

  expiring(limit: number): Promise<string[]> {
    return this.#listing.expiring(limit);
  }

  get losses(): number {
    return this.#losses.count;
  }

  evicted(stream: Stream): void {
    const storage = storageOf(stream);
    // Not all of it is on the disk, so it does not leave for want of room: its file was changed by others.
    if (storage.isDirty) this.#lookAfter(stream);
    storage.close();
    this.#flush.unmark(stream);
    if (!storage.metadataDirty || storage.file === undefined) return;
    // Its file was changed by others, and who asks next reads what is known from there.
    storage.metadataDirty = false;
    const { lsn, overflow, print } = storage;
    try {
      for (const directory of this.#parts.metadata.writeNow({
        version: 1,
        lsn,
        overflow,
        file: print,
        stream: stream.snapshot(),
      })) {
        this.#parts.places.dirtyDirectories.add(directory);
      }
    } catch {
      // Then the file alone speaks: it is what others made of it anyway.
    }
  }

  async close(failed: boolean): Promise<void> {
    clearInterval(this.#timer);
    clearInterval(this.#guardTimer);
    await this.#rotating;
    let flushed = false;
    try {
      if (failed) {
        await this.#flush.stop();
        // The journal that has it all is gone.
        if (this.#guard.isBroken) await this.#flush.syncBytes();
      } else {
        await this.#flush.finish();
        flushed = true;
      }
    } finally {
      // Whatever could not be done any more, the root is free for the next one.
      try {
        await this.#journal.close(flushed);
      } finally {
        this.#listing.close();
        this.#parts.files.close();
        this.#unlock();
      }
    }
  }

  /** What the journal has of a stream must not go with the journal, unless it is in the file that has the name. */
  #lookAfter(stream: Stream): void {
    const storage = storageOf(stream);
    const { path, id, start, tail } = stream;
    if (storage.file === undefined || tail <= storage.lostTail) return;
    storage.lostTail = tail;
    this.#losses.add({ path, id, place: { file: storage.file, start }, lsn: this.#journal.lastLsn, tail });
  }

  /** The flush found that a stream's file is not what it was. */
  #fileChanged(stream: Stream): void {
    this.#lookAfter(stream);
    storageOf(stream).recheck();
    this.onFileChanged?.(stream);
  }

  #checkOwn(): void {
    try {
      this.#guard.check();
      this.#journal.checkFiles();
    } catch (error) {
      clearInterval(this.#guardTimer);
      this.onFailure?.(error as Error);
    }
  }

  /** Flushes all that is in the journal. */
  #flushNow(): void {
    if (this.#committing) {
      this.#flushDue = true;
      return;
    }
    this.#rotating ??= this.#journal
      .rotate()
      .catch((error) => {
        // No room for a further segment now: the next round tries again. Anything else is for good.
        if (codeOf(error) === undefined || codeOf(error) === 'STORE_FAILED') this.onFailure?.(error);
      })
      .finally(() => {
        this.#rotating = undefined;
      });
  }

  #makeFile(stream: Stream): void {
    try {
      const storage = storageOf(stream);
      this.#parts.places.create(storage, stream.path, stream.id);
      this.#listing.added(stream.path, storage);
    } catch (error) {
      throw diskError(error, `The file of ${stream.path} cannot be made`);
    }
  }

  #removeFiles(stream: Stream): void {
    const { fs, layout, metadata, places } = this.#parts;
    const storage = storageOf(stream);
    // Never made: whatever is at its path is not its own.
    if (storage.file === undefined) return;
    try {
      places.remove(storage);
      this.#listing.removed(stream.path, storage);
      for (const directory of metadata.remove(stream.path)) places.dirtyDirectories.add(directory);
      if (stream.canExpire && removeFile(fs, layout.expiringMarkOf(stream.path))) {
        places.dirtyDirectories.add(layout.expiring);
      }
    } catch (error) {
      throw diskError(error, `The file of ${stream.path} cannot be removed`);
    }
  }
}

/**
 * Whether bytes would reach a file of which no durable record of the journal tells. After a power cut nobody would
 * know how much of it counts, so the first append after a flush is synced even if it did not ask for it.
 */
function needsSync(step: Step): boolean {
  if (step.kind !== 'create' && (step.kind !== 'append' || step.data.length === 0)) return false;
  return !storageOf(step.stream).inJournal;
}

/** From here on the file's size and time say nothing about who put it there. */
function madeOurs(storage: FileStorage): void {
  if (storage.print === undefined) return;
  storage.print = undefined;
  storage.metadataDirty = true;
}

function changesMetadata(operation: { producer: unknown; streamSeq: unknown; close: boolean }): boolean {
  return operation.producer !== undefined || operation.streamSeq !== undefined || operation.close;
}
