import { crc32 } from 'node:zlib';
import type { AppenderState } from '../stream.js';

/**
 * The bytes of the journal; docs/journal-format.md describes them. Everything is little-endian, records begin at
 * multiples of {@link RECORD_ALIGN}.
 */

/** Version 2 added the list of the journal's files; segments of version 1 are read, and may stand without a list. */
export const JOURNAL_VERSION = 2;
const JOURNAL_VERSION_MIN = 1;
export const SEGMENT_HEADER_BYTES = 64;
export const RECORD_HEADER_BYTES = 52;
export const RECORD_ALIGN = 8;

const MAGIC = 'MILLRJNL';
const FREE_MAGIC = 'MILLFREE';

export interface SegmentHeader {
  readonly version: number;
  /** Counts up with each segment. */
  readonly number: number;
  /** Log sequence number of its first record. */
  readonly firstLsn: number;
  /** Checksums of its records begin with this, so that what an earlier use of the file left is never valid. */
  readonly seed: number;
  /** Stands in each of its records. Random, so that what somebody appended to a stream never looks like a record. */
  readonly mark: number;
  /** How long the file is when it has grown as far as it will. */
  readonly fileBytes: number;
  /** The store's own time at which it was begun. */
  readonly timeMs: number;
}

export const RecordType = { create: 1, append: 2, state: 3, delete: 4, forget: 5, name: 6 } as const;
export type RecordType = (typeof RecordType)[keyof typeof RecordType];

const FLAG_CLOSE = 1;
const FLAG_PRODUCER = 2;
const FLAG_STREAM_SEQ = 4;
const FLAG_SOFT = 8;
const FLAG_BODY = 16;

/** By the number that stands in a record. */
const APPENDER_STATES: readonly (AppenderState | undefined)[] = [undefined, 'lives', 'left', 'lost'];

/** A record as the writer gives it. */
export interface RecordFields {
  readonly type: RecordType;
  readonly lsn: number;
  /** The highest log sequence number known to be on the disk when this one was written. */
  readonly syncedLsn: number;
  /** The store's own time. */
  readonly timeMs: number;
  /** Path and id of the stream, UTF-8, one after the other. */
  readonly name: StreamName;
  /** The offset of the payload; without one the stream's tail. */
  readonly offset: number;
  readonly close: boolean;
  readonly soft: boolean;
  readonly producer: RecordProducer | undefined;
  readonly streamSeq: string | undefined;
  /** Of an `append` without payload: what became of an appender session. */
  readonly appender: AppenderState | undefined;
  /** JSON: the stream's snapshot (`create`, `state`, `name`), or what is known of its file (`delete`). */
  readonly body: Uint8Array | undefined;
}

export interface StreamName {
  readonly bytes: Uint8Array;
  readonly pathLength: number;
}

export interface RecordProducer {
  readonly id: string;
  readonly epoch: number;
  readonly seq: number;
  readonly fence: number;
}

/** A record as the reader finds it. */
export interface JournalRecord {
  readonly type: RecordType;
  readonly lsn: number;
  readonly syncedLsn: number;
  readonly timeMs: number;
  readonly path: string;
  readonly id: string;
  readonly offset: number;
  readonly close: boolean;
  readonly soft: boolean;
  readonly producer: RecordProducer | undefined;
  readonly streamSeq: string | undefined;
  readonly appender: AppenderState | undefined;
  readonly body: Uint8Array | undefined;
  /** Where the payload stands in the segment. */
  readonly payloadPosition: number;
  readonly payloadLength: number;
  readonly crc: number;
  /** Where the next record begins. */
  readonly end: number;
}

/** What the file of a segment holds once it may be used again. */
export interface FreeSegment {
  readonly free: true;
  /** 0 where nothing was written yet. */
  readonly version: number;
  /** Log sequence numbers up to this one were given before: metadata may have them, so they must not be given again. */
  readonly lsn: number;
  /** The store's own time when it was freed. */
  readonly timeMs: number;
}

/** What a segment's header is made of. */
export interface SegmentStart {
  readonly number: number;
  readonly firstLsn: number;
  readonly nonce: Uint8Array;
  readonly fileBytes: number;
  readonly timeMs: number;
}

export function encodeSegmentHeader(start: SegmentStart): Buffer {
  return sealHeader(MAGIC, start);
}

export function encodeFreeHeader(lsn: number, timeMs: number): Buffer {
  return sealHeader(FREE_MAGIC, { number: 0, firstLsn: lsn, nonce: new Uint8Array(0), fileBytes: 0, timeMs });
}

function sealHeader(magic: string, { number, firstLsn, nonce, fileBytes, timeMs }: SegmentStart): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  bytes.write(magic, 0, 'latin1');
  bytes.writeUInt32LE(JOURNAL_VERSION, 8);
  bytes.writeUIntLE(number, 16, 6);
  bytes.writeUIntLE(firstLsn, 24, 6);
  bytes.set(nonce.subarray(0, 16), 32);
  bytes.writeUIntLE(fileBytes, 48, 6);
  bytes.writeUIntLE(timeMs, 54, 6);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, SEGMENT_HEADER_BYTES - 4)), SEGMENT_HEADER_BYTES - 4);
  return bytes;
}

/** What the header of a segment's file says; `invalid` where it is none. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | FreeSegment | 'invalid' {
  const head = bytes.subarray(0, SEGMENT_HEADER_BYTES);
  // Just made: nothing was written yet.
  if (head.every((byte) => byte === 0)) return { free: true, version: 0, lsn: 0, timeMs: 0 };
  if (head.length < SEGMENT_HEADER_BYTES) return 'invalid';
  const magic = head.toString('latin1', 0, 8);
  if (magic !== MAGIC && magic !== FREE_MAGIC) return 'invalid';
  const seed = head.readUInt32LE(SEGMENT_HEADER_BYTES - 4);
  if (crc32(head.subarray(0, SEGMENT_HEADER_BYTES - 4)) !== seed) return 'invalid';
  const version = head.readUInt32LE(8);
  if (version < JOURNAL_VERSION_MIN || version > JOURNAL_VERSION) return 'invalid';
  const lsn = head.readUIntLE(24, 6);
  const timeMs = head.readUIntLE(54, 6);
  if (magic === FREE_MAGIC) return { free: true, version, lsn, timeMs };
  return {
    version,
    number: head.readUIntLE(16, 6),
    firstLsn: lsn,
    seed,
    mark: head.readUInt32LE(32),
    fileBytes: head.readUIntLE(48, 6),
    timeMs,
  };
}

/** How many bytes a record takes in the journal, its payload and the gap behind it included. */
export function recordBytes(fields: RecordFields, payloadLength: number): number {
  return align(headBytes(fields) + payloadLength);
}

/** Bytes of a record before its payload. */
export function headBytes(fields: RecordFields): number {
  const { name, producer, streamSeq, body } = fields;
  let bytes = RECORD_HEADER_BYTES + name.bytes.length;
  if (producer !== undefined) bytes += 26 + Buffer.byteLength(producer.id);
  if (streamSeq !== undefined) bytes += 2 + Buffer.byteLength(streamSeq);
  if (body !== undefined) bytes += 4 + body.length;
  return bytes;
}

/**
 * Writes all of a record but its payload into `into`; returns where the payload begins. {@link sealRecord} completes it.
 */
export function encodeRecord(
  into: Buffer,
  at: number,
  fields: RecordFields,
  payloadLength: number,
  previousCrc: number,
  mark: number,
): number {
  const { name, producer, streamSeq, body } = fields;
  let flags = 0;
  if (fields.close) flags |= FLAG_CLOSE;
  if (fields.soft) flags |= FLAG_SOFT;
  if (producer !== undefined) flags |= FLAG_PRODUCER;
  if (streamSeq !== undefined) flags |= FLAG_STREAM_SEQ;
  if (body !== undefined) flags |= FLAG_BODY;
  const head = headBytes(fields);
  into.writeUInt32LE(head + payloadLength, at);
  into.writeUInt32LE(previousCrc, at + 8);
  into[at + 12] = fields.type;
  into[at + 13] = flags;
  into.writeUInt16LE(name.pathLength, at + 14);
  into.writeUIntLE(fields.lsn, at + 16, 6);
  into.writeUIntLE(fields.syncedLsn, at + 22, 6);
  into.writeUIntLE(fields.timeMs, at + 28, 6);
  into[at + 34] = name.bytes.length - name.pathLength;
  into[at + 35] = fields.appender === undefined ? 0 : APPENDER_STATES.indexOf(fields.appender);
  into.writeUIntLE(fields.offset % 2 ** 48, at + 36, 6);
  into.writeUInt16LE(Math.floor(fields.offset / 2 ** 48), at + 42);
  into.writeUInt32LE(payloadLength, at + 44);
  into.writeUInt32LE(mark, at + 48);
  let end = at + RECORD_HEADER_BYTES;
  into.set(name.bytes, end);
  end += name.bytes.length;
  if (producer !== undefined) {
    into.writeDoubleLE(producer.epoch, end);
    into.writeDoubleLE(producer.seq, end + 8);
    into.writeDoubleLE(producer.fence, end + 16);
    const length = into.write(producer.id, end + 26);
    into.writeUInt16LE(length, end + 24);
    end += 26 + length;
  }
  if (streamSeq !== undefined) {
    const length = into.write(streamSeq, end + 2);
    into.writeUInt16LE(length, end);
    end += 2 + length;
  }
  if (body !== undefined) {
    into.writeUInt32LE(body.length, end);
    into.set(body, end + 4);
    end += 4 + body.length;
  }
  return end;
}

/** Puts the checksum into a record: over all that follows it, payload included. Returns it. */
export function sealRecord(
  into: Buffer,
  at: number,
  headEnd: number,
  payload: Uint8Array | undefined,
  seed: number,
): number {
  let crc = crc32(into.subarray(at + 8, headEnd), seed);
  if (payload !== undefined) crc = crc32(payload, crc);
  into.writeUInt32LE(crc, at + 4);
  return crc;
}

/**
 * Whether what stands at `at` may be a record with a number from `lsnMin` to `lsnMax`, by its fixed fields alone. A
 * search tries every place of a segment, and many hold the data of streams: to take the checksum of whatever begins
 * like a length would take hours.
 */
export function mayBeRecord(segment: Buffer, at: number, mark: number, lsnMin: number, lsnMax: number): boolean {
  if (at + RECORD_HEADER_BYTES > segment.length || segment.readUInt32LE(at + 48) !== mark) return false;
  const length = segment.readUInt32LE(at);
  if (length < RECORD_HEADER_BYTES || at + length > segment.length) return false;
  const lsn = segment.readUIntLE(at + 16, 6);
  return lsn >= lsnMin && lsn <= lsnMax;
}

/**
 * The record at `at`, or undefined where there is no valid one. Says nothing about whether it belongs there: that is
 * known from `previousCrc`.
 */
export function decodeRecord(segment: Buffer, at: number, seed: number): JournalRecord | undefined {
  if (at + RECORD_HEADER_BYTES > segment.length) return undefined;
  const length = segment.readUInt32LE(at);
  if (length < RECORD_HEADER_BYTES || at + length > segment.length) return undefined;
  const crc = segment.readUInt32LE(at + 4);
  if (crc32(segment.subarray(at + 8, at + length), seed) !== crc) return undefined;

  const type = segment[at + 12] as RecordType;
  const flags = segment[at + 13] as number;
  const pathEnd = at + RECORD_HEADER_BYTES + segment.readUInt16LE(at + 14);
  const idEnd = pathEnd + (segment[at + 34] as number);
  let end = idEnd;
  let producer: RecordProducer | undefined;
  if ((flags & FLAG_PRODUCER) !== 0) {
    const idBytes = segment.readUInt16LE(end + 24);
    producer = {
      epoch: segment.readDoubleLE(end),
      seq: segment.readDoubleLE(end + 8),
      fence: segment.readDoubleLE(end + 16),
      id: segment.toString('utf8', end + 26, end + 26 + idBytes),
    };
    end += 26 + idBytes;
  }
  let streamSeq: string | undefined;
  if ((flags & FLAG_STREAM_SEQ) !== 0) {
    const bytes = segment.readUInt16LE(end);
    streamSeq = segment.toString('utf8', end + 2, end + 2 + bytes);
    end += 2 + bytes;
  }
  let body: Uint8Array | undefined;
  if ((flags & FLAG_BODY) !== 0) {
    const bytes = segment.readUInt32LE(end);
    body = segment.subarray(end + 4, end + 4 + bytes);
    end += 4 + bytes;
  }
  return {
    type,
    lsn: segment.readUIntLE(at + 16, 6),
    syncedLsn: segment.readUIntLE(at + 22, 6),
    timeMs: segment.readUIntLE(at + 28, 6),
    path: segment.toString('utf8', at + RECORD_HEADER_BYTES, pathEnd),
    id: segment.toString('utf8', pathEnd, idEnd),
    offset: segment.readUIntLE(at + 36, 6) + segment.readUInt16LE(at + 42) * 2 ** 48,
    close: (flags & FLAG_CLOSE) !== 0,
    soft: (flags & FLAG_SOFT) !== 0,
    producer,
    streamSeq,
    appender: APPENDER_STATES[segment[at + 35] as number],
    body,
    payloadPosition: end,
    payloadLength: segment.readUInt32LE(at + 44),
    crc,
    end: at + align(length),
  };
}

/** The checksum of the record before, as the record at `at` has it. */
export function previousCrcAt(segment: Buffer, at: number): number {
  return segment.readUInt32LE(at + 8);
}

export function align(bytes: number): number {
  return Math.ceil(bytes / RECORD_ALIGN) * RECORD_ALIGN;
}
