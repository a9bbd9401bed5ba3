import { fileMark } from './file-storage.js';
import type { FileStat } from './file-system.js';

/** What is known of a file that was put there by hand, to tell it from one that others put in its place later. */
export interface FilePrint {
  /** Inode and birth. */
  readonly mark: string;
  readonly size: number;
  readonly mtimeMs: number;
}

export function printOf(stat: FileStat): FilePrint {
  return { mark: fileMark(stat), size: stat.size, mtimeMs: stat.mtimeMs };
}

/**
 * Whether a file is the one that it was: as it was left, wherever it was copied to (`cp -a` keeps the time and not the
 * inode), or the same one, which has grown by hand.
 */
export function isSameFile(print: FilePrint, stat: FileStat): boolean {
  if (stat.size === print.size && isSameTime(print.mtimeMs, stat.mtimeMs)) return true;
  return stat.size >= print.size && fileMark(stat) === print.mark;
}

/** Programs that copy keep a time to the nanosecond, or cut it to milliseconds or seconds. */
function isSameTime(beforeMs: number, nowMs: number): boolean {
  return nowMs === beforeMs || nowMs === Math.floor(beforeMs) || nowMs === Math.floor(beforeMs / 1000) * 1000;
}
