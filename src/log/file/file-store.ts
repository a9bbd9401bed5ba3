import { MillraceError } from '../../errors.js';
import { type Clock, StoreTime, systemClock } from '../clock.js';
import { Engine } from '../engine.js';
import { positive, type StoreLimits, storeLimits } from '../limits.js';
import type { Durability, Store } from '../store.js';
import { diskError } from './disk-error.js';
import { DIRTY_STREAMS_MAX, FileMedium, FLUSH_INTERVAL_MS, streamNames } from './file-medium.js';
import { codeOf, type FileSystem, makeDirectory, nodeFileSystem, syncDirectory } from './file-system.js';
import { Guard } from './guard.js';
import { JOURNAL_BYTES_MAX, JOURNAL_SEGMENT_BYTES, Journal } from './journal.js';
import { Layout } from './layout.js';
import type { FileParts } from './loading.js';
import { lockRoot } from './lock.js';
import { type Loss, Losses } from './losses.js';
import { MetadataFiles } from './metadata.js';
import { OPEN_FILES_MAX, OpenFiles } from './open-files.js';
import { tightenPermissions } from './permissions.js';
import { Places } from './places.js';
import { recover } from './recovery.js';
import { prepareRoot } from './root.js';

export interface FileStoreOptions extends StoreLimits {
  /** The directory whose files are the streams. */
  readonly root: string;
  /** Make the root where there is none. Default false. */
  readonly createRoot?: boolean;
  /** How durable appends are that do not say it themselves. Default `fsync`. */
  readonly durability?: Durability;
  /** Size of a journal segment. Default {@link JOURNAL_SEGMENT_BYTES}. */
  readonly journalSegmentBytes?: number;
  /** Size of the whole journal, at least two segments. Default {@link JOURNAL_BYTES_MAX}. */
  readonly journalBytesMax?: number;
  /** When that many streams wait to be flushed, they are. Default {@link DIRTY_STREAMS_MAX}. */
  readonly dirtyStreamsMax?: number;
  /** How often everything is flushed. Default {@link FLUSH_INTERVAL_MS}. */
  readonly flushIntervalMs?: number;
  /** How many data files are kept open. Default {@link OPEN_FILES_MAX}. */
  readonly openFilesMax?: number;
  /**
   * Told when others took acknowledged bytes out of a stream's file before they were flushed: they are kept in
   * `.millrace/lost`. {@link lossError} makes a line for a log of it.
   */
  readonly onLoss?: (loss: Loss) => void;
  /** How many streams are kept in memory that nobody uses. Default {@link STREAMS_IN_MEMORY_MAX}. */
  readonly streamsInMemoryMax?: number;
}

/** Default of {@link FileStoreOptions.streamsInMemoryMax}. */
export const STREAMS_IN_MEMORY_MAX = 50_000;

/** What a segment must hold besides the largest append. */
const SEGMENT_SLACK_BYTES = 1024 * 1024;
const SEGMENT_BYTES_MIN = 64 * 1024;

/**
 * Opens the streams below a root: every file there is one. Brings them to their last committed byte first.
 * Errors: `STORE_UNAVAILABLE` (the root is missing, unreadable, read-only), `STORE_LOCKED`, `JOURNAL_CORRUPT`,
 * `STORE_FULL`, `INVALID_ARGUMENT`.
 */
export async function createFileStore(options: FileStoreOptions): Promise<Store> {
  return openFileStore(options, nodeFileSystem, systemClock);
}

/** {@link createFileStore} on a given file system, by a given clock. */
export async function openFileStore(
  options: FileStoreOptions,
  fs: FileSystem,
  clock: Clock = systemClock,
): Promise<Store> {
  const segmentBytes = options.journalSegmentBytes ?? JOURNAL_SEGMENT_BYTES;
  const bytesMax = options.journalBytesMax ?? Math.max(JOURNAL_BYTES_MAX, 2 * segmentBytes);
  checkSizes(options, segmentBytes, bytesMax);
  const root = prepareRoot(options.root, { create: options.createRoot ?? false });
  const layout = new Layout(root);
  const lock = lockRoot(layout.lock, root);
  const files = new OpenFiles(fs, positive('openFilesMax', options.openFilesMax ?? OPEN_FILES_MAX));
  try {
    await makeOwnDirectories(fs, layout);
    tightenPermissions(layout);
    const guard = new Guard(fs, layout, lock);
    const losses = new Losses(fs, layout, (loss) => options.onLoss?.(loss));
    await losses.open();
    const parts: FileParts = {
      fs,
      layout,
      files,
      metadata: new MetadataFiles(fs, layout),
      places: new Places(fs, layout, files),
    };
    const { streams, start } = await recover(parts, losses);
    const time = new StoreTime(clock, start.timeMs);
    const journal = await Journal.open(fs, layout, guard, { segmentBytes, bytesMax }, streamNames, start, time);
    const medium = new FileMedium(
      parts,
      journal,
      guard,
      losses,
      streams,
      {
        dirtyStreamsMax: positive('dirtyStreamsMax', options.dirtyStreamsMax ?? DIRTY_STREAMS_MAX),
        flushIntervalMs: positive('flushIntervalMs', options.flushIntervalMs ?? FLUSH_INTERVAL_MS),
      },
      () => lock.release(),
    );
    const limits = storeLimits(options);
    return new Engine(medium, {
      ...limits,
      appendBytesMax: Math.min(limits.appendBytesMax, segmentBytes - Math.min(SEGMENT_SLACK_BYTES, segmentBytes / 4)),
      commitBytesMax: Math.min(limits.commitBytesMax, Math.floor(segmentBytes / 4)),
      durability: options.durability ?? 'fsync',
      streamsInMemoryMax: positive('streamsInMemoryMax', options.streamsInMemoryMax ?? STREAMS_IN_MEMORY_MAX),
      time,
    });
  } catch (error) {
    files.close();
    lock.release();
    throw codeOf(error) === undefined ? error : diskError(error, `The root ${root} cannot be opened`);
  }
}

function checkSizes(options: FileStoreOptions, segmentBytes: number, bytesMax: number): void {
  positive('journalSegmentBytes', segmentBytes);
  positive('journalBytesMax', bytesMax);
  if (segmentBytes < SEGMENT_BYTES_MIN) {
    throw new MillraceError('INVALID_ARGUMENT', `journalSegmentBytes must be at least ${SEGMENT_BYTES_MIN}.`);
  }
  if (bytesMax < 2 * segmentBytes) {
    throw new MillraceError('INVALID_ARGUMENT', 'journalBytesMax must be at least twice journalSegmentBytes.');
  }
  const { appendBytesMax } = options;
  if (appendBytesMax !== undefined && appendBytesMax > segmentBytes - SEGMENT_SLACK_BYTES) {
    throw new MillraceError(
      'INVALID_ARGUMENT',
      `appendBytesMax must be at least ${SEGMENT_SLACK_BYTES} bytes less than journalSegmentBytes.`,
    );
  }
}

async function makeOwnDirectories(fs: FileSystem, layout: Layout): Promise<void> {
  try {
    for (const directory of [layout.own, layout.journal, layout.metadata, layout.overflow, layout.expiring]) {
      makeDirectory(fs, directory);
    }
    // A journal is worth nothing whose directory is gone after a power cut.
    await syncDirectory(fs, layout.root);
    await syncDirectory(fs, layout.own);
  } catch (error) {
    throw diskError(error, `The directory ${layout.own} cannot be made`);
  }
}
