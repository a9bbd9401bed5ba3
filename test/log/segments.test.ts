import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeFileSystem } from '../../src/log/file/file-system.js';
import { encodeSegmentHeader } from '../../src/log/file/record.js';
import { findSegments, readRecords } from '../../src/log/file/segments.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'millrace-segments-'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('a journal segment that was used before', () => {
  // What an earlier use left behind the records is searched through for one that must not be there.
  it('is read in no time, whatever stream data it still holds', { timeout: 10_000 }, async () => {
    const header = encodeSegmentHeader({ number: 1, firstLsn: 1, nonce: Buffer.alloc(16, 1) });
    const numbers = new Uint32Array(2 * 1024 * 1024);
    // Each of them could be the length of a record that begins there.
    for (let i = 0; i < numbers.length; i++) numbers[i] = 1_000_000 + (i % 1000);
    writeFileSync(join(directory, '0000.journal'), Buffer.concat([header, Buffer.from(numbers.buffer)]));
    const { segments } = await findSegments(nodeFileSystem, directory);
    let records = 0;
    expect(readRecords(nodeFileSystem, segments, () => records++)).toBe(0);
    expect(records).toBe(0);
  });
});
