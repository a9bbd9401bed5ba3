import { mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectoryNames, SMALL_DIRECTORY_NAMES } from '../../src/log/file/directory-names.js';
import { openFileStore } from '../../src/log/file/file-store.js';
import { type FileSystem, nodeFileSystem } from '../../src/log/file/file-system.js';
import type { Store } from '../../src/log/index.js';
import { SLICE_BYTES, TURN_BYTES_MAX } from '../../src/turn-budget.js';

const LARGE = SMALL_DIRECTORY_NAMES + 500;
const FILES = {
  sliceEntries: 512,
  keyOf: ({ name, kind }: { name: string; kind: string }) => (kind === 'file' ? name : undefined),
};

let root: string;
let store: Store | undefined;
/** Directories as they were opened, and files as they were asked about. */
let opened: string[];
let asked: string[];

const fs: FileSystem = {
  ...nodeFileSystem,
  opendir(path) {
    opened.push(path);
    return nodeFileSystem.opendir(path);
  },
  stat(path) {
    asked.push(path);
    return nodeFileSystem.stat(path);
  },
};

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'millrace-names-'));
  opened = [];
  asked = [];
});

afterEach(async () => {
  await store?.close();
  store = undefined;
  await rm(root, { recursive: true });
});

/** A folder with so many files, which nobody has touched for a while. */
function fill(folder: string, count: number): string[] {
  mkdirSync(join(root, folder), { recursive: true });
  const names = Array.from({ length: count }, (_, index) => `f${index}`);
  for (const name of names) writeFileSync(join(root, folder, name), '');
  utimesSync(join(root, folder), 1e9, 1e9);
  return names.map((name) => `${folder}/${name}`).sort();
}

const readsOf = (folder: string) => opened.filter((path) => path === join(root, folder)).length;
const pathsOf = async (from: Store, options: object) => (await from.list(options)).streams.map(({ path }) => path);

describe('a listing', () => {
  it('reads a large folder once for all who ask, and not again for the pages that follow', async () => {
    const paths = fill('d', LARGE);
    store = await openFileStore({ root }, fs);
    const listing = store;
    const first = await Promise.all(Array.from({ length: 20 }, () => pathsOf(listing, { prefix: 'd/', limit: 1 })));
    expect(first).toEqual(first.map(() => [paths[0]]));
    const found: string[] = [];
    let after: string | undefined;
    do {
      const page = await store.list({ limit: 700, ...(after === undefined ? {} : { after }) });
      found.push(...page.streams.map(({ path }) => path));
      after = page.next;
    } while (after !== undefined);
    expect(found).toEqual(paths);
    expect(readsOf('d')).toBe(1);
  });

  it('looks at no more streams than its page has', async () => {
    fill('d', LARGE);
    store = await openFileStore({ root }, fs);
    asked = [];
    await store.list({ prefix: 'd/', limit: 3 });
    const files = new Set(asked.filter((path) => path.startsWith(join(root, 'd/'))));
    expect(files.size).toBeLessThanOrEqual(4);
  });

  it('knows at once what came and went in a large folder through the store', async () => {
    const paths = fill('d', LARGE);
    store = await openFileStore({ root }, fs);
    await store.list({ prefix: 'd/', limit: 1 });
    await store.create('d/.new');
    await store.create('d/g/h/i');
    await store.delete('d/f0');
    expect(await pathsOf(store, { prefix: 'd/', limit: 2 })).toEqual(['d/.new', 'd/f1']);
    expect(await pathsOf(store, { prefix: 'd/g', limit: 2 })).toEqual(['d/g/h/i']);
    await store.delete('d/g/h/i');
    expect(await pathsOf(store, { after: 'd/f999' })).toEqual(paths.filter((path) => path > 'd/f999'));
    expect(readsOf('d')).toBe(1);
  });

  it('finds what was made while it reads', async () => {
    fill('d', LARGE);
    store = await openFileStore({ root }, fs);
    const listing = store.list({ prefix: 'd/', limit: 10_000 });
    await turn();
    await store.create('d/zzz');
    await listing;
    expect(await pathsOf(store, { after: 'd/f9999', limit: 10 })).toEqual(['d/zzz']);
    expect(readsOf('d')).toBe(1);
  });

  it('knows at once what others changed in a small folder', async () => {
    fill('d', 3);
    store = await openFileStore({ root }, fs);
    expect(await pathsOf(store, {})).toEqual(['d/f0', 'd/f1', 'd/f2']);
    writeFileSync(join(root, 'd/f1a'), '');
    rmSync(join(root, 'd/f2'));
    expect(await pathsOf(store, {})).toEqual(['d/f0', 'd/f1', 'd/f1a']);
  });

  it('reads what lies in overflow once', async () => {
    store = await openFileStore({ root }, fs);
    for (let index = 0; index < 200; index++) {
      await store.create(`a${index}/b`);
      await store.create(`a${index}`);
    }
    utimesSync(join(root, '.millrace/overflow'), 1e9, 1e9);
    const all = Array.from({ length: 200 }, (_, index) => [`a${index}`, `a${index}/b`])
      .flat()
      .sort();
    for (let round = 0; round < 3; round++) expect(await pathsOf(store, { limit: 1000 })).toEqual(all);
    expect(readsOf('.millrace/overflow')).toBe(1);
    await store.create('a7/b/c');
    await store.delete('a7');
    expect(await pathsOf(store, { prefix: 'a7' })).toEqual(
      [...all.filter((path) => path.startsWith('a7') && path !== 'a7'), 'a7/b/c'].sort(),
    );
  });

  it('leaves turns to others, however many list at the same time', async () => {
    fill('d', 2000);
    store = await openFileStore({ root }, fs);
    const listing = store;
    await listing.list({ limit: 1 });
    let most = 0;
    let listed = false;
    const watching = (async () => {
      while (!listed) {
        asked = [];
        await turn();
        most = Math.max(most, asked.length);
      }
    })();
    await Promise.all(Array.from({ length: 10 }, () => listing.list({ limit: 1000 })));
    listed = true;
    await watching;
    // A slice is 32 streams, each asked about a few times.
    expect(most).toBeLessThan(((TURN_BYTES_MAX / SLICE_BYTES) * 32 + 10 * 32) * 4);
  });
});

describe('DirectoryNames', () => {
  it('reads a directory in turns that it shares with others', async () => {
    fill('d', 1);
    let read = 0;
    const names = new DirectoryNames({
      ...nodeFileSystem,
      opendir: async () => ({
        read: async () => (read < 50_000 ? { name: `f${read++}`, kind: 'file' } : null),
        close: async () => {},
      }),
    });
    let most = 0;
    let last = 0;
    let done = false;
    const watching = (async () => {
      while (!done) {
        await turn();
        most = Math.max(most, read - last);
        last = read;
      }
    })();
    const known = await names.covering(join(root, 'd'), '', FILES);
    done = true;
    await watching;
    expect(known.names.size).toBe(50_000);
    expect(most).toBeLessThanOrEqual((TURN_BYTES_MAX / SLICE_BYTES + 1) * 2 * FILES.sliceEntries);
  });

  it('keeps no more of a directory than its limit, and finds all of it in order', async () => {
    const paths = fill('d', 5000).map((path) => path.slice(2));
    const limit = 100_000;
    const names = new DirectoryNames(fs, { directoryBytesMax: limit });
    const found: string[] = [];
    for (let from: string | undefined = '', exclusively = false; from !== undefined; exclusively = true) {
      const known = await names.covering(join(root, 'd'), from, FILES);
      expect(known.names.bytes).toBeLessThanOrEqual(limit);
      const page = known.names.slice(from, exclusively, 100);
      found.push(...page);
      from = page.at(-1) ?? known.to;
    }
    expect(found).toEqual(paths);
    expect(readsOf('d')).toBeLessThan(10);
  });

  it('asks again, after a while, about a large directory that others change', async () => {
    fill('d', LARGE);
    const names = new DirectoryNames(fs, { trustedMs: 0 });
    const directory = join(root, 'd');
    await names.covering(directory, '', FILES);
    writeFileSync(join(directory, 'a'), '');
    const known = await names.covering(directory, '', FILES);
    expect(known.names.slice('', false, 1)).toEqual(['a']);
  });

  it('has nothing of what is no directory', async () => {
    writeFileSync(join(root, 'file'), '');
    const names = new DirectoryNames(fs);
    for (const path of ['file', 'missing', 'file/below']) {
      expect((await names.covering(join(root, path), '', FILES)).names.size).toBe(0);
    }
  });
});
