import * as fs from 'node:fs';
import { dirname } from 'node:path';

const nodeConstants = fs.constants;

/** Of a file, of a directory that belongs to the store alone, whatever the umask. */
export const PRIVATE_FILE_MODE = 0o600;
export const PRIVATE_DIRECTORY_MODE = 0o700;
/** Of the streams' files and directories: what the umask leaves of it. */
export const SHARED_FILE_MODE = 0o666;
export const SHARED_DIRECTORY_MODE = 0o777;

/** What is asked about a file. */
export interface FileStat {
  readonly kind: 'file' | 'directory' | 'link' | 'other';
  readonly size: number;
  readonly dev: number;
  readonly ino: number;
  readonly birthtimeMs: number;
  readonly mtimeMs: number;
  /** How many names it has: none when it was removed, or another file was put in its place. */
  readonly nlink: number;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly kind: FileStat['kind'];
}

/** How many names are read from a directory at a time. */
const DIRECTORY_READ_NAMES = 512;

/** A directory that is read name by name. */
export interface DirectoryReader {
  read(): Promise<DirectoryEntry | null>;
  close(): Promise<void>;
}

/**
 * The calls that the file store makes, and no others: the seam at which tests let disks fill up and syncs fail.
 * Errors are those of Node, with their `code`.
 *
 * What is synchronous is so on purpose: writing or asking about what the kernel has in memory takes a few
 * microseconds, handing it to another thread takes twenty. Whatever waits for a disk is asynchronous.
 */
export interface FileSystem {
  /** A file that this makes is private, unless `mode` says otherwise. */
  open(path: string, flags: number, mode?: number): number;
  close(fd: number): void;
  /** May write less than it was given. */
  write(fd: number, data: Uint8Array, position: number): number;
  writeLarge(fd: number, data: readonly Uint8Array[], position: number): Promise<number>;
  read(fd: number, into: Uint8Array, position: number): number;
  readLarge(fd: number, into: Uint8Array, position: number): Promise<number>;
  /** fdatasync(2). */
  sync(fd: number): Promise<void>;
  truncate(fd: number, length: number): void;
  /** Of the thing itself, not of what a link points to; undefined where there is nothing. */
  stat(path: string): FileStat | undefined;
  fstat(fd: number): FileStat;
  realpath(path: string): string;
  /** Private, unless `mode` says otherwise. */
  mkdir(path: string, mode?: number): void;
  unlink(path: string): void;
  rmdir(path: string): void;
  rename(from: string, to: string): void;
  readFile(path: string): Buffer;
  readdir(path: string): Promise<DirectoryEntry[]>;
  opendir(path: string): Promise<DirectoryReader>;
}

/** The operating system's. */
export const nodeFileSystem: FileSystem = {
  open: (path, flags, mode = PRIVATE_FILE_MODE) => fs.openSync(path, flags, mode),
  close: (fd) => fs.closeSync(fd),
  write: (fd, data, position) => fs.writeSync(fd, data, 0, data.length, position),
  writeLarge: (fd, data, position) =>
    new Promise((resolve, reject) => {
      fs.writev(fd, data, position, (error, written) => (error === null ? resolve(written) : reject(error)));
    }),
  read: (fd, into, position) => fs.readSync(fd, into, 0, into.length, position),
  readLarge: (fd, into, position) =>
    new Promise((resolve, reject) => {
      fs.read(fd, into, 0, into.length, position, (error, read) => (error === null ? resolve(read) : reject(error)));
    }),
  sync: (fd) =>
    new Promise((resolve, reject) => {
      fs.fdatasync(fd, (error) => (error === null ? resolve() : reject(error)));
    }),
  truncate: (fd, length) => fs.ftruncateSync(fd, length),
  stat: (path) => {
    try {
      const stat = fs.lstatSync(path, { throwIfNoEntry: false });
      return stat === undefined ? undefined : toFileStat(stat);
    } catch (error) {
      // Below a file there is nothing either.
      if (codeOf(error) === 'ENOTDIR') return undefined;
      throw error;
    }
  },
  fstat: (fd) => toFileStat(fs.fstatSync(fd)),
  realpath: (path) => fs.realpathSync.native(path),
  mkdir: (path, mode = PRIVATE_DIRECTORY_MODE) => fs.mkdirSync(path, mode),
  unlink: (path) => fs.unlinkSync(path),
  rmdir: (path) => fs.rmdirSync(path),
  rename: (from, to) => fs.renameSync(from, to),
  readFile: (path) => fs.readFileSync(path),
  readdir: async (path) =>
    (await fs.promises.readdir(path, { withFileTypes: true })).map((entry) => ({
      name: entry.name,
      kind: kindOf(entry),
    })),
  opendir: async (path) => {
    const directory = await fs.promises.opendir(path, { bufferSize: DIRECTORY_READ_NAMES });
    return {
      read: () => directory.read().then((entry) => entry && { name: entry.name, kind: kindOf(entry) }),
      close: () => directory.close(),
    };
  },
};

function toFileStat(stat: fs.Stats): FileStat {
  const { size, dev, ino, birthtimeMs, mtimeMs, nlink } = stat;
  return { kind: kindOf(stat), size, dev, ino, birthtimeMs, mtimeMs, nlink };
}

function kindOf(entry: fs.Stats | fs.Dirent): FileStat['kind'] {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'directory';
  return entry.isSymbolicLink() ? 'link' : 'other';
}

/** Writes all of it. */
export function writeAll(fs: FileSystem, fd: number, data: Uint8Array, position: number): void {
  let written = 0;
  while (written < data.length) {
    written += fs.write(fd, written === 0 ? data : data.subarray(written), position + written);
  }
}

/** Writes all of it, on another thread. */
export async function writeAllLarge(
  fs: FileSystem,
  fd: number,
  data: readonly Uint8Array[],
  position: number,
): Promise<void> {
  let rest = data;
  let at = position;
  while (rest.length > 0) {
    let written = await fs.writeLarge(fd, rest, at);
    at += written;
    let whole = 0;
    while (whole < rest.length && written >= (rest[whole] as Uint8Array).length) {
      written -= (rest[whole++] as Uint8Array).length;
    }
    rest = rest.slice(whole);
    if (written > 0) rest = [(rest[0] as Uint8Array).subarray(written), ...rest.slice(1)];
  }
}

/** Reads until `into` is full or the file ends; returns how many bytes there were. */
export function readAll(fs: FileSystem, fd: number, into: Uint8Array, position: number): number {
  let read = 0;
  while (read < into.length) {
    const count = fs.read(fd, into.subarray(read), position + read);
    if (count === 0) break;
    read += count;
  }
  return read;
}

/** As {@link readAll}, on another thread. */
export async function readAllLarge(fs: FileSystem, fd: number, into: Uint8Array, position: number): Promise<number> {
  let read = 0;
  while (read < into.length) {
    const count = await fs.readLarge(fd, read === 0 ? into : into.subarray(read), position + read);
    if (count === 0) break;
    read += count;
  }
  return read;
}

/** A sync that failed: what it was to make durable may be lost, and a second one would not tell. */
export class SyncError extends Error {
  constructor(cause: unknown) {
    super(`a sync to disk failed (${codeOf(cause) ?? String(cause)})`, { cause });
    this.name = 'SyncError';
  }
}

/** Makes a file's bytes durable. Throws {@link SyncError}, never to be retried. */
export async function syncFile(fs: FileSystem, fd: number): Promise<void> {
  try {
    await fs.sync(fd);
  } catch (error) {
    throw new SyncError(error);
  }
}

/** Makes names that came and went in a directory durable. */
export async function syncDirectory(fs: FileSystem, path: string): Promise<void> {
  const fd = fs.open(path, nodeConstants.O_RDONLY | nodeConstants.O_DIRECTORY);
  try {
    await syncFile(fs, fd);
  } finally {
    fs.close(fd);
  }
}

/** Puts a small file in the place of the one before: there is always the old or the new one. Resolves when it is on the disk. */
export async function replaceFile(fs: FileSystem, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.new`;
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = nodeConstants;
  const fd = fs.open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
  try {
    writeAll(fs, fd, bytes, 0);
    await syncFile(fs, fd);
  } finally {
    fs.close(fd);
  }
  fs.rename(temporary, path);
  await syncDirectory(fs, dirname(path));
}

/** All of a file; undefined where there is none. What is no file, a pipe above all, is not opened. */
export function readSmallFile(fs: FileSystem, path: string): Buffer | undefined {
  return fs.stat(path)?.kind === 'file' ? fs.readFile(path) : undefined;
}

/** Makes a directory where there is none; whether it made one. */
export function makeDirectory(fs: FileSystem, path: string, mode?: number): boolean {
  try {
    fs.mkdir(path, mode);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Removes a name that may not be there; whether it was. */
export function removeFile(fs: FileSystem, path: string): boolean {
  try {
    fs.unlink(path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}

/** The `code` of an error of the operating system. */
export function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}
