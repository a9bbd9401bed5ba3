import { constants } from 'node:fs';
import { dirname } from 'node:path';
import { MillraceError } from '../../errors.js';
import type { ProducerState } from '../rules.js';
import { type ForkLink, rememberProducer, type Stream, type StreamSnapshot } from '../stream.js';
import { diskError } from './disk-error.js';
import { fileMark } from './file-storage.js';
import { codeOf, readAll, removeFile, syncDirectory, syncFile, writeAll } from './file-system.js';
import type { JournalStart } from './journal.js';
import type { Deletion } from './journal-batch.js';
import { type FileParts, type FoundStream, findStream, restoreStream, storageOf } from './loading.js';
import { parseSnapshot } from './metadata.js';
import { type JournalRecord, RecordType } from './record.js';
import { type FoundRecord, findSegments, readRecords, type Segment } from './segments.js';

const { O_RDONLY } = constants;

/** Bytes of a stream that are still in the journal. */
interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly segment: Segment;
  readonly position: number;
}

/** A stream of which the journal tells. */
interface Replayed {
  state: MutableSnapshot;
  /** How its files were found; undefined where it was created in the journal. */
  readonly found: FoundStream | undefined;
  /** Records up to this one are in its metadata already. */
  readonly includedLsn: number;
  lsn: number;
  extents: Extent[];
  deleted: boolean;
}

/** What the journal says of the deletions at one path. */
interface Deletions {
  readonly ids: Set<string>;
  /** Marks of the files that they were about. */
  readonly marks: Set<string>;
  /** One was about a file that had not been made yet. */
  unmarked: boolean;
}

type MutableSnapshot = {
  -readonly [Key in Exclude<keyof StreamSnapshot, 'producers'>]: StreamSnapshot[Key];
} & { producers: Map<string, ProducerState> };

/** What recovery leaves to the store. */
export interface Recovered {
  readonly streams: Map<string, Stream>;
  readonly start: JournalStart;
}

/**
 * Replays the journal: every stream that it tells of is brought to its last committed byte. What that costs depends on
 * the journal alone. Of the streams nothing is synced here: the journal stays as it is until all of it is flushed in the
 * background. Throws `JOURNAL_CORRUPT`, `STORE_FULL`, `STORE_UNAVAILABLE`.
 */
export async function recover(parts: FileParts): Promise<Recovered> {
  const { segments, slots, listed, freedLsn, timeMs } = await findSegments(parts.fs, parts.layout);
  const replay = new Replay(parts);
  const lsn = readRecords(parts.fs, segments, (found) => replay.apply(found));
  let streams: Map<string, Stream>;
  try {
    await syncSegments(parts, segments);
    streams = replay.finish();
  } catch (error) {
    throw diskError(error, 'The journal cannot be replayed');
  }
  // Numbers are never given twice, also where nothing is left of the journal: metadata that was flushed has them, and
  // would take new records for old ones.
  return {
    streams,
    start: {
      lsn: Math.max(lsn, freedLsn),
      segment: segments.at(-1)?.header.number ?? 0,
      timeMs: Math.max(timeMs, replay.timeMs),
      listed,
      slots,
    },
  };
}

/**
 * What a killed process wrote may be in the page cache only. From here on it counts as safe: the next segment begins
 * behind it, and whoever repeats an append is told that it was made.
 */
async function syncSegments({ fs, layout }: FileParts, segments: readonly Segment[]): Promise<void> {
  for (const { path } of segments) {
    const fd = fs.open(path, O_RDONLY);
    try {
      await syncFile(fs, fd);
    } finally {
      fs.close(fd);
    }
  }
  if (segments.length > 0) await syncDirectory(fs, layout.journal);
}

/**
 * Gathers what becomes of each stream, and only then touches files: what was deleted or voided later in the journal is
 * never written again.
 */
class Replay {
  readonly #parts: FileParts;
  readonly #byPath = new Map<string, Replayed>();
  readonly #deletions = new Map<string, Deletions>();
  /** Ids of forks whose creation was counted at their source. */
  readonly #counted = new Set<string>();
  readonly #segmentFiles = new Map<Segment, number>();
  #lastLsn = 0;
  /** The highest of the store's own times that a record has. */
  timeMs = 0;

  constructor(parts: FileParts) {
    this.#parts = parts;
  }

  apply({ record, segment }: FoundRecord): void {
    this.#lastLsn = record.lsn;
    this.timeMs = Math.max(this.timeMs, record.timeMs);
    if (record.type === RecordType.create) {
      this.#create(record, segment);
      return;
    }
    const stream = this.#find(record.path, record.id);
    if (record.type === RecordType.delete && !record.soft) this.#noteDeletion(record);
    // Of a stream that is not there any more, and whose end is in the files already.
    if (stream === undefined || record.lsn <= stream.includedLsn) return;
    stream.lsn = record.lsn;
    switch (record.type) {
      case RecordType.append:
        append(stream, record, segment);
        break;
      case RecordType.state:
        stream.state = mutable(parseSnapshot(JSON.parse(bodyOf(record))));
        // The deletion was taken back.
        if (stream.deleted && stream.state.fork !== undefined) this.#countFork(stream.state.fork, record.lsn, 1);
        stream.deleted = false;
        cut(stream, stream.state.tail);
        break;
      case RecordType.delete:
        if (record.soft) stream.state.softDeleted = true;
        else stream.deleted = true;
        break;
      case RecordType.forget:
        this.#byPath.delete(record.path);
        break;
      default:
    }
  }

  /** Brings the files in line. */
  finish(): Map<string, Stream> {
    const streams = new Map<string, Stream>();
    for (const stream of [...this.#byPath.values()]) this.#collect(stream);
    for (const [path, deletions] of this.#deletions) this.#remove(path, deletions);
    for (const stream of this.#byPath.values()) {
      if (stream.deleted || stream.lsn === 0) continue;
      const restored = this.#restoreIfThere(stream);
      if (restored !== undefined) streams.set(restored.path, restored);
    }
    for (const fd of this.#segmentFiles.values()) this.#parts.fs.close(fd);
    return streams;
  }

  #create(record: JournalRecord, segment: Segment): void {
    const state = mutable(parseSnapshot(JSON.parse(bodyOf(record))));
    // Its metadata may be on the disk already; then the records up to there are in it.
    const found = this.#findFiles(record.path, record.id);
    const included = found !== undefined && found.lsn >= record.lsn;
    const stream: Replayed = {
      state: included ? mutable(withItsFile(found)) : state,
      found,
      includedLsn: included ? found.lsn : 0,
      lsn: record.lsn,
      extents: [],
      deleted: false,
    };
    this.#byPath.set(record.path, stream);
    if (!included) addExtent(stream, record, segment);
    if (state.fork !== undefined && this.#countFork(state.fork, record.lsn, 1)) this.#counted.add(record.id);
  }

  /** Whether it was news to the source. */
  #countFork(fork: ForkLink, lsn: number, by: 1 | -1): boolean {
    const source = this.#find(fork.path, fork.id);
    if (source === undefined || lsn <= source.includedLsn) return false;
    source.state.forks += by;
    source.lsn = lsn;
    return true;
  }

  /** Deletes what was only kept for forks that are gone. */
  #collect(stream: Replayed): void {
    const { state } = stream;
    if (stream.deleted || !state.softDeleted || state.forks > 0) return;
    stream.deleted = true;
    const { path, id } = state;
    const file = stream.found === undefined ? undefined : this.#parts.fs.stat(stream.found.file);
    this.#deletions.set(path, {
      ids: new Set([id, ...(this.#deletions.get(path)?.ids ?? [])]),
      marks: new Set(file === undefined ? [] : [fileMark(file)]),
      unmarked: file === undefined,
    });
    if (state.fork === undefined) return;
    this.#countFork(state.fork, this.#lastLsn, -1);
    const source = this.#byPath.get(state.fork.path);
    if (source !== undefined) this.#collect(source);
  }

  #find(path: string, id: string): Replayed | undefined {
    const known = this.#byPath.get(path);
    if (known !== undefined) return known.state.id === id ? known : undefined;
    const found = this.#findFiles(path, id);
    if (found === undefined) return undefined;
    const stream: Replayed = {
      state: mutable(withItsFile(found)),
      found,
      includedLsn: found.lsn,
      lsn: 0,
      extents: [],
      deleted: false,
    };
    this.#byPath.set(path, stream);
    return stream;
  }

  #findFiles(path: string, id: string): FoundStream | undefined {
    try {
      const found = findStream(this.#parts, path);
      if (found?.snapshot.id !== id) return undefined;
      // Metadata is not written again for bytes alone: without an append in the journal, the file says where it ends.
      const { snapshot, size } = found;
      return { ...found, snapshot: { ...snapshot, tail: (snapshot.fork?.offset ?? 0) + size } };
    } catch (error) {
      // The way there is a symbolic link now: whatever is behind it, it is not the stream's file.
      if (error instanceof MillraceError && error.code === 'INVALID_PATH') return undefined;
      throw error;
    }
  }

  #noteDeletion(record: JournalRecord): void {
    let deletions = this.#deletions.get(record.path);
    if (deletions === undefined) {
      deletions = { ids: new Set(), marks: new Set(), unmarked: false };
      this.#deletions.set(record.path, deletions);
    }
    deletions.ids.add(record.id);
    const { file, fork, voids }: Deletion = record.body === undefined ? {} : JSON.parse(bodyOf(record));
    if (file === undefined) deletions.unmarked = true;
    else deletions.marks.add(file);
    if (fork !== undefined && (voids !== true || this.#counted.has(record.id))) this.#countFork(fork, record.lsn, -1);
  }

  /**
   * Removes what is left of the streams that were deleted at a path. The file goes before its metadata: alone it would
   * be a stream that somebody put there by hand.
   */
  #remove(path: string, deletions: Deletions): void {
    const { fs, layout, metadata, places } = this.#parts;
    const { ids, marks, unmarked } = deletions;
    const successor = this.#byPath.get(path);
    const lives = successor !== undefined && !successor.deleted;
    for (const id of ids) {
      if (lives && successor.state.id === id) continue;
      if (removeFile(fs, layout.overflowOf(path, id))) places.dirtyDirectories.add(layout.overflow);
    }
    const known = metadata.read(path)?.stream.id;
    const natural = layout.fileOf(path);
    const stat = fs.stat(natural);
    // A file that was put there since is not one that was deleted; that of a successor is its own.
    const isDeleted =
      stat?.kind === 'file' &&
      !lives &&
      (known === undefined || ids.has(known)) &&
      (unmarked || marks.has(fileMark(stat)));
    if (isDeleted && removeFile(fs, natural)) places.dirtyDirectories.add(dirname(natural));
    if (known === undefined || !ids.has(known) || (lives && successor.state.id === known)) return;
    for (const directory of metadata.remove(path)) places.dirtyDirectories.add(directory);
    if (!lives && removeFile(fs, layout.expiringMarkOf(path))) places.dirtyDirectories.add(layout.expiring);
  }

  /** Where others put a symbolic link in the way, the stream is what they made of it. */
  #restoreIfThere(replayed: Replayed): Stream | undefined {
    try {
      return this.#restore(replayed);
    } catch (error) {
      if (codeOf(error) === 'INVALID_PATH' || codeOf(error) === 'ELOOP') return undefined;
      throw error;
    }
  }

  #restore(replayed: Replayed): Stream | undefined {
    const { fs, files, layout, places } = this.#parts;
    const { state, extents, lsn } = replayed;
    const start = state.fork?.offset ?? 0;
    const snapshot: StreamSnapshot = { ...state, producers: [...state.producers] };
    const found = replayed.found ?? {
      snapshot,
      lsn: 0,
      file: layout.fileOf(state.path),
      overflow: false,
      size: 0,
    };
    const first = extents[0];
    // Bytes before those in the journal are missing: others cut the file. It is what they made of it.
    if (replayed.found !== undefined && (first?.offset ?? state.tail) - start > found.size) return undefined;
    const stream = restoreStream(this.#parts, { ...found, snapshot });
    const storage = storageOf(stream);
    if (replayed.found === undefined) this.#recreate(stream);
    const { fd } = files.get(storage.file as string);
    for (const { offset, length, segment, position } of extents) {
      writeAll(fs, fd, this.#payload(segment, position, length), offset - start);
    }
    fs.truncate(fd, state.tail - start);
    storage.adopt(storage.file as string, storage.overflow, state.tail - start);
    storage.lsn = lsn;
    storage.dataDirty = true;
    storage.metadataDirty = true;
    places.dirtyDirectories.add(dirname(storage.file as string));
    return stream;
  }

  #recreate(stream: Stream): void {
    const { fs, layout, places } = this.#parts;
    const storage = storageOf(stream);
    const overflow = layout.overflowOf(stream.path, stream.id);
    if (fs.stat(overflow)?.kind === 'file') {
      storage.adopt(overflow, true, 0);
      places.overflowPaths.set(overflow.slice(layout.overflow.length + 1), stream.path);
      return;
    }
    places.create(storage, stream.path, stream.id, true);
  }

  #payload(segment: Segment, position: number, length: number): Buffer {
    const { fs } = this.#parts;
    let fd = this.#segmentFiles.get(segment);
    if (fd === undefined) {
      fd = fs.open(segment.path, O_RDONLY);
      this.#segmentFiles.set(segment, fd);
    }
    const bytes = Buffer.allocUnsafe(length);
    readAll(fs, fd, bytes, position);
    return bytes;
  }
}

function append(stream: Replayed, record: JournalRecord, segment: Segment): void {
  const { state } = stream;
  const { producer, streamSeq, close, timeMs } = record;
  addExtent(stream, record, segment);
  if (producer !== undefined) {
    const { id, epoch, seq, fence } = producer;
    rememberProducer(state.producers, id, { epoch, seq, fence });
  }
  if (streamSeq !== undefined) state.streamSeq = streamSeq;
  if (close) {
    state.closed = true;
    state.closedBy = producer && { id: producer.id, epoch: producer.epoch, seq: producer.seq };
  }
  state.lastUsedMs = timeMs;
}

function addExtent(stream: Replayed, record: JournalRecord, segment: Segment): void {
  const { offset, payloadLength, payloadPosition } = record;
  // An append at an offset says that the stream ended there: what stood behind it had been taken back.
  cut(stream, offset);
  if (payloadLength > 0) stream.extents.push({ offset, length: payloadLength, segment, position: payloadPosition });
  stream.state.tail = offset + payloadLength;
}

/** Drops what lies behind an offset. */
function cut(stream: Replayed, offset: number): void {
  const { extents } = stream;
  while (extents.length > 0) {
    const last = extents[extents.length - 1] as Extent;
    if (last.offset + last.length <= offset) return;
    extents.pop();
    if (last.offset < offset) {
      extents.push({ ...last, length: offset - last.offset });
      return;
    }
  }
}

/**
 * Metadata is not written for each append: what was appended since is in the file. Where its records were flushed and
 * freed nothing else tells of it.
 */
function withItsFile({ snapshot, size }: FoundStream): StreamSnapshot {
  return { ...snapshot, tail: Math.max(snapshot.tail, (snapshot.fork?.offset ?? 0) + size) };
}

function mutable(snapshot: StreamSnapshot): MutableSnapshot {
  return { ...snapshot, producers: new Map(snapshot.producers) };
}

function bodyOf(record: JournalRecord): string {
  return Buffer.from(record.body ?? new Uint8Array(0)).toString();
}
