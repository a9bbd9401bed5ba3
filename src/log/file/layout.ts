import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { fileNameOf } from '../path.js';

/** Where things are below a root. */
export class Layout {
  readonly root: string;
  /** Everything that is Millrace's own. */
  readonly own: string;
  readonly journal: string;
  readonly journalList: string;
  readonly metadata: string;
  readonly overflow: string;
  readonly expiring: string;
  /** Acknowledged bytes that others took out of their stream's file. */
  readonly lost: string;
  /** Damaged journals, and the streams that the damage touched. */
  readonly setAside: string;
  /** Beside Millrace's own directory, so that who removes that one does not remove the lock. */
  readonly lock: string;
  /** Streams of the server itself, its keys among them. */
  readonly serverStreams: string;

  constructor(root: string) {
    this.root = root;
    this.own = join(root, OWN_DIRECTORY);
    this.journal = join(this.own, 'journal');
    this.journalList = join(this.own, 'journal.json');
    this.metadata = join(this.own, 'meta');
    this.overflow = join(this.own, 'overflow');
    this.expiring = join(this.own, 'expiring');
    this.lost = join(this.own, 'lost');
    this.setAside = join(this.own, 'set-aside');
    this.lock = join(root, `${OWN_DIRECTORY}.lock`);
    this.serverStreams = join(root, '__ds');
  }

  /** Whether a file, or a directory, is for nobody but the server. */
  isPrivate(path: string): boolean {
    return [this.own, this.serverStreams].some((top) => path === top || path.startsWith(`${top}/`));
  }

  /** The file that a stream is. */
  fileOf(path: string): string {
    return `${this.root}/${fileNameOf(path)}`;
  }

  /** The file of a stream whose own name is taken by a directory, or lies below a file. */
  overflowOf(path: string, id: string): string {
    return join(this.overflow, `${hashOf(path)}-${id}`);
  }

  metadataOf(path: string): { readonly directory: string; readonly file: string } {
    const hash = hashOf(path);
    const directory = join(this.metadata, hash.slice(0, 2));
    return { directory, file: join(directory, `${hash}.json`) };
  }

  /** The metadata of the stream with a mark in `expiring`, or a file in `overflow`. */
  metadataOfHash(hash: string): string {
    return join(this.metadata, hash.slice(0, 2), `${hash}.json`);
  }

  expiringMarkOf(path: string): string {
    return join(this.expiring, hashOf(path));
  }
}

/** Below the root; no stream can have its name, for no file of a stream, nor a directory above one, begins with a dot. */
export const OWN_DIRECTORY = '.millrace';

/** Hex digits of a path's hash: as many as make two paths with one hash impossible in practice. */
export const PATH_HASH_LENGTH = 40;

export function hashOf(path: string): string {
  return createHash('sha256').update(path).digest('hex').slice(0, PATH_HASH_LENGTH);
}
