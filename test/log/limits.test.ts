import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../src/log/clock.js';
import { openFileStore } from '../../src/log/file/file-store.js';
import { nodeFileSystem } from '../../src/log/file/file-system.js';
import { createMemoryStore, type FileStoreOptions, type Store } from '../../src/log/index.js';
import { ManualClock } from './manual-clock.js';

const roots: string[] = [];
const stores: Store[] = [];
afterEach(async () => {
  await Promise.all(stores.splice(0).map((store) => store.close()));
  await Promise.all(roots.splice(0).map((root) => rm(root, { recursive: true, force: true })));
});

async function fileStore(
  options: Partial<FileStoreOptions>,
  clock: Clock = systemClock,
): Promise<{ store: Store; root: string }> {
  const root = await mkdtemp(join(tmpdir(), 'millrace-limits-'));
  roots.push(root);
  const store = await openFileStore({ root, ...options }, nodeFileSystem, clock);
  stores.push(store);
  return { store, root };
}

async function code(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error) => error.code,
  );
}

describe('a store', () => {
  it('refuses a single append that is too large, and says how large it may be', async () => {
    const store = createMemoryStore({ appendBytesMax: 10 });
    stores.push(store);
    await store.create('a');
    const error = await store.append('a', { data: Buffer.alloc(11) }).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'APPEND_TOO_LARGE', details: { appendBytesMax: 10, receivedBytes: 11 } });
    expect(await code(store.create('b', { data: Buffer.alloc(11) }))).toBe('APPEND_TOO_LARGE');
    expect((await store.append('a', { data: Buffer.alloc(10) })).offset).toBe(10);
  });

  it('keeps the order of appends that had to wait for room', async () => {
    const { store } = await fileStore({ pendingBytesMax: 2000 });
    const session = await store.acquire('a', { create: {} });
    const appends = Array.from({ length: 200 }, (_, index) => session.append(Buffer.from(`${index};`.padStart(8))));
    const offsets = (await Promise.all(appends)).map(({ offset }) => offset);
    expect(offsets).toEqual(Array.from({ length: 200 }, (_, index) => (index + 1) * 8));
    const { data } = await store.read('a', 0, { maxBytes: 1e6 });
    expect(Buffer.from(data).toString().split(';').map(Number).slice(0, 200)).toEqual(
      Array.from({ length: 200 }, (_, index) => index),
    );
  });

  it('says that it is busy to those who waited too long', async () => {
    const root = await mkdtemp(join(tmpdir(), 'millrace-limits-'));
    roots.push(root);
    let held: Promise<void> | undefined;
    const store = await openFileStore(
      { root, pendingBytesMax: 1000, pendingWaitMs: 20 },
      { ...nodeFileSystem, sync: (fd) => Promise.resolve(held).then(() => nodeFileSystem.sync(fd)) },
    );
    stores.push(store);
    await store.create('a');
    let goOn = () => {};
    held = new Promise((resolve) => {
      goOn = resolve;
    });
    const slow = store.append('a', { data: Buffer.alloc(1000, '1') });
    expect(await code(store.append('a', { data: Buffer.alloc(10, '2') }))).toBe('STORE_BUSY');
    goOn();
    expect((await slow).offset).toBe(1000);
    expect((await store.append('a', { data: Buffer.alloc(1) })).offset).toBe(1001);
  });

  it('refuses options that cannot be', async () => {
    for (const options of [
      { appendBytesMax: 0 },
      { pendingBytesMax: -1 },
      { pendingWaitMs: 1.5 },
      { openFilesMax: Number.NaN },
      { journalSegmentBytes: 1000 },
      { journalSegmentBytes: 1 << 20, journalBytesMax: 1 << 20 },
      { appendBytesMax: 1 << 30 },
    ]) {
      expect(await code(fileStore(options)), JSON.stringify(options)).toBe('INVALID_ARGUMENT');
    }
  });
});

describe('the journal', () => {
  it('never takes more room than it may, however much is appended', async () => {
    const segmentBytes = 256 * 1024;
    const { store, root } = await fileStore({ journalSegmentBytes: segmentBytes, journalBytesMax: 3 * segmentBytes });
    await store.create('a');
    const part = Buffer.alloc(50_000, 'x');
    for (let round = 0; round < 20; round++) {
      await Promise.all(Array.from({ length: 5 }, () => store.append('a', { data: part })));
      const files = readdirSync(join(root, '.millrace/journal'));
      const bytes = files.reduce((sum, name) => sum + statSync(join(root, '.millrace/journal', name)).size, 0);
      expect(bytes).toBeLessThanOrEqual(3 * segmentBytes);
    }
    expect((await store.stat('a')).tail).toBe(100 * part.length);
  });
});

describe('streams that nobody uses', () => {
  it('leave memory, and come back as they were', async () => {
    const { store } = await fileStore({ streamsInMemoryMax: 5, flushIntervalMs: 5, openFilesMax: 2 });
    const seq = new Map<string, number>();
    for (let round = 0; round < 5; round++) {
      for (let index = 0; index < 40; index++) {
        const path = `s/${index}`;
        if (round === 0) await store.create(path, { contentType: `text/x-${index}` });
        const producer = { id: 'p', epoch: 0, seq: seq.get(path) ?? 0 };
        seq.set(path, producer.seq + 1);
        const { duplicate, offset } = await store.append(path, { data: Buffer.from(`${round}`), producer });
        expect([duplicate, offset]).toEqual([false, round + 1]);
      }
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
    for (let index = 0; index < 40; index++) {
      expect((await store.stat(`s/${index}`)).contentType).toBe(`text/x-${index}`);
      const { data } = await store.read(`s/${index}`, 0, { maxBytes: 100 });
      expect(Buffer.from(data).toString()).toBe('01234');
    }
  });
});

describe('the space of expired streams', () => {
  it('is freed, also of those that are not in memory', async () => {
    const clock = new ManualClock();
    const { store, root } = await fileStore({ flushIntervalMs: 5, streamsInMemoryMax: 1 }, clock);
    for (let index = 0; index < 10; index++)
      await store.create(`e/${index}`, { ttlSeconds: 1, data: Buffer.from('x') });
    await store.create('kept', { data: Buffer.from('x') });
    clock.pass(999);
    expect(existsSync(join(root, 'e/0'))).toBe(true);
    const swept = () => {
      clock.pass(1000);
      return existsSync(join(root, 'e'));
    };
    await expect.poll(swept, { timeout: 15_000 }).toBe(false);
    await expect.poll(() => readdirSync(join(root, '.millrace/expiring')), { timeout: 5000 }).toEqual([]);
    expect(existsSync(join(root, 'kept'))).toBe(true);
  });
});
