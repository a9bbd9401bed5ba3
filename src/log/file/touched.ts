import { checkStreamPath } from '../path.js';
import type { ForkLink, StreamSnapshot } from '../stream.js';
import type { Metadata } from './metadata.js';
import { type JournalRecord, mayBeRecord, RECORD_ALIGN, RECORD_HEADER_BYTES, RecordType } from './record.js';
import type { JournalSurvey, LostRecords } from './survey.js';

/** A stream of which something that was acknowledged cannot be read any more. */
export interface TouchedStream {
  readonly path: string;
  readonly why: string;
}

/** What damage to a journal means for the streams. */
export interface Touched {
  /** In the order of their paths. */
  readonly streams: readonly TouchedStream[];
  /** How many lost records nothing names a stream of; undefined where nobody can tell how many there were. */
  readonly unnamed: number | undefined;
}

/** A stream that metadata or a readable record speaks of. */
interface Known {
  readonly path: string;
  readonly id: string;
  readonly fork: ForkLink | undefined;
}

/**
 * Finds the streams whose records are lost: by the names that are still to be read in damaged records, by records that
 * follow on what is not there, and by what they are forks of. No record is guessed to be of a stream that nothing names.
 */
export function findTouched(survey: JournalSurvey, metadata: readonly Metadata[]): Touched {
  const search = new Search(survey, metadata);
  let unnamed: number | undefined = 0;
  for (const lost of survey.lost) {
    const named = search.byName(lost);
    if (lost.lastLsn === undefined) unnamed = undefined;
    else if (unnamed !== undefined) unnamed += lost.lastLsn - lost.firstLsn + 1 - named;
  }
  if (survey.lost.length > 0) search.byWhatFollows();
  search.byForks();
  const streams = [...search.touched].map(([path, why]) => ({ path, why }));
  return { streams: streams.sort((a, b) => (a.path < b.path ? -1 : 1)), unnamed };
}

class Search {
  readonly #survey: JournalSurvey;
  readonly #known: Known[] = [];
  readonly #ids = new Map<string, Known>();
  readonly #paths = new Set<string>();
  /** The newest record that a stream's metadata includes, by path and id. */
  readonly #included = new Map<string, number>();
  /** The newest deletion of a stream, by path and id. */
  readonly #deleted = new Map<string, number>();
  /** Why, by path. */
  readonly touched = new Map<string, string>();

  constructor(survey: JournalSurvey, metadata: readonly Metadata[]) {
    this.#survey = survey;
    for (const { stream, lsn } of metadata) {
      this.#know(stream);
      this.#included.set(key(stream), lsn);
    }
    for (const { record } of survey.records) {
      const { path, id, type, soft, lsn } = record;
      if (type === RecordType.delete && !soft) this.#deleted.set(key(record), lsn);
      this.#know({ path, id, fork: forkOf(record) });
    }
  }

  /** By what can be read of the lost records themselves. Returns how many of them name a stream. */
  byName({ place, firstLsn, lastLsn }: LostRecords): number {
    if (place === undefined) return 0;
    const { bytes, from, to, mark } = place;
    const named = new Set<number>();
    const lsnMax = lastLsn ?? firstLsn + Math.ceil((to - from) / RECORD_HEADER_BYTES);
    for (let at = from; at + RECORD_HEADER_BYTES <= to; at += RECORD_ALIGN) {
      // The first record stands where the one before it ends, whatever is left of its fields.
      const isHere = at === from || (mayBeRecord(bytes, at, mark, firstLsn, lsnMax) && at < to);
      const stream = isHere ? this.#nameAt(bytes, at) : undefined;
      if (stream === undefined) continue;
      const lsn = at === from ? firstLsn : bytes.readUIntLE(at + 16, 6);
      named.add(lsn);
      if (!this.#isOver(stream, lsn)) this.#touch(stream.path, `record ${lsn} of it cannot be read`);
    }
    return named.size;
  }

  /** By appends that do not begin where the stream ended, and by streams that nothing has created. */
  byWhatFollows(): void {
    const tails = new Map<string, number>();
    const first = this.#survey.lost[0]?.firstLsn ?? 0;
    for (const { record } of this.#survey.records) {
      const { path, type, offset, payloadLength, lsn } = record;
      const name = key(record);
      const tail = tails.get(name);
      if (type === RecordType.append || type === RecordType.state) {
        if (lsn > first && !this.#isOver(record, lsn)) {
          if (tail === undefined && !this.#included.has(name)) this.#touch(path, `its creation cannot be read`);
          else if (tail !== undefined && type === RecordType.append && offset > tail) {
            this.#touch(path, `bytes ${tail} to ${offset} of it cannot be read`);
          }
        }
        tails.set(name, offset + payloadLength);
      } else if (type === RecordType.create) tails.set(name, offset + payloadLength);
      else if (type === RecordType.forget) tails.delete(name);
    }
  }

  /** A fork without its source is none. */
  byForks(): void {
    for (let before = -1; before < this.touched.size; ) {
      before = this.touched.size;
      for (const { path, fork } of this.#known) {
        if (fork !== undefined && this.touched.has(fork.path)) this.#touch(path, `it is a fork of ${fork.path}`);
      }
    }
  }

  #know(stream: Known | StreamSnapshot): void {
    const known = { path: stream.path, id: stream.id, fork: stream.fork };
    if (known.fork === undefined && this.#ids.has(stream.id)) return;
    this.#known.push(known);
    this.#ids.set(stream.id, known);
    this.#paths.add(stream.path);
  }

  /** A later record says that the stream is gone, or its metadata that all of it up to there is in place. */
  #isOver(stream: { readonly path: string; readonly id: string }, lsn: number): boolean {
    const name = key(stream);
    return (this.#deleted.get(name) ?? 0) > lsn || (this.#included.get(name) ?? 0) >= lsn;
  }

  #touch(path: string, why: string): void {
    if (!this.touched.has(path)) this.touched.set(path, why);
  }

  /** Whose record it was, where both or one of its two names are those of a stream; or where it made one. */
  #nameAt(bytes: Buffer, at: number): { readonly path: string; readonly id: string } | undefined {
    const begin = at + RECORD_HEADER_BYTES;
    const pathEnd = begin + bytes.readUInt16LE(at + 14);
    const idEnd = pathEnd + (bytes[at + 34] as number);
    if (idEnd <= bytes.length) {
      const path = bytes.toString('utf8', begin, pathEnd);
      const id = bytes.toString('utf8', pathEnd, idEnd);
      const byId = this.#ids.get(id);
      if (byId !== undefined) return byId;
      if (this.#paths.has(path)) return { path, id };
      if (bytes[at + 12] === RecordType.create && isPath(path)) return { path, id };
    }
    // Their lengths are damaged: are they those of any stream?
    return this.#known.find(({ path, id }) => {
      const name = Buffer.from(path + id);
      return bytes.subarray(begin, begin + name.length).equals(name);
    });
  }
}

function key({ path, id }: { readonly path: string; readonly id: string }): string {
  return `${id}/${path}`;
}

function forkOf({ type, body }: JournalRecord): ForkLink | undefined {
  if (type !== RecordType.create || body === undefined) return undefined;
  return (JSON.parse(Buffer.from(body).toString()) as Partial<StreamSnapshot>).fork;
}

function isPath(text: string): boolean {
  try {
    return checkStreamPath(text) === text;
  } catch {
    return false;
  }
}
