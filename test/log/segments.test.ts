import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeFileSystem } from '../../src/log/file/file-system.js';
import { Layout } from '../../src/log/file/layout.js';
import { encodeSegmentHeader } from '../../src/log/file/record.js';
import { findSegments, readRecords } from '../../src/log/file/segments.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-segments-'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** What a client could append so that a search takes it for records, and each of them for nearly all that follows. */
function forgedRecords(bytes: number): Buffer {
  const forged = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 64) {
    forged.writeUInt32LE(bytes - at, at);
    forged.writeUIntLE(2, at + 16, 6);
  }
  return forged;
}

describe('a journal segment that was used before', () => {
  const header = encodeSegmentHeader({
    number: 1,
    firstLsn: 1,
    nonce: randomBytes(16),
    fileBytes: 8 * 1024 * 1024,
    timeMs: 1e12,
  });

  // What an earlier use left behind the records is searched through for one that must not be there.
  it('is read in no time, whatever stream data it still holds', { timeout: 10_000 }, async () => {
    const layout = new Layout(directory);
    mkdirSync(layout.journal, { recursive: true });
    writeFileSync(layout.journalList, JSON.stringify({ version: 1, lsn: 0, files: {} }));
    writeFileSync(join(layout.journal, '0000.journal'), Buffer.concat([header, forgedRecords(8 * 1024 * 1024)]));
    const { segments } = await findSegments(nodeFileSystem, layout);
    let records = 0;
    expect(readRecords(nodeFileSystem, segments, () => records++)).toBe(0);
    expect(records).toBe(0);
  });
});
