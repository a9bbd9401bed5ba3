import { type FileSystem, readSmallFile, replaceFile } from './file-system.js';
import type { Layout } from './layout.js';

/**
 * Which files the journal has, and how far each has grown. A journal cannot tell by itself that its newest file is gone,
 * or was cut where a step of its growth ends: this can. Nothing is written to a file, or to a step, before it is in here
 * and on the disk.
 */
export interface JournalList {
  readonly version: 1;
  /** Log sequence numbers up to this one were given before, whatever has become of the files. */
  readonly lsn: number;
  /** By name: how many bytes it has at least. */
  readonly files: Readonly<Record<string, number>>;
}

/** The list as it stands; undefined where there is none, `damaged` where it cannot be read. */
export function readJournalList(fs: FileSystem, layout: Layout): JournalList | 'damaged' | undefined {
  const bytes = readSmallFile(fs, layout.journalList);
  if (bytes === undefined) return undefined;
  try {
    const { version, lsn, files }: Partial<JournalList> = JSON.parse(bytes.toString());
    if (version !== 1 || !isCount(lsn) || typeof files !== 'object' || files === null) return 'damaged';
    if (!Object.values(files).every(isCount)) return 'damaged';
    return { version, lsn, files };
  } catch {
    return 'damaged';
  }
}

/** Puts a list in the place of the one before; it is on the disk when this resolves. */
export function writeJournalList(fs: FileSystem, layout: Layout, list: JournalList): Promise<void> {
  return replaceFile(fs, layout.journalList, Buffer.from(`${JSON.stringify(list)}\n`));
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
