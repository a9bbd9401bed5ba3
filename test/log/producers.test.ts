import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFileStore } from '../../src/log/file/file-store.js';
import { nodeFileSystem } from '../../src/log/file/file-system.js';
import { type Appended, PRODUCER_KEPT_MS, PRODUCERS_MAX, type Store } from '../../src/log/index.js';
import { openMemoryStore } from '../../src/log/memory-store.js';
import { ManualClock } from './manual-clock.js';
import { PowerCutDisk } from './power-cut-disk.js';

const DAY_MS = 24 * 3_600_000;

let clock: ManualClock;
let root: string;
let store: Store;

beforeEach(() => {
  clock = new ManualClock();
  root = mkdtempSync(join(tmpdir(), 'millrace-producers-'));
});

afterEach(async () => {
  await store.close().catch(() => {});
  rmSync(root, { recursive: true, force: true });
});

const openFiles = () => openFileStore({ root, durability: 'written' }, nodeFileSystem, clock);

function append(id: string, seq = 0, epoch = 0): Promise<Appended> {
  return store.append('a', { data: Buffer.from('.'), producer: { id, epoch, seq }, durability: 'written' });
}

/** So many producers that nobody knows yet. */
async function strangers(count: number, name = 'stranger'): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, index) => append(`${name} ${index}`)));
}

const tooMany = expect.objectContaining({ code: 'PRODUCERS_TOO_MANY' });

const kinds: [string, () => Promise<Store>][] = [
  ['memory', async () => openMemoryStore({}, clock)],
  ['files', openFiles],
];

describe.each(kinds)('a stream in %s that knows as many producers as it can', (_, open) => {
  beforeEach(async () => {
    store = await open();
    await store.create('a');
    expect((await append('victim')).duplicate).toBe(false);
    clock.pass(DAY_MS);
    await strangers(PRODUCERS_MAX - 1);
  });

  it('refuses one more, and says when there may be room', async () => {
    const refusal = await append('one more').catch((error) => error);
    expect(refusal).toEqual(tooMany);
    expect(refusal.details).toMatchObject({ producersMax: PRODUCERS_MAX });
    expect(Math.abs(refusal.details.retryAfterMs - (PRODUCER_KEPT_MS - DAY_MS))).toBeLessThan(1000);
    await expect(store.acquire('a', { producer: { id: 'one more', epoch: 0 } })).rejects.toEqual(tooMany);
    expect((await append('victim')).duplicate).toBe(true);
    expect((await store.stat('a')).tail).toBe(PRODUCERS_MAX);
  });

  it('goes on with those that it knows, however they come, and with appends of nobody', async () => {
    await append('one more').catch(() => {});
    expect((await append('victim')).duplicate).toBe(true);
    expect((await append('victim', 1)).duplicate).toBe(false);
    expect((await append('stranger 5', 0, 1)).duplicate).toBe(false);
    await store.append('a', { data: Buffer.from('.'), durability: 'written' });
    const session = await store.acquire('a', { producer: { id: 'stranger 7', epoch: 3 } });
    await session.append(Buffer.from('.'));
    await session.release();
  });

  it('forgets who was not heard of for as long as it promises, and nobody else', async () => {
    clock.pass(PRODUCER_KEPT_MS - DAY_MS + 1000);
    await append('one more');
    await expect(append('two more')).rejects.toEqual(tooMany);
    expect((await append('stranger 0')).duplicate).toBe(true);
    await expect(append('victim')).rejects.toEqual(tooMany);
  });

  it('does not forget who only repeats itself', async () => {
    for (let days = 1; days < 14; days++) {
      clock.pass(DAY_MS);
      expect((await append('victim')).duplicate).toBe(true);
    }
    await strangers(PRODUCERS_MAX - 1, 'later');
    expect((await append('victim')).duplicate).toBe(true);
    await expect(append('one more')).rejects.toEqual(tooMany);
  });

  it('does not forget the producer of a session, however long that is silent', async () => {
    const session = await store.acquire('a', { producer: { id: 'victim', epoch: 4 } });
    await session.append(Buffer.from('.'));
    clock.pass(2 * PRODUCER_KEPT_MS);
    await expect(store.acquire('a', { producer: { id: 'one more', epoch: 0 } })).rejects.toMatchObject({
      code: 'APPENDER_ACTIVE',
    });
    await session.release();
    await strangers(PRODUCERS_MAX - 1, 'later');
    await expect(append('victim', 0, 3)).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    const again = await store.acquire('a', { producer: { id: 'victim', epoch: 4 } });
    expect(again.committed).toEqual({ epoch: 4, seq: 0 });
  });

  it('is not moved by a clock that jumps', async () => {
    clock.setWall(30 * DAY_MS);
    await expect(append('one more')).rejects.toEqual(tooMany);
    clock.setWall(-60 * DAY_MS);
    expect((await append('victim')).duplicate).toBe(true);
    await expect(append('one more')).rejects.toEqual(tooMany);
  });

  it('leaves its forks with tables of their own', async () => {
    await store.create('f', { fork: { path: 'a' } });
    const producer = { id: 'one more', epoch: 0, seq: 0 };
    expect((await store.append('f', { data: Buffer.from('.'), producer })).duplicate).toBe(false);
  });
});

describe('a producer that is used once', () => {
  const once = (id: string) => store.acquire('a', { producer: { id, epoch: 0, once: true } });

  beforeEach(async () => {
    store = await openFiles();
    await store.create('a');
    await strangers(PRODUCERS_MAX - 1);
  });

  it('takes no room once it has left, also after a restart', async () => {
    for (let index = 0; index < 5; index++) {
      const session = await once(`once ${index}`);
      await session.append(Buffer.from('.'));
      await session.release();
      if (index !== 2) continue;
      await store.close();
      store = await openFiles();
    }
    expect((await append('one more')).duplicate).toBe(false);
    expect((await append('stranger 0')).duplicate).toBe(true);
    await expect(once('two more')).rejects.toEqual(tooMany);
  });

  it('is remembered while it lives, and when it is lost', async () => {
    const session = await once('once');
    await session.append(Buffer.from('.'));
    await session.release({ lost: true });
    await expect(append('one more')).rejects.toEqual(tooMany);
    const again = await store.acquire('a', { producer: { id: 'once', epoch: 1, once: true } });
    expect(again.committed).toEqual({ epoch: 0, seq: 0 });
    await again.release();
    expect((await append('one more')).duplicate).toBe(false);
  });

  it('is a new one when it comes back', async () => {
    const session = await once('once');
    await session.append(Buffer.from('.'));
    const released = session.release();
    // Also while that is under way.
    expect((await append('once')).duplicate).toBe(false);
    await released;
    expect((await append('once')).duplicate).toBe(true);
  });
});

it('counts producers that are on their way', async () => {
  store = openMemoryStore({}, clock);
  await store.create('a');
  const outcomes = await Promise.allSettled(
    Array.from({ length: PRODUCERS_MAX + 10 }, (_, index) => append(`stranger ${index}`)),
  );
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(PRODUCERS_MAX);
  for (const outcome of outcomes.slice(PRODUCERS_MAX)) expect(outcome).toMatchObject({ reason: tooMany });
});

describe('a store of files remembers when its producers were used', () => {
  const restarts: [string, () => Promise<void>][] = [
    ['a proper end', () => store.close()],
    ['a crash', async () => disk.powerCut(() => 0)],
  ];
  let disk: PowerCutDisk;
  const open = () => openFileStore({ root, flushIntervalMs: 3_600_000 }, disk.session(), clock);

  it.each(restarts)('over %s, whatever becomes of the clock', async (_, end) => {
    mkdirSync(join(root, '.millrace'));
    disk = new PowerCutDisk(root);
    store = await open();
    await store.create('a');
    await append('victim');
    clock.pass(4 * DAY_MS);
    await strangers(PRODUCERS_MAX - 2);
    // To the disk, with all that came before.
    await store.append('a', { data: Buffer.from('.'), producer: { id: 'last', epoch: 0, seq: 0 } });
    await end();
    await store.close().catch(() => {});
    clock.setWall(-90 * DAY_MS);
    store = await open();
    await expect(append('one more')).rejects.toEqual(tooMany);
    expect((await append('last')).duplicate).toBe(true);
    clock.pass(4 * DAY_MS);
    await append('one more');
    await expect(append('two more')).rejects.toEqual(tooMany);
    expect((await append('stranger 0')).duplicate).toBe(true);
  });

  it('and counts the time while it is closed', async () => {
    store = await openFiles();
    await store.create('a');
    await strangers(PRODUCERS_MAX);
    await store.close();
    clock.suspend(PRODUCER_KEPT_MS + DAY_MS);
    store = await openFiles();
    await append('one more');
    expect((await append('stranger 1')).duplicate).toBe(true);
  });
});
