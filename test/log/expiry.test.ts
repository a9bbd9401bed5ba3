import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WALL_CLOCK_SETTLES_MS } from '../../src/log/clock.js';
import { type FileStoreOptions, openFileStore } from '../../src/log/file/file-store.js';
import { nodeFileSystem } from '../../src/log/file/file-system.js';
import type { Store } from '../../src/log/index.js';
import { openMemoryStore } from '../../src/log/memory-store.js';
import { ManualClock } from './manual-clock.js';
import { PowerCutDisk } from './power-cut-disk.js';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

let clock: ManualClock;
let root: string;
let store: Store;

beforeEach(() => {
  clock = new ManualClock();
  root = mkdtempSync(join(tmpdir(), 'millrace-expiry-'));
});

afterEach(async () => {
  await store.close();
  rmSync(root, { recursive: true, force: true });
});

const bytes = (text: string) => Buffer.from(text);
const openFiles = (options: Partial<FileStoreOptions> = {}) =>
  openFileStore({ root, flushIntervalMs: HOUR_MS, ...options }, nodeFileSystem, clock);

async function contents(path: string): Promise<string> {
  return Buffer.from((await store.read(path, 0, { maxBytes: 1e9 })).data).toString();
}

async function isThere(path: string): Promise<boolean> {
  return store.stat(path).then(
    () => true,
    (error) => {
      expect(error).toMatchObject({ code: 'STREAM_NOT_FOUND' });
      return false;
    },
  );
}

const kinds: [string, () => Promise<Store>][] = [
  ['memory', async () => openMemoryStore({}, clock)],
  ['files', () => openFiles()],
];

describe.each(kinds)('a clock that jumps, under a store in %s,', (_, open) => {
  beforeEach(async () => {
    store = await open();
  });

  it('ends no time to live early: not by going back, a use, and going forward again', async () => {
    await store.create('a', { ttlSeconds: 3600, data: bytes('x') });
    clock.setWall(-27 * HOUR_MS);
    expect(await contents('a')).toBe('x');
    await store.append('a', { data: bytes('y') });
    clock.setWall(27 * HOUR_MS);
    clock.pass(59 * MINUTE_MS);
    expect(await isThere('a')).toBe(true);
    clock.pass(2 * MINUTE_MS);
    expect(await isThere('a')).toBe(false);
  });

  it('ends no time to live early by being ahead for a moment', async () => {
    await store.create('a', { ttlSeconds: 3600, data: bytes('x') });
    clock.pass(5 * SECOND_MS);
    clock.setWall(2 * HOUR_MS);
    clock.pass(2.5 * SECOND_MS);
    expect(await isThere('a')).toBe(true);
    clock.setWall(-2 * HOUR_MS);
    expect(await contents('a')).toBe('x');
  });

  it('prolongs no time to live by going back', async () => {
    await store.create('a', { ttlSeconds: 3600 });
    clock.setWall(-27 * HOUR_MS);
    clock.pass(61 * MINUTE_MS);
    expect(await isThere('a')).toBe(false);
  });

  it('hides what is past its moment, and deletes nothing that comes back when it is set right', async () => {
    await store.create('a', { expiresAtMs: clock.wallMs() + HOUR_MS, data: bytes('x') });
    clock.pass(5 * SECOND_MS);
    clock.setWall(2 * HOUR_MS);
    for (let seconds = 0; seconds < WALL_CLOCK_SETTLES_MS / SECOND_MS - 2; seconds += 2) {
      clock.pass(2 * SECOND_MS);
      expect(await isThere('a')).toBe(false);
    }
    await expect(store.create('a')).rejects.toMatchObject({
      code: 'STREAM_EXPIRED',
      details: { retryAfterMs: WALL_CLOCK_SETTLES_MS },
    });
    clock.setWall(-2 * HOUR_MS);
    expect(await contents('a')).toBe('x');
    await store.append('a', { data: bytes('y') });
    expect(await contents('a')).toBe('xy');
  });

  it('keeps those who follow a stream that it hides', async () => {
    await store.create('a', { expiresAtMs: clock.wallMs() + HOUR_MS });
    const { events } = await store.subscribe('a');
    const followed = events.subscribe();
    clock.setWall(2 * HOUR_MS);
    clock.pass(30 * SECOND_MS);
    clock.setWall(-2 * HOUR_MS);
    await store.append('a', { data: bytes('x') });
    expect((await followed.next()).value).toMatchObject({ data: bytes('x'), deleted: false });
  });

  it('frees the path when the moment is past for good', async () => {
    await store.create('a', { expiresAtMs: clock.wallMs() + HOUR_MS, data: bytes('x') });
    clock.pass(HOUR_MS + WALL_CLOCK_SETTLES_MS + 2 * SECOND_MS);
    expect((await store.create('a', { data: bytes('new') })).created).toBe(true);
    expect(await contents('a')).toBe('new');
  });
});

describe('a store of files', () => {
  it('deletes the file of a stream that nobody asks for when its moment is past for good, not before', async () => {
    // Nothing is kept in memory, so the sweep must find it on the disk.
    store = await openFiles({ streamsInMemoryMax: 1, flushIntervalMs: 10 });
    const file = join(root, 'a');
    await store.create('a', { expiresAtMs: clock.wallMs() + HOUR_MS, data: bytes('x') });
    await store.create('b');
    await expect.poll(() => existsSync(join(root, '.millrace', 'expiring')) && existsSync(file)).toBe(true);
    clock.setWall(2 * HOUR_MS);
    const sweep = async () => {
      clock.pass(SECOND_MS);
      await new Promise((resolve) => setTimeout(resolve, 1));
    };
    for (let seconds = 0; seconds < 50; seconds++) await sweep();
    expect(existsSync(file)).toBe(true);
    await expect
      .poll(async () => {
        await sweep();
        return existsSync(file);
      })
      .toBe(false);
  });

  it('counts the wall clock while it is closed', async () => {
    store = await openFiles();
    await store.create('lives', { ttlSeconds: 3600 });
    await store.create('ends', { ttlSeconds: 3600 });
    clock.pass(30 * MINUTE_MS);
    await store.append('lives', { data: bytes('x') });
    await store.close();
    clock.suspend(31 * MINUTE_MS);
    store = await openFiles();
    expect(await isThere('lives')).toBe(true);
    expect(await isThere('ends')).toBe(false);
  });

  it.each([
    ['closed properly', true],
    ['killed', false],
  ])('goes on with the highest time that it has seen, when it was %s and the clock went back', async (_, properly) => {
    mkdirSync(join(root, '.millrace'));
    const disk = new PowerCutDisk(root);
    const open = () => openFileStore({ root, flushIntervalMs: HOUR_MS }, disk.session(), clock);
    store = await open();
    await store.create('a', { ttlSeconds: 3600 });
    clock.pass(30 * MINUTE_MS);
    await store.append('a', { data: bytes('x') });
    if (!properly) disk.powerCut(() => 0);
    await store.close().catch(() => {});
    clock.setWall(-27 * HOUR_MS);
    store = await open();
    clock.pass(59 * MINUTE_MS);
    expect((await store.list()).streams).toHaveLength(1);
    clock.pass(2 * MINUTE_MS);
    expect(await isThere('a')).toBe(false);
  });

  it('does not delete at a start what a wrong clock says is past its moment', async () => {
    store = await openFiles();
    await store.create('a', { expiresAtMs: clock.wallMs() + HOUR_MS, data: bytes('x') });
    await store.close();
    clock.setWall(2 * HOUR_MS);
    store = await openFiles();
    expect(await isThere('a')).toBe(false);
    clock.pass(30 * SECOND_MS);
    clock.setWall(-2 * HOUR_MS);
    clock.pass(2 * SECOND_MS);
    expect(await contents('a')).toBe('x');
  });
});
