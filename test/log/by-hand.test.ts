import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFileStore } from '../../src/log/file/file-store.js';
import { type FileSystem, nodeFileSystem, writeAll } from '../../src/log/file/file-system.js';
import { createFileStore, type Store } from '../../src/log/index.js';
import { PowerCutDisk } from './power-cut-disk.js';

/** A store's root, and the file a.txt that somebody put there. */
let root: string;
let store: Store;
beforeEach(async () => {
  root = join(await mkdtemp(join(tmpdir(), 'millrace-hand-')), 'root');
  mkdirSync(root);
  writeFileSync(file(), 'put there by hand');
  store = await createFileStore({ root });
});
afterEach(async () => {
  await store.close();
  await rm(join(root, '..'), { recursive: true, force: true });
});

const file = (path = 'a.txt', at = root) => join(at, path);
const idIn = async (in_: Store, path = 'a.txt') => (await in_.stat(path)).id;

/** With times, and with other inodes. */
function copy(from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', ['-a', from, to]);
  if (status !== 0) throw new Error(stderr.toString());
}

async function reopen(at = root): Promise<void> {
  await store.close();
  store = await createFileStore({ root: at });
}

/** What a server that was killed now would find when it starts again. */
async function killed(): Promise<Store> {
  const image = `${root}-killed`;
  await rm(image, { recursive: true, force: true });
  copy(root, image);
  return createFileStore({ root: image });
}

async function idAfterKill(): Promise<string> {
  const again = await killed();
  const id = await idIn(again);
  await again.close();
  return id;
}

describe('the id of a file put there by hand', () => {
  it('is the same whoever asks, at once and later', async () => {
    const ids = await Promise.all([
      idIn(store),
      store.read('a.txt', 0, { maxBytes: 1 }).then(({ info }) => info.id),
      store.subscribe('a.txt').then(({ info, release }) => {
        release();
        return info.id;
      }),
      store.append('a.txt', { data: Buffer.from('!') }).then(({ streamId }) => streamId),
    ]);
    expect(new Set([...ids, await idIn(store)]).size).toBe(1);
  });

  it.each([
    ['stat', () => store.stat('a.txt')],
    ['read', () => store.read('a.txt', 0, { maxBytes: 100 })],
    ['subscribe', () => store.subscribe('a.txt')],
    ['append', () => store.append('a.txt', { data: Buffer.from('!') })],
    ['acquire', () => store.acquire('a.txt')],
    ['create', () => store.create('a.txt', { contentType: 'text/plain' })],
    ['fork', () => store.create('f', { fork: { path: 'a.txt' } })],
  ])('survives a kill from the moment on that somebody was told it, by %s', async (_, ask) => {
    await ask();
    const id = await idIn(store);
    expect(await idAfterKill()).toBe(id);
    await reopen();
    expect(await idIn(store)).toBe(id);
    expect(await idAfterKill()).toBe(id);
  });

  it('is the same in a copy of the root, whose files have other inodes', async () => {
    const id = await idIn(store);
    await store.create('b', { data: Buffer.from('made') });
    await store.append('b', { data: Buffer.from(', and appended to') });
    const made = await idIn(store, 'b');
    await store.close();
    const other = `${root}-copy`;
    copy(root, other);
    store = await createFileStore({ root: other });
    expect([await idIn(store), await idIn(store, 'b')]).toEqual([id, made]);
    // Also once the store has written to it, and its time is another one.
    await store.append('a.txt', { data: Buffer.from('!') });
    await store.close();
    const again = `${root}-again`;
    // Written to by the store, it may be copied without its time.
    cpSync(other, again, { recursive: true });
    store = await createFileStore({ root: again });
    expect([await idIn(store), (await store.stat('a.txt')).tail]).toEqual([id, 18]);
  });

  it('is made of nothing that the file has: two servers that meet the same file give it two', async () => {
    await store.close();
    const twin = `${root}-twin`;
    copy(root, twin);
    const other = await createFileStore({ root: twin });
    store = await createFileStore({ root });
    expect(await idIn(other)).not.toBe(await idIn(store));
    await other.close();
  });

  it('stays when the file grows by hand, also over a kill, which takes nothing of it', async () => {
    const id = await idIn(store);
    await (await store.acquire('a.txt')).release();
    appendFileSync(file(), ', and added to');
    // As the kill leaves it: the file is the same, and the journal is as it was before the store was closed.
    copy(file('.millrace'), `${root}-own`);
    await store.close();
    await rm(file('.millrace'), { recursive: true });
    renameSync(`${root}-own`, file('.millrace'));
    store = await createFileStore({ root });
    expect(await store.stat('a.txt')).toMatchObject({ id, tail: 31 });
    await reopen();
    expect(await store.stat('a.txt')).toMatchObject({ id, tail: 31 });
    expect(readFileSync(file(), 'utf8')).toBe('put there by hand, and added to');
  });

  it.each([
    [
      'replaced by another one',
      () => {
        writeFileSync(file('.new'), 'quite another file');
        renameSync(file('.new'), file());
      },
    ],
    ['cut', () => truncateSync(file(), 3)],
  ])('is another one when the file was %s', async (_, change) => {
    const id = await idIn(store);
    await store.close();
    change();
    store = await createFileStore({ root });
    const next = await idIn(store);
    expect(next).not.toBe(id);
    expect(await idAfterKill()).toBe(next);
    await reopen();
    expect(await idIn(store)).toBe(next);
  });

  it('is another one when the file was replaced between a kill and the start after it', async () => {
    const id = await idIn(store);
    const image = `${root}-killed`;
    copy(root, image);
    writeFileSync(file('.new', image), 'quite another file');
    renameSync(file('.new', image), file('a.txt', image));
    const again = await createFileStore({ root: image });
    expect(await idIn(again)).not.toBe(id);
    expect((await again.stat('a.txt')).tail).toBe(18);
    await again.close();
  });

  it('is not given by a listing, which leaves no trace', async () => {
    for (let i = 0; i < 20; i++) writeFileSync(file(`${i}.txt`), 'x');
    const before = readdirSync(join(root, '.millrace/meta'));
    for (const { id } of (await store.list()).streams) expect(id).toBeUndefined();
    await reopen();
    expect(readdirSync(join(root, '.millrace/meta'))).toEqual(before);
    const id = await idIn(store);
    const listed = (await store.list()).streams.filter((stream) => stream.id !== undefined);
    expect(listed.map((stream) => [stream.path, stream.id])).toEqual([['a.txt', id]]);
  });

  it('is known to forks of it, and their offsets with it', async () => {
    const { info } = await store.create('f', { fork: { path: 'a.txt', offset: 3 } });
    const id = await idIn(store);
    expect(info.ancestors).toEqual([{ id, offset: 3 }]);
    const again = await killed();
    expect((await again.stat('f')).ancestors).toEqual([{ id: await idIn(again), offset: 3 }]);
    expect(Buffer.from((await again.read('f', 0, { maxBytes: 9 })).data).toString()).toBe('put');
    await again.close();
  });
});

describe('where the id cannot be made durable', () => {
  it('the file is read all the same, and gets its id when it can', async () => {
    await store.close();
    let full = false;
    const fs: FileSystem = {
      ...nodeFileSystem,
      write: (fd, data, position) => {
        if (full) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
        return nodeFileSystem.write(fd, data, position);
      },
    };
    store = await openFileStore({ root }, fs);
    full = true;
    const { data, info } = await store.read('a.txt', 0, { maxBytes: 100 });
    expect(Buffer.from(data).toString()).toBe('put there by hand');
    await expect(store.append('a.txt', { data: Buffer.from('!') })).rejects.toMatchObject({ code: 'STORE_FULL' });
    full = false;
    expect(await idIn(store)).toBe(info.id);
    expect(await idAfterKill()).toBe(info.id);
    await store.append('a.txt', { data: Buffer.from('!') });
    const again = await killed();
    expect(await again.stat('a.txt')).toMatchObject({ id: info.id, tail: 18 });
    await again.close();
  });

  it('a store that is closed tells nothing that does not hold', async () => {
    await store.close();
    await expect(store.append('a.txt', { data: Buffer.from('!') })).rejects.toMatchObject({ code: 'STORE_CLOSED' });
  });
});

describe('a power cut', () => {
  it('takes no id that somebody was told', async () => {
    await store.close();
    for (let run = 0; run < 10; run++) {
      const disk = new PowerCutDisk(root);
      const fs = disk.session();
      const byHand = fs.open(file('h'), 0o1 | 0o100);
      writeAll(fs, byHand, Buffer.from('by hand'), 0);
      await fs.sync(byHand);
      fs.close(byHand);
      const directory = fs.open(root, 0);
      await fs.sync(directory);
      fs.close(directory);
      const before = await openFileStore({ root, flushIntervalMs: 1 + run }, fs);
      const id = await idIn(before, 'h');
      if (run % 2 === 0) void before.append('h', { data: Buffer.from('!'), durability: 'written' }).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, run));
      disk.powerCut(() => ((run * 7919) % 10) / 10);
      await before.close().catch(() => {});
      const after = await openFileStore({ root }, disk.session());
      expect(await idIn(after, 'h')).toBe(id);
      expect([7, 8]).toContain((await after.stat('h')).tail);
      await after.close();
    }
  });
});
