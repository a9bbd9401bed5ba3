import { chmodSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { diskError } from './disk-error.js';
import { codeOf } from './file-system.js';
import type { Layout } from './layout.js';

/**
 * Takes from others what they were once allowed, in a root of an earlier version or a copy: the journal holds whatever
 * was appended, the server's own streams hold its keys. Metadata lies behind a private directory: there may be a file for
 * each stream. Throws `STORE_UNAVAILABLE`.
 */
export function tightenPermissions(layout: Layout): void {
  const { own, journal, metadata, overflow, expiring, lost, lock, serverStreams } = layout;
  try {
    for (const path of [own, metadata, overflow, expiring, lost, lock]) tighten(path);
    for (const path of [journal, serverStreams]) tightenAll(path);
  } catch (error) {
    throw diskError(error, `The permissions below ${layout.root} cannot be set`);
  }
}

function tightenAll(path: string): void {
  if (tighten(path) !== 'directory') return;
  for (const name of readdirSync(path)) tightenAll(join(path, name));
}

function tighten(path: string): 'file' | 'directory' | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  // A link is nobody's stream: what it points to is not ours.
  if (stat === undefined || !(stat.isFile() || stat.isDirectory())) return undefined;
  try {
    if ((stat.mode & 0o077) !== 0) chmodSync(path, stat.mode & 0o700);
  } catch (error) {
    // Its owner is somebody else, who has decided.
    if (codeOf(error) !== 'EPERM') throw error;
  }
  return stat.isDirectory() ? 'directory' : 'file';
}
