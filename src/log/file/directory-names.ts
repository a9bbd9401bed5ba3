import { LRUCache } from 'lru-cache';
import { SLICE_BYTES, turnBudget } from '../../turn-budget.js';
import { SortedNames } from '../sorted-names.js';
import { codeOf, type DirectoryEntry, type FileSystem } from './file-system.js';

/** How much memory the names of one directory may take; of a larger one a part is kept. */
export const DIRECTORY_NAMES_BYTES_MAX = 32 * 1024 * 1024;
/** The same for all directories together. */
export const KEPT_NAMES_BYTES_MAX = 64 * 1024 * 1024;
/** A directory with more names than this is not read again for every change that others make in it… */
export const SMALL_DIRECTORY_NAMES = 4096;
/** …but what is known of it is taken for true so long. What the store itself changes is known at once. */
export const LARGE_DIRECTORY_TRUSTED_MS = 10_000;
/** Only what has been left alone for so long is known for certain: times have a resolution. */
const SETTLED_MS = 100;

/** What is made of a directory's entries. */
export interface EntryKeys {
  /** The key under which an entry is listed, if it is. */
  keyOf(entry: DirectoryEntry): string | undefined;
  /** How many of them are the work of a slice. */
  readonly sliceEntries: number;
}

/** What is known of a directory: its keys in order, or a part of them where they are too many. */
export class KnownNames {
  readonly names = new SortedNames();
  /** The first key that it can have. */
  readonly from: string;
  /** The last one, where there may be more after it. */
  to: string | undefined;
  readonly #bytesMax: number;

  constructor(from: string, bytesMax: number) {
    this.from = from;
    this.#bytesMax = bytesMax;
  }

  /** Whether it says what comes from a key on. */
  covers(key: string): boolean {
    return key >= this.from && (this.to === undefined || key < this.to);
  }

  add(key: string): void {
    if (key < this.from || (this.to !== undefined && key > this.to)) return;
    this.names.add(key);
    if (this.names.bytes > this.#bytesMax) this.to = this.names.dropLast();
  }
}

interface Kept {
  readonly known: KnownNames;
  /** Of the directory, when its names were read; NaN where it may have changed since without another time. */
  readonly mtimeMs: number;
  readonly readAtMs: number;
}

interface Reading {
  readonly known: KnownNames;
  readonly done: Promise<KnownNames>;
}

/** Limits of {@link DirectoryNames}. */
export interface DirectoryNamesLimits {
  readonly directoryBytesMax: number;
  readonly keptBytesMax: number;
  readonly smallNames: number;
  readonly trustedMs: number;
}

const DEFAULT_LIMITS: DirectoryNamesLimits = {
  directoryBytesMax: DIRECTORY_NAMES_BYTES_MAX,
  keptBytesMax: KEPT_NAMES_BYTES_MAX,
  smallNames: SMALL_DIRECTORY_NAMES,
  trustedMs: LARGE_DIRECTORY_TRUSTED_MS,
};

/**
 * Names of directories in order, which no file system gives. A directory is read in slices, once for all who ask at the
 * same time, and its names are kept within a limit of memory, so that a page of them costs a page.
 */
export class DirectoryNames {
  readonly #fs: FileSystem;
  readonly #limits: DirectoryNamesLimits;
  readonly #kept: LRUCache<string, Kept>;
  readonly #readings = new Map<string, Reading>();

  constructor(fs: FileSystem, limits: Partial<DirectoryNamesLimits> = {}) {
    this.#fs = fs;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#kept = new LRUCache<string, Kept>({
      maxSize: Math.max(this.#limits.keptBytesMax, 2 * this.#limits.directoryBytesMax),
      sizeCalculation: ({ known }) => known.names.bytes + 1,
    });
  }

  /** What a directory has from a key on. Nothing where it is none, or not ours to read. */
  async covering(directory: string, key: string, keys: EntryKeys): Promise<KnownNames> {
    for (let from = ''; ; from = key) {
      const stat = this.#fs.stat(directory);
      if (stat?.kind !== 'directory') return NOTHING;
      const kept = this.#kept.get(directory);
      if (kept?.known.covers(key) && this.#isTrue(kept, stat.mtimeMs)) return kept.known;
      const known = await (this.#readings.get(directory) ?? this.#read(directory, from, stat.mtimeMs, keys)).done;
      if (known.covers(key)) return known;
    }
  }

  /** The store itself has made an entry. */
  added(directory: string, key: string): void {
    this.#kept.get(directory)?.known.add(key);
    this.#readings.get(directory)?.known.add(key);
  }

  /** The store itself has removed an entry. */
  removed(directory: string, key: string): void {
    this.#kept.get(directory)?.known.names.delete(key);
    this.#readings.get(directory)?.known.names.delete(key);
  }

  /** Whether nothing is known, so that nobody need tell of changes. */
  get isEmpty(): boolean {
    return this.#kept.size + this.#readings.size === 0;
  }

  #isTrue({ known, mtimeMs, readAtMs }: Kept, nowMtimeMs: number): boolean {
    if (mtimeMs === nowMtimeMs) return true;
    const { smallNames, trustedMs } = this.#limits;
    return known.names.size > smallNames && performance.now() - readAtMs < trustedMs;
  }

  #read(directory: string, from: string, mtimeMs: number, keys: EntryKeys): Reading {
    const known = new KnownNames(from, this.#limits.directoryBytesMax);
    const settled = Date.now() - mtimeMs > SETTLED_MS;
    const readAtMs = performance.now();
    const done = this.#fill(known, directory, keys).then(
      () => {
        this.#readings.delete(directory);
        if (settled || known.names.size > this.#limits.smallNames) {
          this.#kept.set(directory, { known, mtimeMs: settled ? mtimeMs : Number.NaN, readAtMs });
        }
        return known;
      },
      (error: unknown) => {
        this.#readings.delete(directory);
        throw error;
      },
    );
    const reading = { known, done };
    this.#readings.set(directory, reading);
    return reading;
  }

  async #fill(known: KnownNames, directory: string, keys: EntryKeys): Promise<void> {
    try {
      const reader = await this.#fs.opendir(directory);
      try {
        for (let count = 1; ; count++) {
          const entry = await reader.read();
          if (entry === null) return;
          const key = keys.keyOf(entry);
          if (key !== undefined) known.add(key);
          if (count % keys.sliceEntries === 0) await turnBudget.take(SLICE_BYTES);
        }
      } finally {
        await reader.close();
      }
    } catch (error) {
      const code = codeOf(error);
      // Removed, or not ours to read: there is nothing to list.
      if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EACCES') throw error;
    }
  }
}

const NOTHING = new KnownNames('', 0);
