import { constants } from 'node:fs';
import { basename, join } from 'node:path';
import { MillraceError } from '../../errors.js';
import { diskError } from './disk-error.js';
import { type Extent, Extents } from './extents.js';
import {
  codeOf,
  type FileSystem,
  makeDirectory,
  readAllLarge,
  readSmallFile,
  replaceFile,
  syncDirectory,
  syncFile,
  writeAllLarge,
} from './file-system.js';
import { hashOf, type Layout } from './layout.js';
import { decodeSegmentHeader, RecordType } from './record.js';
import { readSegment, type Segment } from './segments.js';

const { O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_TRUNC, O_WRONLY } = constants;

/** Acknowledged bytes that others took out of their stream's file, and that were kept beside it. */
export interface Loss {
  /** The stream. */
  readonly path: string;
  readonly id: string;
  /** The offset of the first byte. */
  readonly offset: number;
  readonly bytes: number;
  /** Where they are now. */
  readonly file: string;
}

/** What may be lost: bytes up to `tail` that the journal has, of a stream whose file is not what it was. */
export interface Candidate {
  readonly path: string;
  readonly id: string;
  /** The file that has the stream's name, and the offset of its first byte; undefined where there is none to look into. */
  readonly place: { readonly file: string; readonly start: number } | undefined;
  /** The newest record that tells of them. */
  readonly lsn: number;
  readonly tail: number;
}

/**
 * Sees to it that no acknowledged byte leaves the journal unless it is in the file that has its stream's name: where
 * others removed, replaced or cut that file, what the journal has of it is written to `.millrace/lost`, and told.
 */
export class Losses {
  readonly #fs: FileSystem;
  readonly #layout: Layout;
  readonly #told: (loss: Loss) => void;
  #candidates: Candidate[] = [];
  #settling: Promise<void> = Promise.resolve();
  /** How many are kept. */
  count = 0;
  /** The files of the journal that hold segments, oldest first. */
  segmentFiles: () => readonly string[] = () => [];

  constructor(fs: FileSystem, layout: Layout, told: (loss: Loss) => void) {
    this.#fs = fs;
    this.#layout = layout;
    this.#told = told;
  }

  /** Counts what is kept from earlier. */
  async open(): Promise<void> {
    if (this.#fs.stat(this.#layout.lost)?.kind !== 'directory') return;
    for (const { name } of await this.#fs.readdir(this.#layout.lost)) if (name.endsWith('.json')) this.count++;
  }

  /** Has a stream looked after, soon, and at the latest before its records are freed. */
  add(candidate: Candidate): void {
    this.#candidates.push(candidate);
    // Where that cannot be done now, the flush says so.
    setImmediate(() => void this.settle().catch(() => {}));
  }

  /** Resolves when all that was added is in place or kept. Throws where that cannot be. */
  settle(): Promise<void> {
    const settle = async () => {
      for (let next = this.#candidates[0]; next !== undefined; next = this.#candidates[0]) {
        await this.keep(next, await this.#extentsOf(next));
        this.#candidates.shift();
      }
    };
    this.#settling = this.#settling.then(settle, settle);
    return this.#settling;
  }

  /** Keeps the bytes of these extents, unless they are in the file that has the stream's name. */
  async keep(candidate: Omit<Candidate, 'tail'>, extents: readonly Extent[]): Promise<void> {
    const first = extents[0];
    if (first === undefined) return;
    try {
      if (await this.#isInPlace(candidate, extents)) return;
      await this.#write(candidate, first.offset, extents);
    } catch (error) {
      throw diskError(error, `What was taken out of the file of ${candidate.path} cannot be kept`);
    }
  }

  async #extentsOf({ path, id, lsn, tail }: Candidate): Promise<readonly Extent[]> {
    let extents = new Extents();
    for (const file of this.segmentFiles()) {
      const bytes = await this.#read(file, 0, this.#fs.stat(file)?.size ?? 0);
      const header = decodeSegmentHeader(bytes);
      // Freed in the meantime: all that was in it is in place.
      if (header === 'invalid' || 'free' in header) continue;
      const segment: Segment = { path: file, header, bytes: bytes.length };
      readSegment(bytes, segment, ({ record }) => {
        if (record.lsn > lsn || record.path !== path || record.id !== id) return;
        if (record.type === RecordType.append) extents.add(record, segment);
        else if (record.type === RecordType.state) extents.cut(record.offset);
        else {
          extents = new Extents();
          if (record.type === RecordType.create) extents.add(record, segment);
        }
      });
    }
    extents.cut(tail);
    return extents.all;
  }

  /** Also makes sure that they are on the disk there. */
  async #isInPlace({ place }: Pick<Candidate, 'place'>, extents: readonly Extent[]): Promise<boolean> {
    if (place === undefined || this.#fs.stat(place.file)?.kind !== 'file') return false;
    let fd: number;
    try {
      // What is behind a symbolic link is not the stream's.
      if (this.#fs.realpath(place.file) !== place.file) return false;
      fd = this.#fs.open(place.file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    } catch (error) {
      if (['ENOENT', 'ELOOP', 'EACCES', 'ENOTDIR'].includes(codeOf(error) ?? '')) return false;
      throw error;
    }
    try {
      for (const { segment, offset, position, length } of extents) {
        const there = Buffer.allocUnsafe(length);
        if ((await readAllLarge(this.#fs, fd, there, offset - place.start)) < length) return false;
        if (!there.equals(await this.#read(segment.path, position, length))) return false;
      }
      await syncFile(this.#fs, fd);
      return true;
    } finally {
      this.#fs.close(fd);
    }
  }

  async #write(
    { path, id }: Pick<Candidate, 'path' | 'id'>,
    offset: number,
    extents: readonly Extent[],
  ): Promise<void> {
    const { lost, own } = this.#layout;
    if (makeDirectory(this.#fs, lost)) await syncDirectory(this.#fs, own);
    const last = extents[extents.length - 1] as Extent;
    const bytes = last.offset + last.length - offset;
    const file = join(lost, `${hashOf(path)}-${id}-${offset}-${bytes}`);
    const note = `${file}.json`;
    // Kept before the process ended, and found in the journal again.
    if (readSmallFile(this.#fs, note) !== undefined) return;
    const fd = this.#fs.open(file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
    try {
      for (const extent of extents) {
        const data = await this.#read(extent.segment.path, extent.position, extent.length);
        await writeAllLarge(this.#fs, fd, [data], extent.offset - offset);
      }
      await syncFile(this.#fs, fd);
    } finally {
      this.#fs.close(fd);
    }
    const told = { version: 1, path, id, offset, bytes, file: basename(file), foundAt: new Date().toISOString() };
    await replaceFile(this.#fs, note, Buffer.from(`${JSON.stringify(told)}\n`));
    this.count++;
    this.#told({ path, id, offset, bytes, file });
  }

  async #read(path: string, position: number, length: number): Promise<Buffer> {
    const fd = this.#fs.open(path, O_RDONLY | O_NOFOLLOW);
    try {
      const into = Buffer.allocUnsafe(length);
      return into.subarray(0, await readAllLarge(this.#fs, fd, into, position));
    } finally {
      this.#fs.close(fd);
    }
  }
}

/** A loss as an error, for a log. */
export function lossError({ path, id, offset, bytes, file }: Loss): MillraceError {
  return new MillraceError(
    'STREAM_FILE_CHANGED',
    `The file of ${path} was removed, replaced or cut by another program before all that had been acknowledged was flushed to it: ${bytes} bytes from offset ${offset} on are kept in ${file}. Bring them to where they belong, then remove that file.`,
    { path, id, offset, bytes, file },
  );
}
