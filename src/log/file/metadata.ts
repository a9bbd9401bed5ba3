import { constants } from 'node:fs';
import type { StreamSnapshot } from '../stream.js';
import type { FilePrint } from './file-print.js';
import { type FileSystem, makeDirectory, readSmallFile, removeFile, syncFile, writeAll } from './file-system.js';
import type { Layout } from './layout.js';

const { O_CREAT, O_TRUNC, O_WRONLY, O_NOFOLLOW } = constants;

/** What is kept of a stream beside its file: one small JSON file. Streams put there by hand have none. */
export interface Metadata {
  readonly version: 1;
  /** The newest journal record that it includes. */
  readonly lsn: number;
  /** The stream's file is in the overflow directory. */
  readonly overflow: boolean;
  /** Of a file put there by hand, as it was when it got its id; undefined once the store has written to it. */
  readonly file: FilePrint | undefined;
  readonly stream: StreamSnapshot;
}

/** The metadata files of a root. */
export class MetadataFiles {
  readonly #fs: FileSystem;
  readonly #layout: Layout;
  #count = 0;

  constructor(fs: FileSystem, layout: Layout) {
    this.#fs = fs;
    this.#layout = layout;
  }

  /** A stream's metadata, or undefined where there is none (or none that can be read as such). */
  read(path: string): Metadata | undefined {
    const metadata = this.#readFile(this.#layout.metadataOf(path).file);
    return metadata?.stream.path === path ? metadata : undefined;
  }

  /** The metadata whose path has this hash. */
  readByHash(hash: string): Metadata | undefined {
    return this.#readFile(this.#layout.metadataOfHash(hash));
  }

  /**
   * Writes a stream's metadata, so that there is always the old or the new one. Returns the directories whose names
   * changed; durable when they are synced, provided that `sync`.
   */
  async write(metadata: Metadata, sync: boolean): Promise<string[]> {
    const { temporary, fd } = this.#writeTemporary(metadata);
    try {
      if (sync) await syncFile(this.#fs, fd);
    } finally {
      this.#fs.close(fd);
    }
    return this.#rename(temporary, metadata.stream.path);
  }

  /** As {@link write}, at once and unsynced. */
  writeNow(metadata: Metadata): string[] {
    const { temporary, fd } = this.#writeTemporary(metadata);
    this.#fs.close(fd);
    return this.#rename(temporary, metadata.stream.path);
  }

  /** Removes a stream's metadata. Returns the directory that changed. */
  remove(path: string): string[] {
    const { directory, file } = this.#layout.metadataOf(path);
    return removeFile(this.#fs, file) ? [directory] : [];
  }

  #writeTemporary(metadata: Metadata): { temporary: string; fd: number } {
    const { directory, file } = this.#layout.metadataOf(metadata.stream.path);
    makeDirectory(this.#fs, directory);
    const temporary = `${file}.${++this.#count}.new`;
    const fd = this.#fs.open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
    try {
      writeAll(this.#fs, fd, Buffer.from(JSON.stringify(metadata)), 0);
    } catch (error) {
      this.#fs.close(fd);
      removeFile(this.#fs, temporary);
      throw error;
    }
    return { temporary, fd };
  }

  #rename(temporary: string, path: string): string[] {
    const { directory, file } = this.#layout.metadataOf(path);
    this.#fs.rename(temporary, file);
    return [directory, this.#layout.metadata];
  }

  #readFile(file: string): Metadata | undefined {
    // Most streams that are asked for have none, or are not there at all: that must not cost an exception.
    const bytes = readSmallFile(this.#fs, file);
    if (bytes === undefined) return undefined;
    try {
      return parse(JSON.parse(bytes.toString()));
    } catch {
      return undefined;
    }
  }
}

function parse(value: Partial<Metadata>): Metadata | undefined {
  const { stream } = value;
  if (value.version !== 1 || typeof value.lsn !== 'number' || stream === undefined) return undefined;
  return {
    version: 1,
    lsn: value.lsn,
    overflow: value.overflow === true,
    file: value.file,
    stream: parseSnapshot(stream),
  };
}

/** A snapshot as JSON gave it back: what was undefined is absent there. */
export function parseSnapshot(value: Partial<StreamSnapshot>): StreamSnapshot {
  const { path, id, contentType, lastUsedMs = 0 } = value;
  if (typeof path !== 'string' || typeof id !== 'string' || typeof contentType !== 'string') {
    throw new TypeError('Not the snapshot of a stream.');
  }
  return {
    path,
    id,
    contentType,
    json: value.json === true,
    createdAtMs: value.createdAtMs ?? 0,
    ttlSeconds: value.ttlSeconds,
    expiresAtMs: value.expiresAtMs,
    fork: value.fork,
    tail: value.tail ?? 0,
    closed: value.closed === true,
    closedBy: value.closedBy,
    streamSeq: value.streamSeq,
    // Earlier versions did not note when a producer was used.
    producers: (value.producers ?? []).map(([id, state]) => [id, { ...state, usedMs: state.usedMs ?? lastUsedMs }]),
    forks: value.forks ?? 0,
    softDeleted: value.softDeleted === true,
    lastUsedMs,
    modifiedAtMs: value.modifiedAtMs,
    appender: value.appender,
  };
}
