import { pathOfFileName } from '../path.js';
import { DirectoryNames, type EntryKeys } from './directory-names.js';
import type { FileStorage } from './file-storage.js';
import type { DirectoryReader } from './file-system.js';
import { PATH_HASH_LENGTH } from './layout.js';
import type { FileParts } from './loading.js';

/** How many marks of streams that can expire one step looks at. */
const MARKS_MAX = 100;

/** Names that a walk looks at before it asks for more. */
const WALK_NAMES = 256;

/** Finds streams on the disk: the files below the root, those in the overflow directory, those that can expire. */
export class Listing {
  readonly #parts: FileParts;
  readonly #names: DirectoryNames;
  #marks: DirectoryReader | undefined;

  constructor(parts: FileParts) {
    this.#parts = parts;
    this.#names = new DirectoryNames(parts.fs);
  }

  /** Paths in order by code unit, after `after`, at most `limit`. */
  async list(options: { prefix: string; after: string; limit: number }): Promise<string[]> {
    const found: string[] = [];
    const overflow = await this.#overflowPaths(options);
    await this.#walk('', options, found);
    if (overflow.length === 0) return found;
    return [...new Set([...found, ...overflow])].sort(byCodeUnit).slice(0, options.limit);
  }

  /** The next few paths of streams that can expire, round and round. */
  async expiring(limit: number): Promise<string[]> {
    const paths: string[] = [];
    for (let looked = 0; looked < Math.min(limit, MARKS_MAX); looked++) {
      // Removed by others: the marks come back when the streams are used.
      if (this.#marks === undefined && this.#parts.fs.stat(this.#parts.layout.expiring)?.kind !== 'directory') break;
      this.#marks ??= await this.#parts.fs.opendir(this.#parts.layout.expiring);
      const entry = await this.#marks.read();
      if (entry === null) {
        await this.#marks.close();
        this.#marks = undefined;
        break;
      }
      const metadata = this.#parts.metadata.readByHash(entry.name);
      if (metadata !== undefined) paths.push(metadata.stream.path);
    }
    return paths;
  }

  close(): void {
    this.#marks?.close().catch(() => {});
    this.#marks = undefined;
  }

  /** The store has made a stream's file. */
  added(path: string, storage: FileStorage): void {
    this.#tell(path, storage, (directory, key) => this.#names.added(directory, key));
  }

  /** The store has removed a stream's file; directories that went with it may be listed, and have nothing in them. */
  removed(path: string, storage: FileStorage): void {
    this.#tell(path, storage, (directory, key, isDirectory) => {
      if (!isDirectory) this.#names.removed(directory, key);
    });
  }

  #tell(
    path: string,
    { overflow }: FileStorage,
    tell: (directory: string, key: string, isDirectory: boolean) => void,
  ): void {
    if (this.#names.isEmpty) return;
    if (overflow) {
      tell(this.#parts.layout.overflow, path, false);
      return;
    }
    const { length } = path;
    for (let end = length; end > 0; ) {
      const start = path.lastIndexOf('/', end - 1) + 1;
      const isDirectory = end < length;
      tell(this.#directoryOf(path.slice(0, start)), path.slice(start, isDirectory ? end + 1 : end), isDirectory);
      end = start - 1;
    }
  }

  async #walk(
    directory: string,
    options: { prefix: string; after: string; limit: number },
    found: string[],
  ): Promise<void> {
    const { prefix, after, limit } = options;
    const real = this.#directoryOf(directory);
    let from = firstKey(directory, prefix, after);
    for (let exclusively = false; ; exclusively = true) {
      const known = await this.#names.covering(real, from, FILES);
      const keys = known.names.slice(from, exclusively, WALK_NAMES);
      for (const key of keys) {
        if (found.length >= limit) return;
        const path = directory + key;
        if (key.endsWith('/')) {
          if (path < after && !after.startsWith(path)) continue;
          if (path.startsWith(prefix) || prefix.startsWith(path)) await this.#walk(path, options, found);
          else if (path > prefix) return;
          continue;
        }
        if (path <= after) continue;
        if (path.startsWith(prefix)) found.push(path);
        else if (path > prefix) return;
      }
      const last = keys.at(-1) ?? known.to;
      if (last === undefined) return;
      from = last;
    }
  }

  /** Streams in the overflow directory, by their paths. */
  async #overflowPaths({ prefix, after, limit }: { prefix: string; after: string; limit: number }): Promise<string[]> {
    const { layout } = this.#parts;
    const paths: string[] = [];
    let from = byCodeUnit(prefix, after) > 0 ? prefix : after;
    for (let exclusively = from === after; ; exclusively = true) {
      const known = await this.#names.covering(layout.overflow, from, this.#overflow);
      const keys = known.names.slice(from, exclusively, limit - paths.length);
      for (const path of keys) {
        if (!path.startsWith(prefix)) return paths;
        paths.push(path);
      }
      const last = keys.at(-1) ?? known.to;
      if (paths.length >= limit || last === undefined) return paths;
      from = last;
    }
  }

  /** Each costs a read of its metadata. */
  readonly #overflow: EntryKeys = {
    sliceEntries: 32,
    keyOf: ({ name }) => {
      const { metadata, places } = this.#parts;
      return places.overflowPaths.get(name) ?? metadata.readByHash(name.slice(0, PATH_HASH_LENGTH))?.stream.path;
    },
  };

  #directoryOf(directory: string): string {
    const { layout } = this.#parts;
    return directory === '' ? layout.root : layout.fileOf(directory.slice(0, -1));
  }
}

/** Entries as paths have them, in the order of paths: a directory sorts as if its name ended with a slash. */
const FILES: EntryKeys = {
  sliceEntries: 512,
  keyOf({ name, kind }) {
    if (kind !== 'file' && kind !== 'directory') return undefined;
    const key = pathOfFileName(name);
    return kind === 'directory' && key !== undefined ? `${key}/` : key;
  },
};

/** The first name that can matter: the one that leads to `after` or to the prefix, whichever is further on. */
function firstKey(directory: string, prefix: string, after: string): string {
  const from = byCodeUnit(prefix, after) > 0 ? prefix : after;
  if (!from.startsWith(directory)) return '';
  const rest = from.slice(directory.length);
  const slash = rest.indexOf('/');
  return slash < 0 ? rest : rest.slice(0, slash + 1);
}

function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
