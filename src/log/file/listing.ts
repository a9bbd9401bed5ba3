import { LRUCache } from 'lru-cache';
import { pathOfFileName } from '../path.js';
import { codeOf, type DirectoryEntry, type DirectoryReader } from './file-system.js';
import { PATH_HASH_LENGTH } from './layout.js';
import type { FileParts } from './loading.js';

/** How many names of directories are kept in order, so that the next page of a large one need not sort it again. */
const NAMES_KEPT_MAX = 200_000;
/** How many marks of streams that can expire one step looks at. */
const MARKS_MAX = 100;

/** Only what has been left alone for so long is kept: times have a resolution. */
const SETTLED_MS = 100;

interface Names {
  readonly mtimeMs: number;
  /** In the order of the paths: a directory sorts as if its name ended with a slash. */
  readonly names: readonly { readonly key: string; readonly directory: boolean }[];
}

/** Finds streams on the disk: the files below the root, those in the overflow directory, those that can expire. */
export class Listing {
  readonly #parts: FileParts;
  readonly #kept = new LRUCache<string, Names>({
    maxSize: NAMES_KEPT_MAX,
    sizeCalculation: (names) => names.names.length + 1,
  });
  #marks: DirectoryReader | undefined;

  constructor(parts: FileParts) {
    this.#parts = parts;
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

  async #walk(
    directory: string,
    options: { prefix: string; after: string; limit: number },
    found: string[],
  ): Promise<void> {
    const { prefix, after, limit } = options;
    const { names } = await this.#namesIn(directory);
    for (let at = firstAt(names, afterKey(directory, prefix, after)); at < names.length; at++) {
      if (found.length >= limit) return;
      const { key, directory: isDirectory } = names[at] as Names['names'][number];
      const path = directory + key;
      if (isDirectory) {
        if (path < after && !after.startsWith(path)) continue;
        if (path.startsWith(prefix) || prefix.startsWith(path)) await this.#walk(path, options, found);
        else if (path > prefix) return;
        continue;
      }
      if (path <= after) continue;
      if (path.startsWith(prefix)) found.push(path);
      else if (path > prefix) return;
    }
  }

  async #namesIn(directory: string): Promise<Names> {
    const { fs, layout } = this.#parts;
    const real = directory === '' ? layout.root : layout.fileOf(directory.slice(0, -1));
    const stat = fs.stat(real);
    if (stat?.kind !== 'directory') return { mtimeMs: 0, names: [] };
    const kept = this.#kept.get(directory);
    if (kept !== undefined && kept.mtimeMs === stat.mtimeMs) return kept;
    let entries: DirectoryEntry[];
    try {
      entries = await fs.readdir(real);
    } catch (error) {
      const code = codeOf(error);
      // Removed, or not ours to read: there is nothing to list.
      if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES') return { mtimeMs: 0, names: [] };
      throw error;
    }
    const names = {
      mtimeMs: stat.mtimeMs,
      names: entries.flatMap(namedByPath).sort((a, b) => byCodeUnit(a.key, b.key)),
    };
    // A directory that just changed may change again within the resolution of its time.
    if (Date.now() - stat.mtimeMs > SETTLED_MS) this.#kept.set(directory, names);
    return names;
  }

  async #overflowPaths(options: { prefix: string; after: string; limit: number }): Promise<string[]> {
    const { prefix, after, limit } = options;
    const { fs, layout, metadata, places } = this.#parts;
    const paths: string[] = [];
    // Removed by others: the streams whose files were in there are gone.
    if (fs.stat(layout.overflow)?.kind !== 'directory') return [];
    for (const { name } of await fs.readdir(layout.overflow)) {
      const path = places.overflowPaths.get(name) ?? metadata.readByHash(name.slice(0, PATH_HASH_LENGTH))?.stream.path;
      if (path !== undefined && path > after && path.startsWith(prefix)) paths.push(path);
    }
    return paths.sort(byCodeUnit).slice(0, limit);
  }
}

/** An entry under the name that it has in paths, where it has one. */
function namedByPath({ name, kind }: DirectoryEntry): Names['names'] {
  if (kind !== 'file' && kind !== 'directory') return [];
  const key = pathOfFileName(name);
  if (key === undefined) return [];
  return [kind === 'directory' ? { key: `${key}/`, directory: true } : { key, directory: false }];
}

/** The first name that can matter: the one that leads to `after` or to the prefix, whichever is further on. */
function afterKey(directory: string, prefix: string, after: string): string {
  const from = byCodeUnit(prefix, after) > 0 ? prefix : after;
  if (!from.startsWith(directory)) return '';
  const rest = from.slice(directory.length);
  const slash = rest.indexOf('/');
  return slash < 0 ? rest : rest.slice(0, slash + 1);
}

function firstAt(names: Names['names'], key: string): number {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((names[middle] as Names['names'][number]).key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
