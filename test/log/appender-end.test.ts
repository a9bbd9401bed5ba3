import { cpSync, mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFileStore } from '../../src/log/file/file-store.js';
import { createFileStore, type Store } from '../../src/log/index.js';
import { PowerCutDisk } from './power-cut-disk.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-end-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const bytes = (text: string) => Buffer.from(text);

/** What a server that was killed now would find when it starts again. */
async function killed(root: string): Promise<Store> {
  const image = `${root}-killed`;
  await rm(image, { recursive: true, force: true });
  cpSync(root, image, { recursive: true });
  return createFileStore({ root: image });
}

async function endsAfterKill(root: string, paths: readonly string[]): Promise<unknown[]> {
  const again = await killed(root);
  const ends = await Promise.all(paths.map(async (path) => (await again.stat(path)).lastAppender));
  await again.close();
  return ends;
}

describe('after its server was killed', () => {
  it.each([
    ['at once', 30_000],
    ['after a flush', 1],
  ])('a stream tells how its last appender ended, %s', async (_, flushIntervalMs) => {
    const root = join(directory, 'root');
    const store = await createFileStore({ root, createRoot: true, flushIntervalMs });
    const flushed = () => new Promise((resolve) => setTimeout(resolve, flushIntervalMs === 1 ? 30 : 0));
    await store.create('existing');
    await store.create('posted', { data: bytes('x') });
    await store.acquire('made', { create: {} });
    await store.acquire('existing');
    const named = await store.acquire('named', { create: {}, producer: { id: 'p', epoch: 1 } });
    await named.append(bytes('x'));
    const left = await store.acquire('left', { create: {} });
    await left.append(bytes('x'));
    await left.release();
    await (await store.acquire('lost', { create: {} })).release({ lost: true });
    const closing = await store.acquire('closed', { create: {} });
    await closing.append(bytes('x'), { close: true });
    await flushed();
    const paths = ['posted', 'made', 'existing', 'named', 'left', 'lost', 'closed'];
    expect(await endsAfterKill(root, paths)).toEqual([undefined, 'lost', 'lost', 'lost', 'left', 'lost', undefined]);
    // Taken over, and then left: the end of the one that went on counts.
    const newer = await store.acquire('named', { producer: { id: 'p', epoch: 2 } });
    expect(await endsAfterKill(root, ['named'])).toEqual(['lost']);
    await newer.release();
    await flushed();
    expect(await endsAfterKill(root, ['named'])).toEqual(['left']);
    await store.close();
  });

  it('a stream tells the same each time, until another appender has left', async () => {
    const root = join(directory, 'root');
    const store = await createFileStore({ root, createRoot: true });
    await store.acquire('a', { create: {} });
    const first = await killed(root);
    await store.close();
    expect((await first.stat('a')).lastAppender).toBe('lost');
    expect(await endsAfterKill(`${root}-killed`, ['a'])).toEqual(['lost']);
    await (await first.acquire('a')).release();
    expect(await endsAfterKill(`${root}-killed`, ['a'])).toEqual(['left']);
    await first.close();
  });
});

describe('after a power cut', () => {
  it('who was told that it had left has left, and who had something durable is lost', async () => {
    const root = join(directory, 'root');
    mkdirSync(join(root, '.millrace'), { recursive: true });
    for (let run = 0; run < 20; run++) {
      const disk = new PowerCutDisk(root);
      const store = await openFileStore({ root }, disk.session());
      const left = await store.acquire(`left${run}`, { create: {} });
      await left.append(bytes('x'));
      await left.release();
      await store.create(`living${run}`);
      const living = await store.acquire(`living${run}`);
      await living.append(bytes('x'));
      const made = await store.acquire(`made${run}`, { create: {} });
      void made.append(bytes('x')).catch(() => {});
      disk.powerCut(() => ((run * 7919) % 20) / 20);
      await store.close().catch(() => {});
      const again = await openFileStore({ root }, disk.session());
      const end = async (path: string) => (await again.stat(`${path}${run}`)).lastAppender;
      expect([await end('left'), await end('living'), await end('made')]).toEqual(['left', 'lost', 'lost']);
      await again.close();
    }
  });
});

describe('the end of a session', () => {
  it('costs no sync of its own where its last append is under way', async () => {
    const root = join(directory, 'root');
    mkdirSync(join(root, '.millrace'), { recursive: true });
    const fs = new PowerCutDisk(root).session();
    let syncs = 0;
    const counted: typeof fs = {
      ...fs,
      sync: (fd) => {
        syncs++;
        return fs.sync(fd);
      },
    };
    const store = await openFileStore({ root, flushIntervalMs: 1_000_000 }, counted);
    const session = await store.acquire('a', { create: {} });
    await session.append(bytes('x'));
    const before = syncs;
    const last = session.append(bytes('y'));
    await Promise.all([last, session.release()]);
    expect(syncs - before).toBe(1);
    expect((await store.stat('a')).lastAppender).toBe('left');
    await store.close();
  });

  it('comes after appends that were asked for before it, also where these wait for room', async () => {
    const root = join(directory, 'root');
    const store = await createFileStore({ root, createRoot: true, pendingBytesMax: 1000 });
    const session = await store.acquire('a', { create: {} });
    const appends = Array.from({ length: 10 }, () => session.append(Buffer.alloc(900, 'x')));
    const released = session.release();
    await expect(session.append(bytes('late'))).rejects.toMatchObject({ code: 'SESSION_ENDED' });
    await Promise.all([...appends, released]);
    expect(await store.stat('a')).toMatchObject({ tail: 9000, lastAppender: 'left', appender: false });
    await store.close();
  });
});
