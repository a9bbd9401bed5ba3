import { createHash } from 'node:crypto';
import { MillraceError } from '../../errors.js';
import { contentTypeOf } from '../content-type.js';
import { Stream, type StreamIdentity, type StreamSnapshot } from '../stream.js';
import { newStreamId } from '../stream-id.js';
import { diskError } from './disk-error.js';
import { type FilePrint, isSameFile, printOf } from './file-print.js';
import { FileStorage, fileMark } from './file-storage.js';
import type { FileStat, FileSystem } from './file-system.js';
import type { Layout } from './layout.js';
import type { Metadata, MetadataFiles } from './metadata.js';
import type { OpenFiles } from './open-files.js';
import type { Places } from './places.js';

/** How many letters an id had that was made from a file. */
const FILE_ID_LENGTH = 16;
const NEWLINE = 0x0a;

/** The parts of a file store below the engine. */
export interface FileParts {
  readonly fs: FileSystem;
  readonly layout: Layout;
  readonly files: OpenFiles;
  readonly metadata: MetadataFiles;
  readonly places: Places;
}

/** A stream as its files say. */
export interface FoundStream {
  readonly snapshot: StreamSnapshot;
  /** The newest journal record that the metadata includes; 0 without metadata. */
  readonly lsn: number;
  readonly file: string;
  readonly overflow: boolean;
  readonly size: number;
  /** When it was last written to. */
  readonly modifiedAtMs: number;
  /** Of a file put there by hand. */
  readonly print: FilePrint | undefined;
  /** Whether its id is in the metadata; else it is a new one, which nobody knows. */
  readonly isNamed: boolean;
}

/**
 * Loads a stream. Files are the truth: one that was put there by hand is a stream, one that grew by hand has grown.
 * Throws `INVALID_PATH`, `STORE_UNAVAILABLE`, `STREAM_FILE_CHANGED`.
 */
export function loadStream(parts: FileParts, path: string): Stream | undefined {
  let found: FoundStream | undefined;
  try {
    found = findStream(parts, path);
    if (found === undefined) return undefined;
    return restoreStream(parts, asTheFileIs(parts, found));
  } catch (error) {
    if (error instanceof MillraceError) throw error;
    throw diskError(error, `The stream ${path} cannot be opened`);
  }
}

/** What the files of a path say, not yet compared with each other. */
export function findStream(parts: FileParts, path: string): FoundStream | undefined {
  const metadata = parts.metadata.read(path);
  if (metadata?.overflow) {
    const file = parts.layout.overflowOf(path, metadata.stream.id);
    const stat = parts.fs.stat(file);
    if (stat?.kind === 'file') return asKnown(metadata, file, stat);
  }
  const stat = parts.places.find(path);
  if (stat === undefined) return undefined;
  const file = parts.layout.fileOf(path);
  if (metadata !== undefined && !metadata.overflow) return asKnown(metadata, file, stat);
  return {
    snapshot: byHand(path, stat),
    lsn: 0,
    file,
    overflow: false,
    ...sizeAndTime(stat),
    print: printOf(stat),
    isNamed: false,
  };
}

function asKnown({ stream, lsn, overflow, file: print }: Metadata, file: string, stat: FileStat): FoundStream {
  return { snapshot: stream, lsn, file, overflow, ...sizeAndTime(stat), print, isNamed: true };
}

function sizeAndTime(stat: FileStat): Pick<FoundStream, 'size' | 'modifiedAtMs'> {
  return { size: stat.size, modifiedAtMs: Math.ceil(stat.mtimeMs) };
}

export function restoreStream(parts: FileParts, found: Omit<FoundStream, 'modifiedAtMs'>): Stream {
  const stream = Stream.restore(found.snapshot, () => {
    const storage = makeStorage(parts, found.snapshot);
    storage.adopt(found.file, found.overflow, found.size);
    storage.lsn = found.lsn;
    storage.print = found.print;
    return storage;
  });
  stream.isNamed = found.isNamed;
  return stream;
}

export function makeStorage(parts: FileParts, identity: StreamIdentity): FileStorage {
  return new FileStorage(parts.fs, parts.files, identity.path, identity.id);
}

/** The storage of a stream of files. */
export function storageOf(stream: Stream): FileStorage {
  return stream.storage as FileStorage;
}

/** A file that nobody created as a stream: bytes of the type that its name says. */
function byHand(path: string, stat: FileStat): StreamSnapshot {
  return {
    path,
    id: newStreamId(),
    contentType: contentTypeOf(path),
    json: false,
    createdAtMs: Math.floor(stat.birthtimeMs),
    ttlSeconds: undefined,
    expiresAtMs: undefined,
    fork: undefined,
    tail: stat.size,
    closed: false,
    closedBy: undefined,
    streamSeq: undefined,
    producers: [],
    forks: 0,
    softDeleted: false,
    lastUsedMs: Math.floor(stat.mtimeMs),
    modifiedAtMs: Math.ceil(stat.mtimeMs),
    appender: undefined,
  };
}

/** What is known of a stream, brought in line with a file that others may have changed since. */
function asTheFileIs(parts: FileParts, found: FoundStream): FoundStream {
  const { snapshot, file, size, modifiedAtMs } = found;
  const start = snapshot.fork?.offset ?? 0;
  const tail = start + size;
  const stat = found.print === undefined || !found.isNamed ? undefined : parts.fs.stat(file);
  const isAnother = found.print !== undefined && stat !== undefined && !isSameFile(found.print, stat);
  if (tail < snapshot.tail || isAnother) {
    // Offsets mean something else now: it is another stream, whose producers have not begun.
    const changed = {
      ...snapshot,
      id: newStreamId(),
      tail,
      modifiedAtMs,
      closed: false,
      closedBy: undefined,
      streamSeq: undefined,
      producers: [],
      appender: undefined,
    };
    return { ...found, snapshot: changed, print: stat === undefined ? undefined : printOf(stat), isNamed: false };
  }
  if (tail === snapshot.tail) return found;
  if (snapshot.json && !endsWithNewline(parts, file, size)) {
    throw new MillraceError(
      'STREAM_FILE_CHANGED',
      `The file of the JSON stream ${snapshot.path} was changed by another program and does not end with a whole line. End it with \\n, or remove it.`,
    );
  }
  // The metadata is not written with each append: the file knows when the last one came.
  return { ...found, snapshot: { ...snapshot, tail, modifiedAtMs } };
}

/** The id that versions before gave a file put there by hand, when they met it; the journal may know it by that. */
export function formerFileId(stat: { readonly ino: number; readonly birthtimeMs: number }): string {
  return createHash('sha256').update(fileMark(stat)).digest('base64url').slice(0, FILE_ID_LENGTH);
}

function endsWithNewline(parts: FileParts, file: string, size: number): boolean {
  const last = Buffer.alloc(1);
  parts.fs.read(parts.files.get(file).fd, last, size - 1);
  return last[0] === NEWLINE;
}
