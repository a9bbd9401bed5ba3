import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFileStore } from '../../src/log/file/file-store.js';
import type { AppendSession, Store } from '../../src/log/index.js';
import { failure, PowerCutDisk } from './power-cut-disk.js';

let root: string;
let disk: PowerCutDisk;
let store: Store;

const open = () => openFileStore({ root, flushIntervalMs: 3_600_000 }, disk.session());

beforeEach(async () => {
  // Only the lock is on the real disk.
  root = mkdtempSync(join(tmpdir(), 'millrace-durability-'));
  mkdirSync(join(root, '.millrace'));
  disk = new PowerCutDisk(root);
  store = await open();
  await store.create('a', { data: bytes('1') });
});

afterEach(async () => {
  await store.close().catch(() => {});
  rmSync(root, { recursive: true, force: true });
});

const bytes = (text: string) => Buffer.from(text);

async function contents(path: string): Promise<string> {
  return Buffer.from((await store.read(path, 0, { maxBytes: 1e9 })).data).toString();
}

/** Starts again with what was synced, and nothing else. */
async function afterPowerCut(): Promise<void> {
  disk.losingPowerCut();
  await store.close().catch(() => {});
  store = await open();
}

describe('what was first made as `written`', () => {
  const producer = { id: 'p', epoch: 0, seq: 0 };

  it('may be lost when the power goes, unless somebody asks for more', async () => {
    await store.append('a', { data: bytes('2'), producer, durability: 'written' });
    expect((await store.append('a', { data: bytes('2'), producer, durability: 'written' })).duplicate).toBe(true);
    await afterPowerCut();
    expect(await contents('a')).toBe('1');
  });

  it('is on the disk when an append that is repeated as `fsync` is acknowledged', async () => {
    await store.append('a', { data: bytes('2'), producer, durability: 'written' });
    const again = await store.append('a', { data: bytes('2'), producer, durability: 'fsync' });
    expect(again).toMatchObject({ duplicate: true, offset: 2 });
    await afterPowerCut();
    expect(await contents('a')).toBe('12');
    expect((await store.append('a', { data: bytes('2'), producer })).duplicate).toBe(true);
  });

  it('is on the disk when a closure that is repeated as `fsync` is acknowledged', async () => {
    await store.append('a', { close: true, durability: 'written' });
    expect((await store.append('a', { close: true, durability: 'fsync' })).duplicate).toBe(true);
    await afterPowerCut();
    expect((await store.stat('a')).closed).toBe(true);
  });

  it('is on the disk when a creation that is repeated as `fsync` is acknowledged', async () => {
    await store.append('a', { data: bytes('2'), close: true, durability: 'written' });
    // The same configuration, the closure included.
    expect((await store.create('a', { closed: true, durability: 'fsync' })).created).toBe(false);
    await afterPowerCut();
    expect(await contents('a')).toBe('12');
    expect((await store.stat('a')).closed).toBe(true);
  });

  it('is on the disk when a session is told that it was committed', async () => {
    const owner = { id: 's', epoch: 1 };
    const first = await store.acquire('a', { producer: owner, durability: 'written' });
    await first.append(bytes('2'));
    await first.release();
    const second: AppendSession = await store.acquire('a', { producer: owner, durability: 'fsync' });
    expect(second.committed).toEqual({ epoch: 1, seq: 0 });
    await afterPowerCut();
    expect(await contents('a')).toBe('12');
  });
});

describe('what a killed process left in the page cache', () => {
  it('is safe from the next start on, also before it is flushed', async () => {
    await store.append('a', { data: bytes('2'), durability: 'written' });
    disk.kill();
    await store.close().catch(() => {});
    // No room for metadata: nothing is flushed, and the journal is all that there is.
    disk.fault = (call, path) => {
      if (call === 'write' && path.includes('/meta/')) throw failure('ENOSPC', path);
    };
    store = await open();
    // On top of it, and durable: a power cut that takes what it stands on would take this, too.
    await store.append('a', { data: bytes('3') });
    disk.fault = undefined;
    await afterPowerCut();
    expect(await contents('a')).toBe('123');
  });
});
