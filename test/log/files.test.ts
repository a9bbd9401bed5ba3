import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { appendFile, mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FILE_NAME_CHECK_MS } from '../../src/log/file/file-storage.js';
import { createFileStore, type FileStoreOptions, type Store } from '../../src/log/index.js';

let root: string;
let store: Store;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'millrace-files-'));
  store = await createFileStore({ root });
});

afterEach(async () => {
  await store.close();
  await rm(root, { recursive: true, force: true });
});

const bytes = (text: string) => Buffer.from(text);

async function contents(path: string): Promise<string> {
  return Buffer.from((await store.read(path, 0, { maxBytes: 1e9 })).data).toString();
}

async function code(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error) => error.code,
  );
}

async function reopen(options: Partial<FileStoreOptions> = {}): Promise<void> {
  await store.close();
  store = await createFileStore({ root, ...options });
}

/** The store looks at a file again when it has not for this long. */
async function untilItLooksAgain(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, FILE_NAME_CHECK_MS + 20));
}

describe('a stream', () => {
  it('is its file, byte for byte, from the acknowledgement on', async () => {
    await store.create('builds/42.txt', { data: bytes('hello ') });
    await store.append('builds/42.txt', { data: bytes('world') });
    expect(readFileSync(join(root, 'builds/42.txt'), 'utf8')).toBe('hello world');
    await store.create('m', { contentType: 'application/json', data: bytes('{"a":1.0}\n') });
    await store.append('m', { data: bytes('[]\n') });
    expect(readFileSync(join(root, 'm'), 'utf8')).toBe('{"a":1.0}\n[]\n');
  });

  it('knows when its newest byte came, over a restart, a crash and a copy', async () => {
    const modified = async (from: Store) => (await from.stat('a')).modifiedAtMs ?? 0;
    await store.create('a', { data: bytes('1') });
    await new Promise((resolve) => setTimeout(resolve, 10));
    const begun = Date.now();
    await store.append('a', { data: bytes('2') });
    const done = Date.now();
    await new Promise((resolve) => setTimeout(resolve, 10));
    const copy = `${root}-copy`;
    cpSync(root, copy, { recursive: true, preserveTimestamps: true });
    const crashed = await createFileStore({ root: copy });
    const times = [await modified(store), await modified(crashed)];
    await crashed.close();
    await rm(copy, { recursive: true });
    for (let restarts = 0; restarts < 2; restarts++) {
      await reopen();
      times.push(await modified(store));
    }
    // A file's time may be a tick of the system's clock old.
    for (const time of times) expect([time >= begun - 10, time <= done + 1]).toEqual([true, true]);
  });

  it('that was put there by hand came when its file was written', async () => {
    writeFileSync(join(root, 'hand.txt'), 'by hand');
    utimesSync(join(root, 'hand.txt'), 1e9, 1e9);
    expect((await store.stat('hand.txt')).modifiedAtMs).toBe(1e12);
  });

  it('that is deleted takes the directories with it that nobody else needs', async () => {
    await store.create('a/b/c');
    await store.create('a/d');
    await store.delete('a/b/c');
    expect(existsSync(join(root, 'a/b'))).toBe(false);
    expect(existsSync(join(root, 'a/d'))).toBe(true);
    await store.create('a/b', { data: bytes('x') });
    expect(readFileSync(join(root, 'a/b'), 'utf8')).toBe('x');
  });

  it('leaves nothing behind in Millrace’s own directory when it is deleted', async () => {
    await store.create('a', { ttlSeconds: 1000, data: bytes('x') });
    await store.create('a/b', { data: bytes('x') });
    await reopen();
    await store.delete('a');
    await store.delete('a/b');
    await reopen();
    const kept = readdirSync(join(root, '.millrace'), { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    expect(kept.map(({ name }) => name).filter((name) => !/\.journal$|^journal\.json$/.test(name))).toEqual([]);
    expect(readdirSync(root)).toEqual(['.millrace', '.millrace.lock']);
  });
});

describe('a name that begins with a dot', () => {
  it('is escaped on the disk, and leaves what is hidden there alone', async () => {
    writeFileSync(join(root, '.hidden'), 'by hand');
    for (const path of [
      '.hidden',
      'doc/.updates',
      '.millrace/lock',
      '.millrace/journal/0.journal',
      '.millrace%2Flock',
    ]) {
      expect(await code(store.stat(path)), path).toBe('STREAM_NOT_FOUND');
      await store.create(path, { data: bytes(path) });
      expect(await contents(path)).toBe(path);
    }
    expect(readdirSync(root).sort()).toEqual([
      ...['%2Ehidden', '%2Emillrace', '%2Emillrace%2Flock', '.hidden', '.millrace', '.millrace.lock', 'doc'],
    ]);
    expect(readFileSync(join(root, '.hidden'), 'utf8')).toBe('by hand');
    expect(readFileSync(join(root, 'doc/%2Eupdates'), 'utf8')).toBe('doc/.updates');
    await store.delete('.millrace/lock');
    await store.delete('.millrace/journal/0.journal');
    expect(readdirSync(root)).not.toContain('%2Emillrace');
    await reopen();
    expect(await contents('doc/.updates')).toBe('doc/.updates');
    expect((await store.list()).streams.map(({ path }) => path)).toEqual([
      ...['.hidden', '.millrace%2Flock', 'doc/.updates'],
    ]);
  });

  it('can be a stream and have streams below it', async () => {
    await store.create('a/.b', { data: bytes('above') });
    await store.create('a/.b/.c', { data: bytes('below') });
    await reopen();
    expect(await Promise.all(['a/.b', 'a/.b/.c'].map(contents))).toEqual(['above', 'below']);
    expect((await store.list({ prefix: 'a/.' })).streams.map(({ path }) => path)).toEqual(['a/.b', 'a/.b/.c']);
  });
});

describe('a file that is put below the root by hand', () => {
  it('is the stream of its name, whatever that is, and keeps it', async () => {
    const names = ['100%.txt', '%2Ea', '%252Ea', 'a%2Eb', 'a%2Fb', 'a%252Fb', 'a%25b', '%2fa', '%'];
    for (const name of names) writeFileSync(join(root, name), name);
    const { streams } = await store.list();
    expect(streams.map(({ path }) => path)).toEqual([
      ...['%', '%2Ea', '%2fa', '.a', '100%.txt', 'a%252Fb', 'a%25b', 'a%2Eb', 'a%2Fb'],
    ]);
    expect((await Promise.all(streams.map(({ path }) => contents(path)))).sort()).toEqual(names.sort());
  });

  it('is none where no path can name it', async () => {
    for (const name of ['%2E', '%2E.', '..%2Fx', 'a%2F..', 'back\\slash', 'bell\x07'])
      writeFileSync(join(root, name), 'x');
    mkdirSync(join(root, '%2E.%2Fx'));
    writeFileSync(join(root, '%2E.%2Fx/y'), 'x');
    expect((await store.list()).streams).toEqual([]);
  });

  it('is a stream, of the type of its extension', async () => {
    mkdirSync(join(root, 'by'));
    writeFileSync(join(root, 'by/hand.html'), '<p>');
    expect(await store.stat('by/hand.html')).toMatchObject({
      contentType: 'text/html; charset=utf-8',
      json: false,
      tail: 3,
      closed: false,
    });
    expect((await store.list()).streams.map(({ path }) => path)).toEqual(['by/hand.html']);
    const { id } = await store.stat('by/hand.html');
    await store.append('by/hand.html', { data: bytes('</p>'), producer: { id: 'p', epoch: 0, seq: 0 } });
    await reopen();
    expect(await store.stat('by/hand.html')).toMatchObject({ id, tail: 7 });
    expect(await contents('by/hand.html')).toBe('<p></p>');
    await store.delete('by/hand.html');
    expect(existsSync(join(root, 'by/hand.html'))).toBe(false);
  });

  it('is no message stream, whatever it is called, and can be forked and closed', async () => {
    writeFileSync(join(root, 'a.json'), '{}');
    expect(await store.stat('a.json')).toMatchObject({ contentType: 'application/json', json: false });
    await store.create('f', { fork: { path: 'a.json', offset: 1 } });
    await store.append('a.json', { close: true });
    await store.delete('a.json');
    await reopen();
    expect(await contents('f')).toBe('{');
    expect(await code(store.stat('a.json'))).toBe('STREAM_GONE');
  });

  it('is not one when it is hidden, a directory, or no file at all', async () => {
    writeFileSync(join(root, '.hidden'), 'x');
    mkdirSync(join(root, 'directory'));
    spawnSync('mkfifo', [join(root, 'pipe')]);
    expect(await code(store.stat('.hidden'))).toBe('STREAM_NOT_FOUND');
    expect(await code(store.stat('directory'))).toBe('STREAM_NOT_FOUND');
    expect(await code(store.stat('pipe'))).toBe('STREAM_NOT_FOUND');
    expect((await store.list()).streams).toEqual([]);
  });

  it('may grow or shrink while the store does not run', async () => {
    await store.create('a', { data: bytes('0123456789') });
    await store.append('a', { data: bytes('!'), producer: { id: 'p', epoch: 0, seq: 0 } });
    const { id } = await store.stat('a');
    await store.close();
    await appendFile(join(root, 'a'), 'more');
    store = await createFileStore({ root });
    expect(await store.stat('a')).toMatchObject({ id, tail: 15 });
    expect((await store.append('a', { data: bytes('x'), producer: { id: 'p', epoch: 0, seq: 0 } })).duplicate).toBe(
      true,
    );
    await store.close();
    await truncate(join(root, 'a'), 3);
    store = await createFileStore({ root });
    const cut = await store.stat('a');
    expect(cut.tail).toBe(3);
    // Its offsets mean something else now.
    expect(cut.id).not.toBe(id);
    await store.append('a', { data: bytes('x') });
    expect(await contents('a')).toBe('012x');
  });
});

describe('symbolic links', () => {
  it('lead nowhere: not out of the root, not within it', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'millrace-outside-'));
    try {
      writeFileSync(join(outside, 'secret'), 'secret');
      symlinkSync(join(outside, 'secret'), join(root, 'file'));
      symlinkSync(outside, join(root, 'directory'));
      symlinkSync('loop', join(root, 'loop'));
      writeFileSync(join(root, 'inside'), 'x');
      symlinkSync('inside', join(root, 'alias'));
      for (const path of [
        'file',
        'directory/secret',
        'directory/new',
        'directory/new/deep',
        'loop',
        'loop/a',
        'alias',
      ]) {
        expect(await code(store.stat(path)), path).toBe('INVALID_PATH');
        expect(await code(store.create(path, { data: bytes('x') })), path).toBe('INVALID_PATH');
        expect(await code(store.acquire(path, { create: {} })), path).toBe('INVALID_PATH');
        expect(await code(store.delete(path)), path).toBe('INVALID_PATH');
      }
      expect(readdirSync(outside)).toEqual(['secret']);
      expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
      expect((await store.list()).streams.map(({ path }) => path)).toEqual(['inside']);
    } finally {
      await rm(outside, { recursive: true });
    }
  });

  it('put in the way of an open stream are not followed', async () => {
    await store.create('d/a', { data: bytes('x') });
    renameSync(join(root, 'd'), join(root, 'moved'));
    symlinkSync('/tmp', join(root, 'd'));
    await untilItLooksAgain();
    expect(await code(store.append('d/a', { data: bytes('y') }))).toBe('STREAM_FILE_CHANGED');
    expect(await code(store.append('d/a', { data: bytes('y') }))).toBe('INVALID_PATH');
  });
});

describe('a file that is changed from under the store', () => {
  it('fails the request that notices, and then is what it was made', async () => {
    for (const path of ['gone', 'replaced', 'cut', 'grown']) await store.create(path, { data: bytes('12345') });
    await store.create('other');
    rmSync(join(root, 'gone'));
    writeFileSync(join(root, 'new'), 'new');
    renameSync(join(root, 'new'), join(root, 'replaced'));
    await truncate(join(root, 'cut'), 2);
    await appendFile(join(root, 'grown'), '67');
    await untilItLooksAgain();
    for (const path of ['gone', 'replaced', 'cut', 'grown']) {
      expect(await code(store.append(path, { data: bytes('x') })), path).toBe('STREAM_FILE_CHANGED');
    }
    await store.append('other', { data: bytes('goes on') });
    expect(await code(store.append('gone', { data: bytes('x') }))).toBe('STREAM_NOT_FOUND');
    expect(await contents('replaced')).toBe('new');
    expect(await contents('cut')).toBe('12');
    expect(await contents('grown')).toBe('1234567');
    for (const path of ['replaced', 'cut', 'grown']) await store.append(path, { data: bytes('!') });
    expect(await contents('grown')).toBe('1234567!');
    await reopen();
    expect(await Promise.all(['other', 'replaced', 'cut', 'grown'].map(contents))).toEqual([
      'goes on',
      'new!',
      '12!',
      '1234567!',
    ]);
  });

  it('is noticed by readers too', async () => {
    await store.create('a', { data: Buffer.alloc(100_000, 'x') });
    await truncate(join(root, 'a'), 10);
    expect(await code(store.read('a', 50_000, { maxBytes: 50_000 }))).toBe('STREAM_FILE_CHANGED');
    expect(await contents('a')).toBe('xxxxxxxxxx');
  });
});

describe('a root', () => {
  it('belongs to one store at a time', async () => {
    const error = await createFileStore({ root }).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'STORE_LOCKED', details: { root } });
    expect(error.message).toContain(root);
    await reopen();
  });

  it('must be there, be a directory, and be writable', async () => {
    expect(await code(createFileStore({ root: join(root, 'missing') }))).toBe('STORE_UNAVAILABLE');
    writeFileSync(join(root, 'file'), '');
    expect(await code(createFileStore({ root: join(root, 'file') }))).toBe('STORE_UNAVAILABLE');
    const made = await createFileStore({ root: join(root, 'made/here'), createRoot: true });
    await made.close();
    // Root may do anything, so this can only be asked of others.
    if (process.getuid?.() !== 0) {
      mkdirSync(join(root, 'closed'));
      chmodSync(join(root, 'closed'), 0o500);
      expect(await code(createFileStore({ root: join(root, 'closed') }))).toBe('STORE_UNAVAILABLE');
    }
  });

  it('is opened without a look at its streams', async () => {
    for (let index = 0; index < 300; index++) writeFileSync(join(root, `f${index}`), 'x');
    await store.close();
    // Nothing of them could be read, and it does not matter.
    const { nodeFileSystem } = await import('../../src/log/file/file-system.js');
    const { openFileStore } = await import('../../src/log/file/file-store.js');
    const looked: string[] = [];
    store = await openFileStore(
      { root },
      {
        ...nodeFileSystem,
        stat: (path) => {
          if (!path.includes('.millrace')) looked.push(path);
          return nodeFileSystem.stat(path);
        },
      },
    );
    expect(looked).toEqual([]);
    expect((await store.list({ limit: 10 })).streams).toHaveLength(10);
  });

  it('is left with an empty journal, and files as they should be, by a store that was closed', async () => {
    await store.create('a', { data: bytes('x') });
    await store.close();
    for (const name of readdirSync(join(root, '.millrace/journal'))) {
      expect(readFileSync(join(root, '.millrace/journal', name)).toString('latin1', 0, 8)).toBe('MILLFREE');
    }
  });
});
