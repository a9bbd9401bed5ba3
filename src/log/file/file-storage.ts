import { MillraceError } from '../../errors.js';
import type { StreamStorage } from '../medium.js';
import { diskError } from './disk-error.js';
import type { FilePrint } from './file-print.js';
import { codeOf, type FileStat, type FileSystem, readAll, syncFile, writeAll, writeAllLarge } from './file-system.js';
import type { OpenFile, OpenFiles } from './open-files.js';
import type { StreamName } from './record.js';

/** Writes from this size on are done on another thread. */
const LARGE_BYTES = 256 * 1024;
/** Reads up to this size are done at once: the kernel most likely has the bytes. */
const SMALL_READ_BYTES = 4 * 1024;
/**
 * How long an append may take to notice that its file was removed, replaced, cut or made longer. (Asking costs as much as
 * a small write.) What is appended meanwhile is looked after by the flush.
 */
export const FILE_CHECK_MS = 50;
/** The same for a file that was moved, by its name or with a directory above it. */
export const FILE_NAME_CHECK_MS = 500;

/** The file of one stream. Knows how long it must be, and notices when it is not. */
export class FileStorage implements StreamStorage {
  readonly #fs: FileSystem;
  readonly #files: OpenFiles;
  readonly #streamPath: string;
  /** The journal's name of the stream, encoded once. */
  readonly name: StreamName;
  /** Undefined until the file is made. */
  file: string | undefined;
  overflow = false;
  /** Of a file put there by hand that the store has not written to. */
  print: FilePrint | undefined;
  /** Bytes that belong to the stream. */
  size = 0;
  #identity: { readonly dev: number; readonly ino: number } | undefined;
  #checkedAtMs = Number.NEGATIVE_INFINITY;
  #nameCheckedAtMs = Number.NEGATIVE_INFINITY;
  /** Its length is between two truths. */
  #growing = false;
  /** Bytes were written that no sync has covered. */
  dataDirty = false;
  /** The metadata file does not say what is true now. */
  metadataDirty = false;
  /** A durable record in the journal, newer than the last flush, tells of it. */
  inJournal = false;
  /** It is being flushed: what is on the disk is still the old state. */
  flushing = false;
  /** The newest journal record that changed it. */
  lsn = 0;
  /** Bytes up to this offset were taken out of its file by others, and looked after. */
  lostTail = 0;

  constructor(fs: FileSystem, files: OpenFiles, path: string, id: string) {
    this.#fs = fs;
    this.#files = files;
    this.#streamPath = path;
    const pathBytes = Buffer.from(path);
    this.name = { bytes: Buffer.concat([pathBytes, Buffer.from(id)]), pathLength: pathBytes.length };
  }

  get isDirty(): boolean {
    return this.dataDirty || this.metadataDirty || this.flushing;
  }

  /** Inode and birth of its file: tells it from another one that is put at its path. */
  get mark(): string | undefined {
    if (this.file === undefined) return undefined;
    const stat = this.#fs.stat(this.file);
    return stat === undefined ? undefined : fileMark(stat);
  }

  /** Looks at the name alone: who only asks need not have it open. */
  check(now: boolean): void {
    const nowMs = performance.now();
    if (!now && nowMs - this.#checkedAtMs < FILE_CHECK_MS) return;
    let named: FileStat | undefined;
    try {
      named = this.file === undefined ? undefined : this.#fs.stat(this.file);
    } catch (error) {
      throw this.#explain(error);
    }
    const isItsOwn =
      this.#identity === undefined || (named?.ino === this.#identity.ino && named.dev === this.#identity.dev);
    if (named?.kind !== 'file' || !isItsOwn || (!this.#growing && named.size < this.size)) throw this.changed();
    // An append asks for more: that nobody has made it longer.
    this.#nameCheckedAtMs = nowMs;
  }

  /** Appends at `position`, which must be its end. */
  write(position: number, data: Uint8Array): Promise<void> | undefined {
    try {
      const file = this.#checked(false);
      if (data.length >= LARGE_BYTES) return this.#writeLarge(file, position, data);
      writeAll(this.#fs, file.fd, data, position);
    } catch (error) {
      throw this.#explain(error);
    }
    this.size = position + data.length;
    this.dataDirty = true;
    return undefined;
  }

  read(position: number, length: number): Promise<Uint8Array> | Uint8Array {
    let file: OpenFile;
    const into = Buffer.allocUnsafe(length);
    try {
      file = this.#open();
      if (length <= SMALL_READ_BYTES) {
        if (readAll(this.#fs, file.fd, into, position) < length) throw this.changed();
        return into;
      }
    } catch (error) {
      throw this.#explain(error);
    }
    return this.#readLarge(file, into, position);
  }

  /**
   * Makes its bytes durable. `STREAM_FILE_CHANGED` where the file with its name does not have them any more; what fails
   * else is final.
   */
  async sync(): Promise<void> {
    let file: OpenFile;
    try {
      this.recheck();
      file = this.#checked(true);
    } catch (error) {
      throw this.#explain(error);
    }
    this.dataDirty = false;
    await this.#files.use(file, (fd) => syncFile(this.#fs, fd));
  }

  /** Cuts the file to what belongs to the stream. */
  truncate(size: number): void {
    try {
      this.#fs.truncate(this.#open().fd, size);
    } catch (error) {
      throw this.#explain(error);
    }
    this.size = size;
    this.dataDirty = true;
  }

  /** The file was just made, or found. */
  adopt(file: string, overflow: boolean, size: number): void {
    this.file = file;
    this.overflow = overflow;
    this.size = size;
    this.#identity = undefined;
    this.recheck();
  }

  /** `STREAM_FILE_CHANGED`. */
  changed(): MillraceError {
    this.close();
    return new MillraceError(
      'STREAM_FILE_CHANGED',
      `The file of ${this.#streamPath} was removed, replaced or changed by another program while the server used it. Try again: the stream is what the file now holds.`,
    );
  }

  /** Has it looked at before it is used again. */
  recheck(): void {
    this.#checkedAtMs = Number.NEGATIVE_INFINITY;
    this.#nameCheckedAtMs = Number.NEGATIVE_INFINITY;
  }

  close(): void {
    if (this.file !== undefined) this.#files.forget(this.file);
  }

  #open(): OpenFile {
    if (this.file === undefined) throw this.changed();
    const file = this.#files.get(this.file);
    if (this.#identity === undefined) this.#identity = { dev: file.dev, ino: file.ino };
    else if (this.#identity.ino !== file.ino || this.#identity.dev !== file.dev) throw this.changed();
    return file;
  }

  /**
   * The file, open, and as it was left: nobody has removed it, put another one in its place, cut it or made it longer.
   */
  #checked(now: boolean): OpenFile {
    const file = this.#open();
    const nowMs = performance.now();
    if (!now && nowMs - this.#checkedAtMs < FILE_CHECK_MS) return file;
    const { size, nlink } = this.#fs.fstat(file.fd);
    if (nlink === 0) throw this.changed();
    if (!this.#growing && size !== this.size) throw this.changed();
    this.#checkedAtMs = nowMs;
    if (nowMs - this.#nameCheckedAtMs < FILE_NAME_CHECK_MS) return file;
    const named = this.#fs.stat(this.file as string);
    if (named === undefined || named.ino !== file.ino || named.dev !== file.dev) throw this.changed();
    this.#nameCheckedAtMs = nowMs;
    return file;
  }

  async #writeLarge(file: OpenFile, position: number, data: Uint8Array): Promise<void> {
    this.size = position + data.length;
    this.dataDirty = true;
    this.#growing = true;
    try {
      await this.#files.use(file, (fd) => writeAllLarge(this.#fs, fd, [data], position));
    } catch (error) {
      throw this.#explain(error);
    } finally {
      this.#growing = false;
      // A sync that came meanwhile has not covered all of it.
      this.dataDirty = true;
    }
  }

  async #readLarge(file: OpenFile, into: Buffer, position: number): Promise<Uint8Array> {
    try {
      return await this.#files.use(file, async (fd) => {
        let read = 0;
        while (read < into.length) {
          const count = await this.#fs.readLarge(fd, read === 0 ? into : into.subarray(read), position + read);
          if (count === 0) throw this.changed();
          read += count;
        }
        return into;
      });
    } catch (error) {
      throw this.#explain(error);
    }
  }

  #explain(error: unknown): MillraceError {
    const code = codeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP' || code === 'EISDIR') return this.changed();
    return diskError(error, `The file of ${this.#streamPath} cannot be used`);
  }
}

/** Inode and birth of a file in one string. (Not the device: its number may be another one after a restart.) */
export function fileMark(stat: { readonly ino: number; readonly birthtimeMs: number }): string {
  return `${stat.ino}:${stat.birthtimeMs}`;
}
