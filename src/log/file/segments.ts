import { constants } from 'node:fs';
import { join } from 'node:path';
import { MillraceError } from '../../errors.js';
import { type FileSystem, readAll } from './file-system.js';
import type { JournalStart } from './journal.js';
import { readJournalList } from './journal-list.js';
import type { Layout } from './layout.js';
import {
  decodeRecord,
  decodeSegmentHeader,
  type JournalRecord,
  mayBeRecord,
  previousCrcAt,
  RECORD_ALIGN,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from './record.js';

const { O_RDONLY, O_NOFOLLOW } = constants;

/** A segment's file grows by this much at a time, ahead of use and filled with zeros, so that a sync has no sizes to write. */
export const JOURNAL_GROWTH_BYTES = 4 * 1024 * 1024;

/** A segment that was found, with what is needed to read it. */
export interface Segment {
  readonly path: string;
  readonly header: SegmentHeader;
  readonly bytes: number;
}

/** The journal as it was left. */
export interface FoundJournal {
  /** In the order in which they were written. */
  readonly segments: readonly Segment[];
  readonly slots: JournalStart['slots'];
  readonly listed: JournalStart['listed'];
  /** The highest log sequence number that free files, or the list of files, remember. */
  readonly freedLsn: number;
  /** The highest of the store's own times that headers remember. */
  readonly timeMs: number;
}

/**
 * Finds the segments of a journal.
 * Throws `JOURNAL_CORRUPT` where a header cannot be read, a segment between two others is missing, or a file is gone or
 * shorter than it had grown.
 */
export async function findSegments(fs: FileSystem, layout: Layout): Promise<FoundJournal> {
  const segments: Segment[] = [];
  const slots: { path: string; number: number; bytes: number }[] = [];
  const list = readJournalList(fs, layout);
  if (list === 'damaged') throw corrupt(layout.journalList, 0, 'the list of its files cannot be read');
  const missing = new Map(Object.entries(list?.files ?? {}));
  let freedLsn = list?.lsn ?? 0;
  let timeMs = 0;
  for (const { name, kind } of await fs.readdir(layout.journal)) {
    if (!/^\d+\.journal$/.test(name)) continue;
    const path = join(layout.journal, name);
    if (kind !== 'file') throw corrupt(path, 0, 'it is no file');
    const bytes = fs.stat(path)?.size ?? 0;
    const listedBytes = missing.get(name) ?? 0;
    missing.delete(name);
    const header = decodeSegmentHeader(readPart(fs, path, Math.min(SEGMENT_HEADER_BYTES, bytes)));
    if (header === 'invalid') throw corrupt(path, 0, 'the header of the segment is damaged');
    if (bytes < listedBytes) throw corrupt(path, bytes, `the file had ${listedBytes} bytes, and was cut there`);
    if (header.version === 0 && listedBytes > 0) throw corrupt(path, 0, 'the header of the segment is gone');
    if (header.version >= 2 && list === undefined)
      throw corrupt(layout.journalList, 0, 'the list of its files is gone');
    timeMs = Math.max(timeMs, header.timeMs);
    if ('free' in header) {
      freedLsn = Math.max(freedLsn, header.lsn);
      slots.push({ path, number: 0, bytes });
    } else {
      segments.push({ path, header, bytes });
      slots.push({ path, number: header.number, bytes });
    }
  }
  const [gone] = missing.keys();
  if (gone !== undefined) throw corrupt(join(layout.journal, gone), 0, 'the file is gone');
  segments.sort((a, b) => a.header.number - b.header.number);
  for (let index = 1; index < segments.length; index++) {
    const before = segments[index - 1] as Segment;
    const segment = segments[index] as Segment;
    if (segment.header.number !== before.header.number + 1) {
      throw corrupt(before.path, before.bytes, `segment ${before.header.number + 1}, which follows, is missing`);
    }
  }
  return { segments, slots, listed: list?.files, freedLsn, timeMs };
}

/** A record, with the segment in memory that holds its payload. */
export interface FoundRecord {
  readonly record: JournalRecord;
  readonly segment: Segment;
}

/**
 * Reads all records in the order in which they were written, up to where the journal was torn off, and returns the
 * log sequence number of the last one.
 *
 * Records that were being written when everything stopped are expected to be incomplete: nobody was told that they
 * are safe. But where a record is damaged and a later one says that it was on the disk already, something was lost
 * that had been acknowledged: `JOURNAL_CORRUPT`.
 */
export function readRecords(fs: FileSystem, segments: readonly Segment[], each: (found: FoundRecord) => void): number {
  let lastLsn = (segments[0]?.header.firstLsn ?? 1) - 1;
  /** Behind the last record that was read. */
  let end: { readonly path: string; readonly position: number } | undefined;
  for (const segment of segments) {
    const { header, path } = segment;
    // A segment is only begun when the one before is on the disk.
    if (header.firstLsn !== lastLsn + 1) {
      const { position } = end ?? { position: 0 };
      throw corrupt(end?.path ?? path, position, `record ${lastLsn + 1} is damaged, and ${path} goes on behind it`);
    }
    const bytes = readPart(fs, path, segment.bytes);
    const position = readSegment(bytes, segment, (found) => {
      each(found);
      lastLsn = found.record.lsn;
    });
    if (wasCut(bytes, position, header)) throw corrupt(path, bytes.length, 'the file was longer, and was cut there');
    const later = findLaterRecord(bytes, position, header, lastLsn + 1);
    if (later !== undefined) {
      throw corrupt(path, position, `record ${lastLsn + 1} is damaged, and a later one says that it had been safe`);
    }
    end = { path, position };
  }
  return lastLsn;
}

/** Reads the records of a segment up to the first place where there is no valid next one; returns that place. */
export function readSegment(bytes: Buffer, segment: Segment, each: (found: FoundRecord) => void): number {
  const { seed, firstLsn } = segment.header;
  let position = SEGMENT_HEADER_BYTES;
  let previousCrc = seed;
  for (let lsn = firstLsn; ; lsn++) {
    const record = decodeRecord(bytes, position, seed);
    if (record === undefined || previousCrcAt(bytes, position) !== previousCrc || record.lsn !== lsn) return position;
    each({ record, segment });
    previousCrc = record.crc;
    position = record.end;
  }
}

/**
 * How much of a journal file of this size was made of whole steps: the rest is the beginning of a step that was never
 * used, since the growth was broken off.
 */
export function grownBytes(size: number, fileBytes: number): number {
  return size >= fileBytes ? size : size - (size % JOURNAL_GROWTH_BYTES);
}

/**
 * Whether the file ends where more had been than the records up to `position`. No record is written to a step before
 * all of it is on the disk as zeros, so a part of a step holds nothing else.
 */
export function wasCut(bytes: Buffer, position: number, { fileBytes }: SegmentHeader): boolean {
  const whole = Math.max(grownBytes(bytes.length, fileBytes), SEGMENT_HEADER_BYTES);
  if (whole >= bytes.length) return false;
  const rest = bytes.subarray(Math.max(position, whole));
  // Where the zeros do not reach as far as the length of a next record, there may have been one.
  return rest.some((byte) => byte !== 0) || (position > whole && rest.length < 4);
}

/** Any valid record from a position on that was written when `lsn` was on the disk. */
export function findLaterRecord(
  bytes: Buffer,
  from: number,
  { seed, mark }: SegmentHeader,
  lsn: number,
): JournalRecord | undefined {
  // No segment holds more records than this.
  const lsnMax = lsn + Math.ceil(bytes.length / RECORD_HEADER_BYTES);
  for (let at = from; at + RECORD_ALIGN <= bytes.length; at += RECORD_ALIGN) {
    if (!mayBeRecord(bytes, at, mark, lsn + 1, lsnMax)) continue;
    const record = decodeRecord(bytes, at, seed);
    if (record !== undefined && record.lsn > lsn && record.syncedLsn >= lsn) return record;
  }
  return undefined;
}

/** The first bytes of a file. */
export function readPart(fs: FileSystem, path: string, bytes: number): Buffer {
  const fd = fs.open(path, O_RDONLY | O_NOFOLLOW);
  try {
    const into = Buffer.allocUnsafeSlow(bytes);
    return into.subarray(0, readAll(fs, fd, into, 0));
  } finally {
    fs.close(fd);
  }
}

function corrupt(path: string, position: number, why: string): MillraceError {
  return new MillraceError(
    'JOURNAL_CORRUPT',
    `The journal is damaged in ${path} at byte ${position}: ${why}. Nothing was changed. \`millrace check\` says which streams are touched, and puts them aside if asked to, so that all others can be served. A backup may have more.`,
    { file: path, position },
  );
}
