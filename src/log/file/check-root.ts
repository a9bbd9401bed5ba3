import { join } from 'node:path';
import { StoreTime, systemClock } from '../clock.js';
import { diskError } from './disk-error.js';
import { codeOf, type FileSystem, makeDirectory, nodeFileSystem, replaceFile, syncDirectory } from './file-system.js';
import { Flush } from './flush.js';
import { Guard } from './guard.js';
import { Journal } from './journal.js';
import { Layout } from './layout.js';
import type { FileParts } from './loading.js';
import { lockRoot, type RootLock } from './lock.js';
import { Losses } from './losses.js';
import { type Metadata, MetadataFiles } from './metadata.js';
import { OpenFiles } from './open-files.js';
import { Places } from './places.js';
import { replayRecords } from './recovery.js';
import { prepareRoot } from './root.js';
import { type JournalDamage, type JournalSurvey, surveyJournal } from './survey.js';
import { findTouched, type TouchedStream } from './touched.js';

/** What a root is like. */
export interface RootReport {
  readonly root: string;
  /** Where it is damaged; empty where a store can be opened on it. */
  readonly damages: readonly JournalDamage[];
  /** Streams of which something acknowledged cannot be read; all others have everything. */
  readonly touched: readonly TouchedStream[];
  /** How many lost records nothing names a stream of: of which they were nobody can tell. `many`: nor how many. */
  readonly unnamed: number | 'many';
  /** Metadata files that cannot be read: their streams are taken for files that were put there by hand. */
  readonly unreadableMetadata: readonly string[];
  /** How many losses are kept in `.millrace/lost`. */
  readonly losses: number;
  /** Where the touched streams and the damaged journal were put. */
  readonly setAside: string | undefined;
}

const FILES_OPEN_MAX = 16;
const SEGMENT_BYTES = 32 * 1024 * 1024;

/**
 * Looks through a root that no store is open on, and changes nothing; with `setAside` it puts the damaged journal aside,
 * with the streams that the damage touches, brings all others to their last byte, and leaves a root that can be opened.
 * Errors: `STORE_LOCKED`, `STORE_UNAVAILABLE`, `STORE_FULL`.
 */
export async function checkRoot(
  given: string,
  { setAside = false }: { readonly setAside?: boolean } = {},
  fs: FileSystem = nodeFileSystem,
): Promise<RootReport> {
  const root = prepareRoot(given, { writable: setAside });
  const layout = new Layout(root);
  // Where there is no lock there is no server, and one who only looks makes none.
  const lock = setAside || fs.stat(layout.lock) !== undefined ? lockRoot(layout.lock, root) : undefined;
  const files = new OpenFiles(fs, FILES_OPEN_MAX);
  try {
    const places = new Places(fs, layout, files);
    const parts: FileParts = { fs, layout, files, metadata: new MetadataFiles(fs, layout), places };
    return await check(parts, setAside ? lock : undefined);
  } catch (error) {
    throw codeOf(error) === undefined ? error : diskError(error, `The root ${root} cannot be looked through`);
  } finally {
    files.close();
    lock?.release();
  }
}

async function check(parts: FileParts, lock: RootLock | undefined): Promise<RootReport> {
  const { fs, layout } = parts;
  const { metadata, unreadable } = await readAllMetadata(parts);
  const losses = new Losses(fs, layout, () => {});
  await losses.open();
  const survey =
    fs.stat(layout.journal) === undefined && fs.stat(layout.journalList) === undefined
      ? undefined
      : await surveyJournal(parts);
  const touched = survey === undefined ? { streams: [], unnamed: 0 } : findTouched(survey, metadata);
  const damages = survey?.damages ?? [];
  let place: string | undefined;
  if (lock !== undefined && survey !== undefined && damages.length > 0) {
    place = await setAside(parts, lock, losses, survey, metadata, touched.streams);
  }
  return {
    root: layout.root,
    damages,
    touched: touched.streams,
    unnamed: touched.unnamed ?? 'many',
    unreadableMetadata: unreadable,
    losses: losses.count,
    setAside: place,
  };
}

async function readAllMetadata({
  fs,
  layout,
  metadata,
}: FileParts): Promise<{ metadata: Metadata[]; unreadable: string[] }> {
  const all: Metadata[] = [];
  const unreadable: string[] = [];
  if (fs.stat(layout.metadata)?.kind !== 'directory') return { metadata: all, unreadable };
  for (const directory of await fs.readdir(layout.metadata)) {
    if (directory.kind !== 'directory') continue;
    for (const { name } of await fs.readdir(join(layout.metadata, directory.name))) {
      if (!name.endsWith('.json')) continue;
      const each = metadata.readByHash(name.slice(0, -'.json'.length));
      if (each === undefined) unreadable.push(join(layout.metadata, directory.name, name));
      else all.push(each);
    }
  }
  return { metadata: all, unreadable };
}

/**
 * In an order in which it can be broken off and begun again at any moment: until the journal is moved as a whole, it is
 * as damaged as it was, and has everything.
 */
async function setAside(
  parts: FileParts,
  lock: RootLock,
  losses: Losses,
  survey: JournalSurvey,
  metadata: readonly Metadata[],
  touched: readonly TouchedStream[],
): Promise<string> {
  const { fs, layout } = parts;
  const place = join(layout.setAside, new Date().toISOString().replaceAll(':', '-'));
  for (const directory of [layout.setAside, place]) makeDirectory(fs, directory);
  const moved = touched.map((stream, index) => ({
    ...stream,
    ...moveStream(parts, stream.path, place, String(index)),
  }));
  const { damages } = survey;
  await replaceFile(
    fs,
    join(place, 'report.json'),
    Buffer.from(`${JSON.stringify({ damages, touched: moved }, undefined, 2)}\n`),
  );
  await syncDirectory(fs, layout.setAside);

  const paths = new Set(touched.map(({ path }) => path));
  const { streams, timeMs } = await replayRecords(parts, losses, survey.segments, (each) => {
    for (const found of survey.records) if (!paths.has(found.record.path)) each(found);
  });
  const lsn = Math.max(survey.lsn, ...metadata.map((each) => each.lsn));
  const time = new StoreTime(systemClock, Math.max(survey.timeMs, timeMs));
  const guard = new Guard(fs, layout, lock);
  // A journal without files: what is replayed is brought to its place, and nothing is written but the list of no files.
  const journal = await Journal.open(
    fs,
    layout,
    guard,
    { segmentBytes: SEGMENT_BYTES, bytesMax: 2 * SEGMENT_BYTES },
    { nameOf: unused, fileMarkOf: unused, printOf: unused },
    { lsn, segment: survey.segment, timeMs, listed: undefined, slots: [] },
    time,
  );
  const flush = new Flush(parts, journal, guard, losses);
  for (const stream of streams.values()) flush.mark(stream);
  await flush.finish();
  await journal.close(false);
  fs.rename(layout.journal, join(place, 'journal'));
  makeDirectory(fs, layout.journal);
  await syncDirectory(fs, place);
  await syncDirectory(fs, layout.own);
  return place;
}

/** Moves what there is of a stream; returns the names that it has now. */
function moveStream(
  { fs, layout, metadata, places }: FileParts,
  path: string,
  place: string,
  name: string,
): { readonly file: string | undefined; readonly metadata: string | undefined } {
  const known = metadata.read(path);
  const file = known?.overflow ? layout.overflowOf(path, known.stream.id) : layout.fileOf(path);
  const isThere = fs.stat(file)?.kind === 'file' && fs.realpath(file) === file;
  if (isThere) {
    fs.rename(file, join(place, name));
    places.dirtyDirectories.add(join(file, '..'));
  }
  if (known === undefined) return { file: isThere ? name : undefined, metadata: undefined };
  fs.rename(layout.metadataOf(path).file, join(place, `${name}.json`));
  places.dirtyDirectories.add(layout.metadataOf(path).directory);
  return { file: isThere ? name : undefined, metadata: `${name}.json` };
}

function unused(): never {
  throw new Error('Nothing is written to this journal.');
}
