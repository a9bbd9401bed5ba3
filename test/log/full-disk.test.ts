import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createFileStore, type Store } from '../../src/log/index.js';

const MIB = 1024 * 1024;
const disk = mkdtempSync(join(tmpdir(), 'millrace-full-'));
const mounted = spawnSync('/bin/mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', disk]).status === 0;

afterAll(() => {
  if (mounted) spawnSync('/bin/umount', [disk]);
  rmSync(disk, { recursive: true, force: true });
});

async function fill(store: Store, path: string): Promise<{ bytes: number; code: string }> {
  for (let bytes = 0; ; bytes += MIB) {
    try {
      await store.append(path, { data: Buffer.alloc(MIB, 'x') });
    } catch (error) {
      return { bytes, code: (error as { code: string }).code };
    }
  }
}

const reason = mounted ? '' : ' (not asked: a small disk can only be mounted by root)';

describe(`a real disk that is full${reason}`, () => {
  it('refuses what it cannot hold, keeps what was acknowledged, and goes on when there is room', {
    skip: !mounted,
    timeout: 60_000,
  }, async () => {
    const options = { root: disk, journalSegmentBytes: 4 * MIB, journalBytesMax: 8 * MIB };
    let store = await createFileStore(options);
    try {
      await store.create('small', { data: Buffer.from('1') });
      await store.create('large');
      writeFileSync(join(disk, 'in-the-way'), Buffer.alloc(3 * MIB));
      const { bytes, code } = await fill(store, 'large');
      expect(code).toBe('STORE_FULL');
      expect(store.failure).toBeUndefined();
      expect((await store.stat('large')).tail).toBe(bytes);
      expect((await store.read('small', 0, { maxBytes: 10 })).data.length).toBe(1);
      rmSync(join(disk, 'in-the-way'));
      await store.append('small', { data: Buffer.from('2') });
      expect((await store.append('large', { data: Buffer.from('y') })).offset).toBe(bytes + 1);
      await store.close();
      store = await createFileStore(options);
      expect((await store.stat('large')).tail).toBe(bytes + 1);
      expect(Buffer.from((await store.read('small', 0, { maxBytes: 10 })).data).toString()).toBe('12');
    } finally {
      await store.close();
    }
  });
});
