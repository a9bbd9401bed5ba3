import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { basename, join } from 'node:path';
import { MillraceError } from '../../errors.js';
import type { StoreTime } from '../clock.js';
import type { Step } from '../medium.js';
import { diskError } from './disk-error.js';
import { type FileSystem, SyncError, syncDirectory, syncFile, writeAll, writeAllLarge } from './file-system.js';
import type { Guard } from './guard.js';
import { BatchEncoder, type PlannedRecord, planRecords, type StreamNames } from './journal-batch.js';
import { type JournalList, writeJournalList } from './journal-list.js';
import type { Layout } from './layout.js';
import { decodeSegmentHeader, encodeFreeHeader, encodeSegmentHeader, SEGMENT_HEADER_BYTES } from './record.js';
import { grownBytes, JOURNAL_GROWTH_BYTES } from './segments.js';

const { O_CREAT, O_RDWR, O_NOFOLLOW } = constants;

/** Size of one segment file. */
export const JOURNAL_SEGMENT_BYTES = 32 * 1024 * 1024;
/** All segments together. When that much waits to be flushed, commits wait. */
export const JOURNAL_BYTES_MAX = 4 * JOURNAL_SEGMENT_BYTES;
/** Batches from this size on are written on another thread. */
const LARGE_BYTES = 256 * 1024;
const NONCE_BYTES = 16;
const ZEROS = Buffer.alloc(256 * 1024);

export interface JournalOptions {
  readonly segmentBytes: number;
  readonly bytesMax: number;
}

/** A segment file. Its name never changes: which segment it holds stands in its header. */
interface Slot {
  readonly path: string;
  readonly fd: number;
  readonly dev: number;
  readonly ino: number;
  /** What the file had when it was opened: more than `grown` where its last step is not a whole one. */
  foundBytes: number;
  /** 0 while it is free. */
  number: number;
  /** Bytes that are on the disk, in whole steps, and of no meaning beyond the records. */
  grown: number;
}

/** Where the journal goes on after a recovery. */
export interface JournalStart {
  readonly lsn: number;
  readonly segment: number;
  /** The list of files as it stands. */
  readonly listed: JournalList['files'] | undefined;
  /** The highest of the store's own times that stands in it. */
  readonly timeMs: number;
  /** Slot files that are there, with the segment they hold and wait to be flushed (0: free). */
  readonly slots: readonly { readonly path: string; readonly number: number; readonly bytes: number }[];
}

/**
 * The write-ahead log of all streams: numbered segments in a fixed set of files that are reused in turn. A batch is
 * one write and one sync. A segment is free again when everything in it is durable in its final place.
 */
export class Journal {
  readonly #fs: FileSystem;
  readonly #layout: Layout;
  readonly #guard: Guard;
  readonly #options: JournalOptions;
  readonly #names: StreamNames;
  readonly #time: StoreTime;
  readonly #slots: Slot[] = [];
  #current: Slot | undefined;
  #position = 0;
  #seed = 0;
  #mark = 0;
  #previousCrc = 0;
  #segment: number;
  #nextLsn: number;
  #syncedLsn: number;
  #unsynced = false;
  /** A file was added whose name is not on the disk yet. */
  #hasNewFile = false;
  #growing: Promise<void> | undefined;
  #lastSync: Promise<void> = Promise.resolve();
  #lastList: Promise<void> = Promise.resolve();
  readonly #encoder = new BatchEncoder();
  /** Asked for when a segment is full: make what stands in it durable, then {@link release} it. */
  onFull: () => void = () => {};
  /** Asked for when all segments are full; resolves when one is free, rejects when that cannot be now. */
  onExhausted: () => Promise<void> = () => Promise.resolve();

  /** The journal, with its files listed. Errors of the operating system. */
  static async open(
    fs: FileSystem,
    layout: Layout,
    guard: Guard,
    options: JournalOptions,
    names: StreamNames,
    start: JournalStart,
    time: StoreTime,
  ): Promise<Journal> {
    const journal = new Journal(fs, layout, guard, options, names, start, time);
    try {
      await journal.#listFound(start.listed);
    } catch (error) {
      for (const slot of journal.#slots) fs.close(slot.fd);
      throw diskError(error, 'The journal cannot be opened');
    }
    return journal;
  }

  private constructor(
    fs: FileSystem,
    layout: Layout,
    guard: Guard,
    options: JournalOptions,
    names: StreamNames,
    start: JournalStart,
    time: StoreTime,
  ) {
    this.#fs = fs;
    this.#layout = layout;
    this.#guard = guard;
    this.#options = options;
    this.#names = names;
    this.#time = time;
    this.#segment = start.segment;
    this.#nextLsn = start.lsn + 1;
    this.#syncedLsn = start.lsn;
    for (const { path, number, bytes } of start.slots) {
      // A header is always there to be overwritten.
      const grown = Math.max(grownBytes(bytes, options.segmentBytes), Math.min(bytes, SEGMENT_HEADER_BYTES));
      const fd = fs.open(path, O_RDWR | O_NOFOLLOW);
      const { dev, ino } = fs.fstat(fd);
      this.#slots.push({ path, fd, dev, ino, foundBytes: bytes, number, grown });
    }
  }

  /** Log sequence number of the newest record. */
  get lastLsn(): number {
    return this.#nextLsn - 1;
  }

  /** The segment that is being written, or will be: everything in those before it may be flushed and freed. */
  get currentSegment(): number {
    return this.#current?.number ?? this.#segment + 1;
  }

  /** Whether the current segment holds records. */
  get hasRecords(): boolean {
    return this.#current !== undefined && this.#position > SEGMENT_HEADER_BYTES;
  }

  /**
   * Writes the records of a batch, all or none, and syncs them if `durable` says so; it is asked when they are written,
   * since making room for them may begin a flush. Resolves with its answer. Throws `STORE_FULL`, `STORE_UNAVAILABLE`
   * where none of it remains; anything else is final.
   */
  async write(steps: readonly Step[], durable: () => boolean): Promise<boolean> {
    const { records, bytes } = planRecords(steps, this.#names, {
      lsn: this.#nextLsn,
      syncedLsn: this.#syncedLsn,
      timeMs: this.#time.nowMs,
    });
    if (records.length === 0) {
      // Nothing but barriers: somebody may wait for what was written before.
      if (durable()) await this.ensureSynced(this.lastLsn);
      return false;
    }
    const room = this.#makeRoom(bytes);
    if (room !== undefined) await room;
    return this.#writeRecords(records, bytes, durable);
  }

  /** The files that hold segments, oldest first. */
  get segmentFiles(): readonly string[] {
    const used = this.#slots.filter((slot) => slot.number !== 0).sort((a, b) => a.number - b.number);
    return used.map(({ path }) => path);
  }

  /** Throws `STORE_FAILED` where a file that holds a segment is not there any more. */
  checkFiles(): void {
    for (const slot of this.#slots) if (slot.number !== 0) this.#guard.checkName(slot.path, slot);
  }

  /**
   * Resolves when the record is on the disk. Metadata must not be there before the records that it includes: their
   * numbers would be given again after a power cut, and the new records taken for included.
   */
  async ensureSynced(lsn: number): Promise<void> {
    if (lsn > this.#syncedLsn && this.#current !== undefined) await this.#sync(this.#current);
  }

  /** Closes the segment, so that all that was written so far can be flushed and freed. */
  async rotate(): Promise<void> {
    if (!this.hasRecords) return;
    await this.#nextSegment();
  }

  /** Everything up to, not including, this segment is durable elsewhere: its files are free. Oldest first. */
  async release(segment: number): Promise<void> {
    const free = this.#slots
      .filter((slot) => slot.number !== 0 && slot.number < segment && slot !== this.#current)
      .sort((a, b) => a.number - b.number);
    for (const slot of free) {
      // Not the newest number: those that are not on the disk may be given again, since no metadata has them.
      writeAll(this.#fs, slot.fd, encodeFreeHeader(this.#syncedLsn, this.#time.nowMs), 0);
      // In order and one by one: a hole in the numbers is how recovery knows of a lost segment.
      await syncFile(this.#fs, slot.fd);
      slot.number = 0;
    }
  }

  /** Whether a further segment may be begun. */
  get hasFreeSegment(): boolean {
    return (
      this.#slots.some((slot) => slot.number === 0) ||
      this.#slots.length < Math.max(2, Math.floor(this.#options.bytesMax / this.#options.segmentBytes))
    );
  }

  /** Frees the files. With `empty` everything is durable elsewhere, and nothing is left to replay. */
  async close(empty: boolean): Promise<void> {
    await this.#growing?.catch(() => {});
    try {
      if (empty) {
        this.#current = undefined;
        await this.release(Number.POSITIVE_INFINITY);
      }
    } finally {
      for (const slot of this.#slots) this.#fs.close(slot.fd);
    }
  }

  async #writeRecords(records: readonly PlannedRecord[], bytes: number, durable: () => boolean): Promise<boolean> {
    const slot = this.#current as Slot;
    const start = this.#position;
    const { buffers, crc } = this.#encoder.encode(records, this.#previousCrc, this.#mark, this.#seed);
    try {
      if (bytes < LARGE_BYTES) {
        let at = start;
        for (const buffer of buffers) {
          writeAll(this.#fs, slot.fd, buffer, at);
          at += buffer.length;
        }
      } else {
        await writeAllLarge(this.#fs, slot.fd, buffers, start);
      }
    } catch (error) {
      throw await this.#takeBack(slot, start, error);
    }
    this.#position = start + bytes;
    this.#previousCrc = crc;
    this.#nextLsn += records.length;
    this.#unsynced = true;
    this.#growAhead(slot);
    const sync = durable();
    if (sync) await this.#sync(slot);
    return sync;
  }

  async #sync(slot: Slot): Promise<void> {
    const lsn = this.lastLsn;
    await this.#syncFile(slot);
    // Bytes on the disk in a file without a name are found by nobody.
    this.#guard.checkName(slot.path, slot);
    this.#syncedLsn = Math.max(this.#syncedLsn, lsn);
    if (this.lastLsn === lsn) this.#unsynced = false;
  }

  /**
   * One after the other, and none after one that failed: the system tells of bytes that it lost once only, so of two at a
   * time only one would hear of it.
   */
  #syncFile(slot: Slot): Promise<void> {
    this.#lastSync = this.#lastSync.then(() => syncFile(this.#fs, slot.fd));
    return this.#lastSync;
  }

  /** Sees to it that the batch fits into the current segment, and that the file is that large. */
  #makeRoom(bytes: number): Promise<void> | undefined {
    const { segmentBytes } = this.#options;
    if (bytes > segmentBytes - SEGMENT_HEADER_BYTES) {
      return Promise.reject(
        new MillraceError(
          'APPEND_TOO_LARGE',
          `The append does not fit into a journal segment of ${segmentBytes} bytes.`,
        ),
      );
    }
    if (this.#current === undefined || this.#position + bytes > segmentBytes) {
      return this.#nextSegment().then(() => this.#grow(this.#current as Slot, this.#position + bytes));
    }
    if (this.#position + bytes <= this.#current.grown) return undefined;
    return this.#grow(this.#current, this.#position + bytes);
  }

  async #nextSegment(): Promise<void> {
    const before = this.#current;
    if (before !== undefined && this.#unsynced) await this.#sync(before);
    let slot = this.#slots.find((each) => each.number === 0);
    while (slot === undefined) {
      if (this.hasFreeSegment) slot = this.#addSlot();
      else {
        await this.onExhausted();
        slot = this.#slots.find((each) => each.number === 0);
      }
    }
    await this.#cutToWholeSteps(slot);
    const header = encodeSegmentHeader({
      number: this.#segment + 1,
      firstLsn: this.#nextLsn,
      nonce: randomBytes(NONCE_BYTES),
      fileBytes: this.#options.segmentBytes,
      timeMs: this.#time.nowMs,
    });
    try {
      writeAll(this.#fs, slot.fd, header, 0);
    } catch (error) {
      throw await this.#takeBack(slot, 0, error);
    }
    const decoded = decodeSegmentHeader(header);
    if (decoded === 'invalid' || 'free' in decoded)
      throw new Error('A segment header that was just made cannot be read.');
    this.#segment++;
    slot.number = this.#segment;
    slot.grown = Math.max(slot.grown, SEGMENT_HEADER_BYTES);
    this.#seed = decoded.seed;
    this.#mark = decoded.mark;
    this.#previousCrc = decoded.seed;
    this.#current = slot;
    this.#position = SEGMENT_HEADER_BYTES;
    // Its header goes to the disk with the first batch.
    this.#unsynced = true;
    if (before !== undefined) this.onFull();
  }

  /** What an earlier use left in a part of a step is not to be taken for records of this one. */
  async #cutToWholeSteps(slot: Slot): Promise<void> {
    if (slot.foundBytes <= slot.grown) return;
    try {
      // What the list has must not be more than there is, at no moment.
      await this.#list();
      this.#fs.truncate(slot.fd, slot.grown);
    } catch (error) {
      throw diskError(error, 'The journal cannot use a file again');
    }
    await this.#syncFile(slot);
    slot.foundBytes = slot.grown;
  }

  #addSlot(): Slot {
    let index = this.#slots.length;
    for (;;) {
      const path = join(this.#layout.journal, `${String(index).padStart(4, '0')}.journal`);
      if (this.#slots.some((slot) => slot.path === path)) {
        index++;
        continue;
      }
      try {
        const fd = this.#fs.open(path, O_RDWR | O_CREAT | O_NOFOLLOW);
        const { dev, ino } = this.#fs.fstat(fd);
        const slot: Slot = { path, fd, dev, ino, foundBytes: 0, number: 0, grown: 0 };
        this.#slots.push(slot);
        this.#hasNewFile = true;
        return slot;
      } catch (error) {
        throw diskError(error, 'The journal cannot get a further file');
      }
    }
  }

  /** Grows the file, and keeps a step ahead from then on. */
  async #grow(slot: Slot, needed: number): Promise<void> {
    while (slot.grown < needed) {
      if (this.#growing !== undefined) {
        await this.#growing.catch(() => {});
        if (slot.grown >= needed) return;
      }
      try {
        await this.#growOnce(slot);
      } catch (error) {
        throw error instanceof SyncError ? error : diskError(error, 'The journal cannot grow');
      }
    }
  }

  #growAhead(slot: Slot): void {
    if (this.#growing !== undefined || slot.grown >= this.#options.segmentBytes) return;
    if (slot.grown - this.#position > JOURNAL_GROWTH_BYTES / 2) return;
    // Where that fails, the batch that needs the room says so.
    this.#growOnce(slot).catch(() => {});
  }

  #growOnce(slot: Slot): Promise<void> {
    const from = slot.grown;
    const to = Math.min(from - (from % JOURNAL_GROWTH_BYTES) + JOURNAL_GROWTH_BYTES, this.#options.segmentBytes);
    const zeros: Uint8Array[] = [];
    for (let at = from; at < to; at += ZEROS.length) zeros.push(ZEROS.subarray(0, Math.min(ZEROS.length, to - at)));
    const grow = async () => {
      try {
        await writeAllLarge(this.#fs, slot.fd, zeros, from);
        // How recovery tells a file that was cut: records are only where all of a step had been on the disk.
        await this.#syncFile(slot);
        await this.#list(slot, to);
        slot.grown = to;
      } finally {
        this.#growing = undefined;
      }
    };
    this.#growing = grow();
    return this.#growing;
  }

  /** Before anything is written: from here on, what is missing is noticed. */
  async #listFound(listed: JournalList['files'] | undefined): Promise<void> {
    const found = this.#slots.filter(({ path, grown }) => grown > (listed?.[basename(path)] ?? 0));
    // How long a killed process made them may be known to the page cache only.
    for (const slot of found) await this.#syncFile(slot);
    const isListed = listed !== undefined && found.every(({ grown }) => grown <= SEGMENT_HEADER_BYTES);
    if (isListed) return;
    this.#hasNewFile = found.length > 0;
    await this.#list();
  }

  /** Makes the list of files say what is on the disk, with one that has just grown. One after the other. */
  #list(grownSlot?: Slot, grownBytes = 0): Promise<void> {
    const write = async () => {
      if (this.#hasNewFile) {
        await syncDirectory(this.#fs, this.#layout.journal);
        this.#hasNewFile = false;
      }
      const files: Record<string, number> = {};
      for (const slot of this.#slots) {
        const bytes = slot === grownSlot ? grownBytes : slot.grown;
        // A file in which there was never room for a record may be gone after a power cut.
        if (bytes > SEGMENT_HEADER_BYTES) files[basename(slot.path)] = bytes;
      }
      await writeJournalList(this.#fs, this.#layout, { version: 1, lsn: this.#syncedLsn, files });
    };
    this.#lastList = this.#lastList.then(write, write);
    return this.#lastList;
  }

  /**
   * A write failed half way: whatever of it is in the file must never be read as records. Returns the error to throw;
   * one that is final where that cannot be made sure.
   */
  async #takeBack(slot: Slot, position: number, error: unknown): Promise<Error> {
    try {
      if (slot.grown === 0) {
        // A file that was just made: what takes bytes away needs no room, and a full disk has none.
        this.#fs.truncate(slot.fd, 0);
      } else {
        const nothing =
          position === 0
            ? encodeFreeHeader(this.#syncedLsn, this.#time.nowMs)
            : ZEROS.subarray(0, SEGMENT_HEADER_BYTES);
        writeAll(this.#fs, slot.fd, nothing, position);
      }
      await this.#syncFile(slot);
    } catch (cause) {
      return new Error(`A failed journal write could not be taken back (${String(cause)})`, { cause: error });
    }
    return diskError(error, 'The journal cannot be written');
  }
}
