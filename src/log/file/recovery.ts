import { constants } from 'node:fs';
import { dirname } from 'node:path';
import { MillraceError } from '../../errors.js';
import { type KnownProducer, noteProducer } from '../producers.js';
import type { ForkLink, Stream, StreamSnapshot } from '../stream.js';
import { diskError } from './disk-error.js';
import { Extents } from './extents.js';
import { isSameFile } from './file-print.js';
import { fileMark } from './file-storage.js';
import { codeOf, readAll, removeFile, syncDirectory, syncFile, writeAll } from './file-system.js';
import type { JournalStart } from './journal.js';
import type { Deletion, Naming } from './journal-batch.js';
import { type FileParts, type FoundStream, findStream, formerFileId, restoreStream, storageOf } from './loading.js';
import type { Candidate, Losses } from './losses.js';
import { parseSnapshot } from './metadata.js';
import { type JournalRecord, RecordType } from './record.js';
import { type FoundRecord, findSegments, readRecords, type Segment } from './segments.js';

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** A stream of which the journal tells. */
interface Replayed {
  state: MutableSnapshot;
  /** How its files were found; undefined where it was created in the journal. */
  readonly found: FoundStream | undefined;
  /** Records up to this one are in its metadata already. */
  readonly includedLsn: number;
  lsn: number;
  extents: Extents;
  deleted: boolean;
}

/** Bytes that may not be in their stream's file any more. */
interface Lost extends Omit<Candidate, 'tail'> {
  readonly extents: Extents;
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
} & { producers: Map<string, KnownProducer> };

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
export async function recover(parts: FileParts, losses: Losses): Promise<Recovered> {
  const { segments, slots, listed, freedLsn, timeMs } = await findSegments(parts.fs, parts.layout);
  let lsn = 0;
  const replayed = await replayRecords(parts, losses, segments, (each) => {
    lsn = readRecords(parts.fs, segments, each);
  });
  // Numbers are never given twice, also where nothing is left of the journal: metadata that was flushed has them, and
  // would take new records for old ones.
  return {
    streams: replayed.streams,
    start: {
      lsn: Math.max(lsn, freedLsn),
      segment: segments.at(-1)?.header.number ?? 0,
      timeMs: Math.max(timeMs, replayed.timeMs),
      listed,
      slots,
    },
  };
}

/** Brings streams to where the records say that they are; `feed` gives these, in their order. */
export async function replayRecords(
  parts: FileParts,
  losses: Losses,
  segments: readonly Segment[],
  feed: (each: (found: FoundRecord) => void) => void,
): Promise<{ readonly streams: Map<string, Stream>; readonly timeMs: number }> {
  const replay = new Replay(parts);
  try {
    feed((found) => replay.apply(found));
    await syncSegments(parts, segments);
    const streams = replay.finish();
    for (const each of replay.lost) await losses.keep(each, each.extents.all);
    return { streams, timeMs: replay.timeMs };
  } catch (error) {
    throw diskError(error, 'The journal cannot be replayed');
  }
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
  /** By id and path: streams with records, and nothing else. */
  readonly #missing = new Map<string, Lost>();
  /** What the files of streams were to hold and others have taken away. */
  readonly lost: Lost[] = [];
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
    if (record.type === RecordType.name) {
      this.#name(record);
      return;
    }
    const stream = this.#find(record.path, record.id);
    if (record.type === RecordType.delete && !record.soft) this.#noteDeletion(record);
    if (stream === undefined) {
      this.#applyMissing(record, segment);
      return;
    }
    if (record.lsn <= stream.includedLsn) return;
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
        stream.extents.cut(stream.state.tail);
        break;
      case RecordType.delete:
        if (record.soft) stream.state.softDeleted = true;
        else stream.deleted = true;
        break;
      case RecordType.forget:
        stream.extents.cut(record.offset);
        this.#lose(stream);
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
      if (restored === undefined) this.#lose(stream);
      else streams.set(restored.path, restored);
    }
    for (const stream of this.#missing.values()) this.lost.push(stream);
    for (const fd of this.#segmentFiles.values()) this.#parts.fs.close(fd);
    return streams;
  }

  /**
   * Of a stream that is not there: it was deleted, as a later record says, and its files with it; or others took its
   * file away, or put another one in its place.
   */
  #applyMissing(record: JournalRecord, segment: Segment): void {
    const { path, id, lsn, type, offset } = record;
    const key = `${id}/${path}`;
    if (type === RecordType.delete) {
      this.#missing.delete(key);
      return;
    }
    const known = this.#missing.get(key);
    const extents = known?.extents ?? new Extents();
    if (type === RecordType.append) extents.add(record, segment);
    else extents.cut(offset);
    if (type === RecordType.forget) {
      this.#missing.delete(key);
      this.lost.push({ path, id, place: undefined, lsn, extents });
    } else {
      this.#missing.set(key, { path, id, place: undefined, lsn, extents });
    }
  }

  #lose({ state, found, lsn, extents }: Replayed): void {
    const { path, id, fork } = state;
    const file = found?.file ?? this.#parts.layout.fileOf(path);
    this.lost.push({ path, id, place: { file, start: fork?.offset ?? 0 }, lsn, extents });
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
      extents: new Extents(),
      deleted: false,
    };
    this.#byPath.set(record.path, stream);
    if (!included) addBytes(stream, record, segment);
    if (state.fork !== undefined && this.#countFork(state.fork, record.lsn, 1)) this.#counted.add(record.id);
  }

  /** A file put there by hand got its id: it has it, unless another one is in its place by now. */
  #name(record: JournalRecord): void {
    // Its metadata knows already, or it was said before.
    if (this.#find(record.path, record.id) !== undefined) return;
    const naming: Naming = JSON.parse(bodyOf(record));
    const state = mutable(parseSnapshot(naming));
    const found = this.#filesAt(record.path);
    if (found === undefined) return;
    const { file: print } = naming;
    const tail = (state.fork?.offset ?? 0) + found.size;
    this.#byPath.set(record.path, {
      state: { ...state, tail: Math.max(state.tail, tail) },
      found: { ...found, print, isNamed: true },
      includedLsn: 0,
      lsn: record.lsn,
      extents: new Extents(),
      deleted: false,
    });
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
      extents: new Extents(),
      deleted: false,
    };
    this.#byPath.set(path, stream);
    return stream;
  }

  #findFiles(path: string, id: string): FoundStream | undefined {
    const found = this.#filesAt(path);
    if (found === undefined) return undefined;
    if (found.snapshot.id === id) return found;
    // Versions before made the id of such a file from the file, and did not write it down.
    const stat = found.isNamed ? undefined : this.#parts.fs.stat(found.file);
    if (stat === undefined || formerFileId(stat) !== id) return undefined;
    return { ...found, snapshot: { ...found.snapshot, id }, print: undefined, isNamed: true };
  }

  #filesAt(path: string): FoundStream | undefined {
    try {
      const found = findStream(this.#parts, path);
      if (found === undefined) return undefined;
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
    // A file that was put there since is not one that was deleted; that of a successor, which may be elsewhere, is its own.
    const isDeleted =
      stat?.kind === 'file' &&
      (lives
        ? successor.found?.file !== natural && marks.has(fileMark(stat))
        : (known === undefined || ids.has(known)) && (unmarked || marks.has(fileMark(stat))));
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
    const { fs, layout, places } = this.#parts;
    const { state, extents, lsn } = replayed;
    const start = state.fork?.offset ?? 0;
    const snapshot: StreamSnapshot = { ...state, producers: [...state.producers] };
    const found = replayed.found ?? {
      snapshot,
      lsn: 0,
      file: layout.fileOf(state.path),
      overflow: false,
      size: 0,
      print: undefined,
      isNamed: true,
    };
    const { first } = extents;
    if (first === undefined && found.print !== undefined) {
      const stat = fs.stat(found.file);
      // Others put another file in its place, which has no id yet.
      if (stat === undefined || !isSameFile(found.print, stat)) return undefined;
    }
    // Bytes before those in the journal are missing: others cut the file. It is what they made of it.
    if (replayed.found !== undefined && (first ?? state.tail) - start > found.size) return undefined;
    const stream = restoreStream(this.#parts, { ...found, snapshot });
    const storage = storageOf(stream);
    if (replayed.found === undefined) this.#recreate(stream);
    else if (first === undefined && found.size === state.tail - start) {
      // Nothing to write and nothing to cut: others may be writing to it.
      storage.lsn = lsn;
      storage.metadataDirty = true;
      return stream;
    }
    storage.print = undefined;
    // Not the one for appends: what is written goes to its place, whatever is there.
    const fd = fs.open(storage.file as string, O_WRONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      for (const { offset, length, segment, position } of extents.all) {
        writeAll(fs, fd, this.#payload(segment, position, length), offset - start);
      }
      fs.truncate(fd, state.tail - start);
    } finally {
      fs.close(fd);
    }
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
  const { producer, streamSeq, appender, close, timeMs } = record;
  // The marks of a session say nothing of the bytes, to which others may have added since.
  if (appender === undefined) addBytes(stream, record, segment);
  if (producer !== undefined) {
    const { id, epoch, seq, fence } = producer;
    noteProducer(state.producers, id, { epoch, seq, fence, usedMs: timeMs });
  }
  if (streamSeq !== undefined) state.streamSeq = streamSeq;
  if (appender !== undefined) state.appender = appender;
  if (close) {
    state.closed = true;
    state.closedBy = producer && { id: producer.id, epoch: producer.epoch, seq: producer.seq };
  }
  state.lastUsedMs = timeMs;
  if (record.payloadLength > 0) state.modifiedAtMs = timeMs;
}

function addBytes(stream: Replayed, record: JournalRecord, segment: Segment): void {
  stream.extents.add(record, segment);
  stream.state.tail = record.offset + record.payloadLength;
}

/**
 * Metadata is not written for each append: what was appended since is in the file. Where its records were flushed and
 * freed nothing else tells of it.
 */
function withItsFile({ snapshot, size, modifiedAtMs }: FoundStream): StreamSnapshot {
  const tail = (snapshot.fork?.offset ?? 0) + size;
  return tail > snapshot.tail ? { ...snapshot, tail, modifiedAtMs } : snapshot;
}

function mutable(snapshot: StreamSnapshot): MutableSnapshot {
  return { ...snapshot, producers: new Map(snapshot.producers) };
}

function bodyOf(record: JournalRecord): string {
  return Buffer.from(record.body ?? new Uint8Array(0)).toString();
}
