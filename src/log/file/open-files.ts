import { constants } from 'node:fs';
import { LRUCache } from 'lru-cache';
import { codeOf, type FileSystem } from './file-system.js';

const { O_APPEND, O_NOFOLLOW, O_NONBLOCK, O_RDWR, O_RDONLY } = constants;

/**
 * Links are not followed, nobody waits for the other end of a pipe, and a write to a file that others have cut leaves no
 * hole.
 */
const FLAGS = O_NOFOLLOW | O_NONBLOCK | O_APPEND;

/** How many data files are kept open. */
export const OPEN_FILES_MAX = 512;

/** An open file. It stays open while somebody uses it, even if the cache lets it go. */
export interface OpenFile {
  readonly fd: number;
  readonly dev: number;
  readonly ino: number;
  users: number;
  evicted: boolean;
}

/** What is there is a pipe or the like. Its code is what the system says of a directory. */
class NotAFileError extends Error {
  readonly code = 'EISDIR';

  constructor(path: string) {
    super(`${path} is not a regular file`);
    this.name = 'NotAFileError';
  }
}

/** The data files that are open: the most recently used ones, by path. */
export class OpenFiles {
  readonly #fs: FileSystem;
  readonly #files: LRUCache<string, OpenFile>;

  constructor(fs: FileSystem, max: number) {
    this.#fs = fs;
    this.#files = new LRUCache<string, OpenFile>({ max, dispose: (file) => this.#evicted(file) });
  }

  /** Opens a file that is there, or takes it from the cache. Errors of the operating system. */
  get(path: string): OpenFile {
    const known = this.#files.get(path);
    if (known !== undefined) return known;
    return this.#add(path, this.#openExisting(path));
  }

  /** Opens a file with flags of its own (to create it, private unless `mode` says otherwise). */
  open(path: string, flags: number, mode?: number): OpenFile {
    this.forget(path);
    return this.#add(
      path,
      this.#withRoom(() => this.#fs.open(path, flags | O_RDWR | FLAGS, mode)),
    );
  }

  /** Keeps a file open for the time of an asynchronous use. */
  async use<T>(file: OpenFile, work: (fd: number) => Promise<T>): Promise<T> {
    file.users++;
    try {
      return await work(file.fd);
    } finally {
      file.users--;
      if (file.evicted && file.users === 0) this.#fs.close(file.fd);
    }
  }

  forget(path: string): void {
    this.#files.delete(path);
  }

  close(): void {
    this.#files.clear();
  }

  #openExisting(path: string): number {
    try {
      return this.#withRoom(() => this.#fs.open(path, O_RDWR | FLAGS));
    } catch (error) {
      // A file that may only be read is a stream that may only be read.
      if (codeOf(error) !== 'EACCES' && codeOf(error) !== 'EROFS') throw error;
      return this.#withRoom(() => this.#fs.open(path, O_RDONLY | FLAGS));
    }
  }

  /** At the limit of the process, the files that are only kept open make room. */
  #withRoom(open: () => number): number {
    try {
      return open();
    } catch (error) {
      const code = codeOf(error);
      if ((code !== 'EMFILE' && code !== 'ENFILE') || this.#files.size === 0) throw error;
      this.#files.clear();
      return open();
    }
  }

  #add(path: string, fd: number): OpenFile {
    const { kind, dev, ino } = this.#fs.fstat(fd);
    if (kind !== 'file') {
      this.#fs.close(fd);
      throw new NotAFileError(path);
    }
    const file: OpenFile = { fd, dev, ino, users: 0, evicted: false };
    this.#files.set(path, file);
    return file;
  }

  #evicted(file: OpenFile): void {
    file.evicted = true;
    if (file.users === 0) this.#fs.close(file.fd);
  }
}
