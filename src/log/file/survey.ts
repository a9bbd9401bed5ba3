import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { readJournalList } from './journal-list.js';
import type { FileParts } from './loading.js';
import {
  decodeRecord,
  decodeSegmentHeader,
  JOURNAL_VERSION,
  type JournalRecord,
  mayBeRecord,
  previousCrcAt,
  RECORD_ALIGN,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
} from './record.js';
import { type FoundRecord, findLaterRecord, readPart, type Segment, wasCut } from './segments.js';

/** A place where a journal is damaged. */
export interface JournalDamage {
  readonly file: string;
  readonly position: number;
  readonly why: string;
}

/** Records that were there and cannot be read. */
export interface LostRecords {
  readonly firstLsn: number;
  /** Undefined where nobody can tell how many followed. */
  readonly lastLsn: number | undefined;
  /** Where they stood, to be searched for names; undefined where that is gone, too. */
  readonly place:
    | { readonly bytes: Buffer; readonly from: number; readonly to: number; readonly mark: number }
    | undefined;
}

/** All that can be read of a journal, damaged or not. */
export interface JournalSurvey {
  readonly damages: readonly JournalDamage[];
  readonly lost: readonly LostRecords[];
  readonly records: readonly FoundRecord[];
  readonly segments: readonly Segment[];
  /** The highest log sequence number that anything speaks of. */
  readonly lsn: number;
  readonly segment: number;
  /** The highest of the store's own times that anything speaks of. */
  readonly timeMs: number;
}

/** A segment whose bytes are in memory. */
interface LoadedSegment extends Segment {
  readonly content: Buffer;
  /** Its list says that it was longer. */
  readonly isCut: boolean;
}

/**
 * Reads what there is of a journal. Where a record is damaged it goes on at the next one that surely is one: whose
 * followers lead without a gap to where the journal says that all before had been on the disk.
 */
export async function surveyJournal({ fs, layout }: FileParts): Promise<JournalSurvey> {
  const survey = new Survey();
  const list = readJournalList(fs, layout);
  if (list === 'damaged') survey.damage(layout.journalList, 0, 'the list of the journal’s files cannot be read');
  const listed = new Map(Object.entries(list === 'damaged' ? {} : (list?.files ?? {})));
  if (list !== 'damaged') survey.lsn = list?.lsn ?? 0;
  const segments: LoadedSegment[] = [];
  let newestVersion = 0;
  const names = (await fs.readdir(layout.journal)).filter(({ name }) => /^\d+\.journal$/.test(name));
  for (const { name, kind } of names) {
    const file = join(layout.journal, name);
    const listedBytes = listed.get(name) ?? 0;
    listed.delete(name);
    if (kind !== 'file') {
      survey.missing(file, 'it is no file');
      continue;
    }
    const content = readPart(fs, file, fs.stat(file)?.size ?? 0);
    const isCut = content.length < listedBytes;
    if (isCut) survey.damage(file, content.length, `the file had ${listedBytes} bytes, and was cut there`);
    const header = survey.header(file, content, listedBytes);
    newestVersion = Math.max(newestVersion, header?.version ?? 0);
    if (header !== undefined) segments.push({ path: file, header, bytes: content.length, content, isCut });
  }
  for (const name of listed.keys()) survey.missing(join(layout.journal, name), 'the file is gone');
  if (list === undefined && newestVersion >= 2) {
    survey.missing(layout.journalList, 'the list of the journal’s files is gone');
  }
  segments.sort((a, b) => a.header.firstLsn - b.header.firstLsn);
  survey.read(segments);
  return survey;
}

class Survey implements JournalSurvey {
  readonly damages: JournalDamage[] = [];
  readonly lost: LostRecords[] = [];
  readonly records: FoundRecord[] = [];
  segments: Segment[] = [];
  lsn = 0;
  segment = 0;
  timeMs = 0;
  /** A file is not there in which records may have been that nothing else speaks of. */
  #isFileMissing = false;

  damage(file: string, position: number, why: string): void {
    this.damages.push({ file, position, why });
  }

  missing(file: string, why: string): void {
    this.damage(file, 0, why);
    this.#isFileMissing = true;
  }

  /** The header of a segment, made again where it is damaged; undefined where the file is free, or nothing can be read. */
  header(file: string, content: Buffer, listedBytes: number): SegmentHeader | undefined {
    const header = decodeSegmentHeader(content.subarray(0, SEGMENT_HEADER_BYTES));
    const isGone = header !== 'invalid' && header.version === 0 && listedBytes > 0;
    if (header !== 'invalid' && !isGone) {
      this.timeMs = Math.max(this.timeMs, header.timeMs);
      if (!('free' in header)) {
        this.segment = Math.max(this.segment, header.number);
        return header;
      }
      this.lsn = Math.max(this.lsn, header.lsn);
      return undefined;
    }
    const made = remadeHeader(content);
    if (made !== undefined) {
      this.damage(file, 0, 'the header of the segment is damaged; what is behind it can be read');
      return made;
    }
    if (looksFree(content)) this.damage(file, 0, 'the header of a free file is damaged; there is nothing in it');
    else this.missing(file, 'the header of the segment is damaged, and its records cannot be read without');
    return undefined;
  }

  read(segments: readonly LoadedSegment[]): void {
    this.segments = [...segments];
    let next = segments[0]?.header.firstLsn ?? 1;
    for (const [index, segment] of segments.entries()) {
      next = this.#readSegment(segment, segments[index + 1]?.header.firstLsn);
    }
    if (this.#isFileMissing) this.lost.push({ firstLsn: next, lastLsn: undefined, place: undefined });
    this.lsn = Math.max(this.lsn, next - 1);
  }

  /** Returns the number of the record that comes next, as far as that can be told. */
  #readSegment(segment: LoadedSegment, followingLsn: number | undefined): number {
    const { content, header, path } = segment;
    let at = SEGMENT_HEADER_BYTES;
    let next = header.firstLsn;
    let previousCrc: number | undefined = header.seed;
    for (;;) {
      const record = decodeRecord(content, at, header.seed);
      if (
        record !== undefined &&
        record.lsn === next &&
        (previousCrc ?? previousCrcAt(content, at)) === previousCrcAt(content, at)
      ) {
        this.#add(record, segment);
        at = record.end;
        next = record.lsn + 1;
        previousCrc = record.crc;
        continue;
      }
      const isSafe = (last: JournalRecord | undefined) =>
        followingLsn !== undefined && last !== undefined && last.lsn + 1 === followingLsn;
      const resumed = resume(content, at, header, next, isSafe);
      if (resumed === undefined) break;
      this.damage(path, at, `${records(next, resumed.lsn - 1)} cannot be read`);
      const place = { bytes: content, from: at, to: resumed.at, mark: header.mark };
      this.lost.push({ firstLsn: next, lastLsn: resumed.lsn - 1, place });
      at = resumed.at;
      next = resumed.lsn;
      previousCrc = undefined;
    }
    if (followingLsn !== undefined && followingLsn < next) {
      this.damage(path, at, `the segment behind it begins with record ${followingLsn} again`);
    }
    if (followingLsn !== undefined && followingLsn > next) {
      this.damage(path, at, `${records(next, followingLsn - 1)} cannot be read`);
      const place = { bytes: content, from: at, to: content.length, mark: header.mark };
      this.lost.push({ firstLsn: next, lastLsn: followingLsn - 1, place });
      return followingLsn;
    }
    const isCut = segment.isCut || wasCut(content, at, header);
    const isDamaged = isCut || findLaterRecord(content, at, header, next) !== undefined;
    if (!isDamaged) return next;
    if (!segment.isCut)
      this.damage(path, at, isCut ? 'the file was longer, and was cut' : `record ${next} cannot be read`);
    const place = { bytes: content, from: at, to: content.length, mark: header.mark };
    this.lost.push({ firstLsn: next, lastLsn: undefined, place });
    return next;
  }

  #add(record: JournalRecord, segment: Segment): void {
    this.records.push({ record, segment });
    this.timeMs = Math.max(this.timeMs, record.timeMs);
  }
}

/**
 * The first record behind damage that belongs to the journal. What a failed write left looks like one: so its followers
 * must lead to one that knows the damaged record to be on the disk, or to the end of a segment that was closed.
 */
function resume(
  content: Buffer,
  from: number,
  { seed, mark }: SegmentHeader,
  lostLsn: number,
  isSafe: (last: JournalRecord | undefined) => boolean,
): { readonly at: number; readonly lsn: number } | undefined {
  const lsnMax = lostLsn + Math.ceil(content.length / RECORD_HEADER_BYTES);
  for (let at = from; at + RECORD_HEADER_BYTES <= content.length; at += RECORD_ALIGN) {
    if (!mayBeRecord(content, at, mark, lostLsn + 1, lsnMax)) continue;
    const first = decodeRecord(content, at, seed);
    if (first === undefined) continue;
    let last: JournalRecord = first;
    for (;;) {
      if (last.syncedLsn >= lostLsn) return { at, lsn: first.lsn };
      const following = decodeRecord(content, last.end, seed);
      if (following === undefined || following.lsn !== last.lsn + 1) break;
      if (previousCrcAt(content, last.end) !== last.crc) break;
      last = following;
    }
    if (isSafe(last)) return { at, lsn: first.lsn };
  }
  return undefined;
}

/** A damaged header, by what its first record says: of the two seeds that it may have had, one fits. */
function remadeHeader(content: Buffer): SegmentHeader | undefined {
  if (content.length < SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES) return undefined;
  const end = SEGMENT_HEADER_BYTES - 4;
  for (const seed of [content.readUInt32LE(end), crc32(content.subarray(0, end))]) {
    const record = decodeRecord(content, SEGMENT_HEADER_BYTES, seed);
    if (record === undefined || previousCrcAt(content, SEGMENT_HEADER_BYTES) !== seed) continue;
    return {
      version: JOURNAL_VERSION,
      number: 0,
      firstLsn: record.lsn,
      seed,
      mark: content.readUInt32LE(SEGMENT_HEADER_BYTES + 48),
      fileBytes: content.length,
      timeMs: record.timeMs,
    };
  }
  return undefined;
}

/** Whether most of the word that a free file begins with is there. */
function looksFree(content: Buffer): boolean {
  const word = 'MILLFREE';
  let same = 0;
  for (let at = 0; at < word.length; at++) if (content[at] === word.charCodeAt(at)) same++;
  return same >= word.length - 1;
}

function records(first: number, last: number): string {
  return first === last ? `record ${first}` : `records ${first} to ${last}`;
}
