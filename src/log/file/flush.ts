import { constants } from 'node:fs';
import { isMillraceError, MillraceError } from '../../errors.js';
import type { Stream, StreamSnapshot } from '../stream.js';
import { diskError } from './disk-error.js';
import type { FileStorage } from './file-storage.js';
import { codeOf, type FileSystem, makeDirectory, SyncError, syncDirectory } from './file-system.js';
import type { Guard } from './guard.js';
import type { Journal } from './journal.js';
import type { Layout } from './layout.js';
import type { FileParts } from './loading.js';
import type { Losses } from './losses.js';
import type { Metadata, MetadataFiles } from './metadata.js';
import type { Places } from './places.js';

/** How many files are synced at a time. */
const SYNCS_AT_A_TIME = 4;
/** After a flush that found no room, the next one comes this much later. */
const RETRY_MS = 1000;

const { O_CREAT, O_WRONLY } = constants;

/** A stream as it is being flushed. */
interface Flushed {
  readonly stream: Stream;
  readonly storage: FileStorage;
  readonly lsn: number;
  /** Undefined where its metadata is as it was. */
  readonly snapshot: StreamSnapshot | undefined;
}

/**
 * Makes what stands in the journal durable in its final place, in the background, and frees the journal's segments:
 * data files, then their metadata, then the directories that name them.
 */
export class Flush {
  readonly #fs: FileSystem;
  readonly #layout: Layout;
  readonly #journal: Journal;
  readonly #guard: Guard;
  readonly #losses: Losses;
  readonly #metadata: MetadataFiles;
  readonly #places: Places;
  #dirty = new Set<Stream>();
  #running: Promise<void> | undefined;
  #again = false;
  #retry: NodeJS.Timeout | undefined;
  /** Why the last flush could not be finished; another one will be tried. */
  #obstacle: MillraceError | undefined;
  #stopped = false;
  #failure: Error | undefined;
  /** Something failed for good. */
  onFailure: (error: Error) => void = () => {};
  /** A stream's file is not what it was: what the journal has of it must be looked after before it is freed. */
  onFileChanged: (stream: Stream) => void = () => {};

  constructor({ fs, layout, metadata, places }: FileParts, journal: Journal, guard: Guard, losses: Losses) {
    this.#fs = fs;
    this.#layout = layout;
    this.#journal = journal;
    this.#guard = guard;
    this.#losses = losses;
    this.#metadata = metadata;
    this.#places = places;
  }

  /** How many streams have something to be flushed. */
  get dirtyStreams(): number {
    return this.#dirty.size;
  }

  mark(stream: Stream): void {
    this.#dirty.add(stream);
  }

  unmark(stream: Stream): void {
    this.#dirty.delete(stream);
  }

  /** Begins a flush of everything in full segments; one more follows if one is under way. */
  start(): void {
    if (this.#stopped) return;
    if (this.#running !== undefined) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#retry);
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      if (this.#again && this.#obstacle === undefined) this.start();
      this.#again = false;
    });
  }

  /** Resolves when the journal has a free segment; rejects with why it cannot have one now. */
  async free(): Promise<void> {
    this.#obstacle = undefined;
    while (!this.#journal.hasFreeSegment) {
      if (this.#stopped) throw this.#failure ?? new Error('the journal is full, and nothing is flushed any more');
      this.start();
      await this.#running;
      if (this.#obstacle !== undefined && !this.#journal.hasFreeSegment) throw this.#obstacle as MillraceError;
    }
  }

  /** Flushes everything; nothing is written meanwhile. Throws where something could not be made durable. */
  async finish(): Promise<void> {
    await this.stop();
    await this.#flush(this.#dirty);
    this.#dirty = new Set();
  }

  /** Makes the bytes of streams durable where that can be done, and nothing else. */
  async syncBytes(): Promise<void> {
    await inTurn(this.#dirty, async ({ storage }) => {
      await (storage as FileStorage).sync().catch(() => {});
    });
  }

  /** Gives up: the journal has it all. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#retry);
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    const segment = this.#journal.currentSegment;
    const dirty = this.#dirty;
    this.#dirty = new Set();
    try {
      await this.#flush(dirty);
      await this.#journal.release(segment);
      this.#obstacle = undefined;
    } catch (error) {
      for (const stream of dirty) if (stream.storage.isDirty) this.#dirty.add(stream);
      if (error instanceof MillraceError && error.code !== 'STORE_FAILED') {
        this.#obstacle = error;
        if (!this.#stopped) this.#retry = setTimeout(() => this.start(), RETRY_MS).unref();
      } else {
        this.#stopped = true;
        this.#failure = error as Error;
        this.onFailure(this.#failure);
      }
    }
  }

  /**
   * Bytes first, then the names of the files, then what says that both are there. Metadata that reached the disk before
   * its file's name would after a power cut speak of whatever file had that name before.
   */
  async #flush(dirty: ReadonlySet<Stream>): Promise<void> {
    const flushed: Flushed[] = [];
    try {
      // Nothing is put into a directory that others have put in the place of ours.
      this.#guard.check();
      await inTurn(dirty, async (stream) => {
        const storage = stream.storage as FileStorage;
        storage.flushing = true;
        flushed.push(capture(stream, storage));
        await this.#syncData(stream, storage);
      });
      await this.#syncDirectories();
      await inTurn(flushed, (each) => this.#writeMetadata(each));
      await this.#syncDirectories();
      await this.#losses.settle();
    } catch (error) {
      for (const { storage, snapshot } of flushed) if (snapshot !== undefined) storage.metadataDirty = true;
      if (error instanceof SyncError || (error instanceof MillraceError && error.code === 'STORE_FAILED')) throw error;
      throw diskError(error, 'What is in the journal cannot be flushed');
    } finally {
      for (const { storage } of flushed) storage.flushing = false;
    }
  }

  async #syncData(stream: Stream, storage: FileStorage): Promise<void> {
    // Where it is deleted meanwhile, its names are gone, and the directories know.
    if (!storage.dataDirty || storage.file === undefined) return;
    try {
      if (!storage.overflow) this.#places.checkParents(stream.path);
      await storage.sync();
    } catch (error) {
      if (!isMillraceError(error, 'STREAM_FILE_CHANGED') && !isMillraceError(error, 'INVALID_PATH')) throw error;
      this.onFileChanged(stream);
      storage.dataDirty = false;
    }
  }

  async #writeMetadata({ stream, storage, lsn, snapshot }: Flushed): Promise<void> {
    if (snapshot === undefined || storage.file === undefined) return;
    await this.#journal.ensureSynced(lsn);
    if (storage.file === undefined) return;
    const { overflow } = storage;
    const metadata: Metadata = { version: 1, lsn, overflow, file: storage.print, stream: snapshot };
    const changed = await this.#metadata.write(metadata, true);
    for (const directory of changed) this.#places.dirtyDirectories.add(directory);
    // Deleted while it was written.
    if (storage.file === undefined) this.#metadata.remove(stream.path);
    else if (stream.canExpire) this.#markExpiring(stream.path);
  }

  #markExpiring(path: string): void {
    const mark = this.#layout.expiringMarkOf(path);
    if (this.#fs.stat(mark) !== undefined) return;
    // Others may have removed it.
    if (makeDirectory(this.#fs, this.#layout.expiring)) this.#places.dirtyDirectories.add(this.#layout.own);
    this.#fs.close(this.#fs.open(mark, O_CREAT | O_WRONLY));
    this.#places.dirtyDirectories.add(this.#layout.expiring);
  }

  async #syncDirectories(): Promise<void> {
    for (const directory of [...this.#places.dirtyDirectories]) await this.#syncDirectory(directory);
  }

  async #syncDirectory(directory: string): Promise<void> {
    const { dirtyDirectories } = this.#places;
    // Names that come while it is synced make it dirty again.
    dirtyDirectories.delete(directory);
    try {
      await syncDirectory(this.#fs, directory);
    } catch (error) {
      // Removed meanwhile, with all that was in it.
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return;
      dirtyDirectories.add(directory);
      throw error;
    }
  }
}

/** Runs over all, a few at a time; throws the first error when all that began has ended. */
async function inTurn<T>(all: Iterable<T>, work: (each: T) => Promise<void>): Promise<void> {
  const rest = all[Symbol.iterator]();
  const worker = async () => {
    for (let next = rest.next(); !next.done; next = rest.next()) await work(next.value);
  };
  const workers = await Promise.allSettled(Array.from({ length: SYNCS_AT_A_TIME }, worker));
  for (const result of workers) if (result.status === 'rejected') throw result.reason;
}

/** All that is to be kept of a stream, taken at one instant: what comes later makes it dirty again. */
function capture(stream: Stream, storage: FileStorage): Flushed {
  const { lsn, metadataDirty } = storage;
  storage.metadataDirty = false;
  // The records so far may be freed with their segment.
  storage.inJournal = false;
  return { stream, storage, lsn, snapshot: metadataDirty ? stream.snapshot() : undefined };
}
