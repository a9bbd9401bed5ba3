import { MillraceError } from '../../errors.js';
import { codeOf, type FileStat, type FileSystem } from './file-system.js';
import type { Layout } from './layout.js';
import type { RootLock } from './lock.js';

/** How often a root at which nothing happens is looked at. */
export const GUARD_INTERVAL_MS = 500;

/**
 * Notices that others have removed or replaced what is Millrace's own below a root. What is acknowledged then could not
 * be found by the next start, and another server could take the root: the store must fail.
 */
export class Guard {
  readonly #fs: FileSystem;
  readonly #layout: Layout;
  readonly #lock: RootLock;
  readonly #directories: readonly { readonly path: string; readonly stat: FileStat | undefined }[];
  #isBroken = false;

  constructor(fs: FileSystem, layout: Layout, lock: RootLock) {
    this.#fs = fs;
    this.#layout = layout;
    this.#lock = lock;
    this.#directories = [layout.own, layout.journal, layout.metadata].map((path) => ({
      path,
      stat: fs.stat(path),
    }));
  }

  /** Whether something was missing. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Throws `STORE_FAILED` unless all is where it was. */
  check(): void {
    for (const { path, stat } of this.#directories) this.checkName(path, stat);
    if (!this.#lock.isInPlace) throw this.#broken(this.#layout.lock);
  }

  /** Throws `STORE_FAILED` unless a name still leads to the same file. */
  checkName(path: string, expected: Pick<FileStat, 'ino' | 'dev'> | undefined): void {
    let found: FileStat | undefined;
    try {
      found = this.#fs.stat(path);
    } catch (error) {
      throw this.#broken(path, error);
    }
    if (found === undefined || found.ino !== expected?.ino || found.dev !== expected.dev) throw this.#broken(path);
  }

  #broken(path: string, cause?: unknown): MillraceError {
    this.#isBroken = true;
    const how = cause === undefined ? 'was removed or replaced' : `cannot be reached any more (${codeOf(cause)})`;
    return new MillraceError(
      'STORE_FAILED',
      `${path} ${how} by another program while the server used it: nothing more can be kept. What was appended since the last flush is in the streams' own files, as far as those are there. Put it back, or start with what is left.`,
      { path },
      { cause },
    );
  }
}
