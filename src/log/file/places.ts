import { constants } from 'node:fs';
import { basename, dirname } from 'node:path';
import { MillraceError } from '../../errors.js';
import type { FileStorage } from './file-storage.js';
import {
  codeOf,
  type FileStat,
  type FileSystem,
  makeDirectory,
  removeFile,
  SHARED_DIRECTORY_MODE,
  SHARED_FILE_MODE,
} from './file-system.js';
import type { Layout } from './layout.js';
import type { OpenFiles } from './open-files.js';

const { O_CREAT, O_EXCL, O_TRUNC } = constants;

/**
 * Where the files of streams are: at their own path, or in the overflow directory where that cannot be, because `a`
 * and `a/b` are both streams. Knows which directories have names that are not durable yet.
 */
export class Places {
  readonly #fs: FileSystem;
  readonly #layout: Layout;
  readonly #files: OpenFiles;
  /** Directories in which names came or went since they were last synced. */
  dirtyDirectories = new Set<string>();
  /** Paths of the streams in the overflow directory whose metadata may not be on the disk yet, by file name. */
  readonly overflowPaths = new Map<string, string>();

  constructor(fs: FileSystem, layout: Layout, files: OpenFiles) {
    this.#fs = fs;
    this.#layout = layout;
    this.#files = files;
  }

  /**
   * What is at a stream's own path. Undefined where nothing is, or something that is no file.
   * Throws `INVALID_PATH` where the way there leads through a symbolic link: it could lead out of the root.
   */
  find(path: string): FileStat | undefined {
    const file = this.#layout.fileOf(path);
    this.checkParents(path);
    const stat = this.#fs.stat(file);
    if (stat?.kind === 'link') throw throughLink(path);
    return stat?.kind === 'file' ? stat : undefined;
  }

  /** Throws `INVALID_PATH` unless the directories on the way to a stream, as far as they exist, are real ones. */
  checkParents(path: string): void {
    for (let parent = dirname(this.#layout.fileOf(path)); parent !== this.#layout.root; parent = dirname(parent)) {
      let real: string;
      try {
        real = this.#fs.realpath(parent);
      } catch (error) {
        const code = codeOf(error);
        if (code === 'ENOENT' || code === 'ENOTDIR') continue;
        if (code === 'ELOOP') throw throughLink(path);
        throw error;
      }
      if (real !== parent) throw throughLink(path);
      return;
    }
  }

  /** Makes a new stream's file. It must not be there, unless `again` (when the journal is replayed). */
  create(storage: FileStorage, path: string, id: string, again = false): void {
    this.checkParents(path);
    const natural = this.#layout.fileOf(path);
    const flags = O_CREAT | (again ? O_TRUNC : O_EXCL);
    try {
      this.#makeParents(natural);
      this.#files.open(natural, flags, this.#layout.isPrivate(natural) ? undefined : SHARED_FILE_MODE);
      this.#adopt(storage, natural, false);
    } catch (error) {
      const code = codeOf(error);
      const blocked = code === 'ENOTDIR' || code === 'EISDIR' || (code === 'EEXIST' && !this.#isFile(natural));
      if (!blocked) throw error;
      // Another stream's file is in the way, or a directory with other streams.
      const overflow = this.#layout.overflowOf(path, id);
      // Others may have removed it.
      if (makeDirectory(this.#fs, this.#layout.overflow)) this.dirtyDirectories.add(this.#layout.own);
      this.#files.open(overflow, flags);
      this.#adopt(storage, overflow, true);
      this.overflowPaths.set(basename(overflow), path);
    }
  }

  /** Removes a stream's file, and the directories that are empty without it. */
  remove(storage: FileStorage): void {
    const { file } = storage;
    if (file === undefined) return;
    storage.close();
    if (removeFile(this.#fs, file)) this.dirtyDirectories.add(dirname(file));
    storage.file = undefined;
    if (storage.overflow) this.overflowPaths.delete(basename(file));
    else this.#removeEmptyParents(file);
  }

  #adopt(storage: FileStorage, file: string, overflow: boolean): void {
    storage.adopt(file, overflow, 0);
    this.dirtyDirectories.add(dirname(file));
  }

  #makeParents(file: string): void {
    const parent = dirname(file);
    if (parent === this.#layout.root) return;
    const missing: string[] = [];
    for (let at = parent; at !== this.#layout.root && this.#fs.stat(at) === undefined; at = dirname(at)) {
      missing.push(at);
    }
    for (const directory of missing.reverse()) {
      const mode = this.#layout.isPrivate(directory) ? undefined : SHARED_DIRECTORY_MODE;
      if (makeDirectory(this.#fs, directory, mode)) this.dirtyDirectories.add(dirname(directory));
    }
  }

  #removeEmptyParents(file: string): void {
    for (let at = dirname(file); at !== this.#layout.root; at = dirname(at)) {
      try {
        this.#fs.rmdir(at);
      } catch {
        return;
      }
      this.dirtyDirectories.delete(at);
      this.dirtyDirectories.add(dirname(at));
    }
  }

  #isFile(path: string): boolean {
    return this.#fs.stat(path)?.kind === 'file';
  }
}

function throughLink(path: string): MillraceError {
  return new MillraceError(
    'INVALID_PATH',
    `The path ${path} leads through a symbolic link. Put the file itself below the root, or use its real path.`,
  );
}
