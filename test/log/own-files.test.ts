import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openFileStore } from '../../src/log/file/file-store.js';
import { type FileSystem, nodeFileSystem } from '../../src/log/file/file-system.js';
import { createFileStore, type Store } from '../../src/log/index.js';
import { failure } from './power-cut-disk.js';

let root: string;
let store: Store | undefined;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-own-'));
});

afterEach(async () => {
  await store?.close().catch(() => {});
  store = undefined;
  rmSync(root, { recursive: true, force: true });
});

const at = (path: string) => join(root, path);
const bytes = (text: string) => Buffer.from(text);

async function open(fs: FileSystem = nodeFileSystem): Promise<Store> {
  store = await openFileStore({ root, flushIntervalMs: 3_600_000 }, fs);
  return store;
}

async function code(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error) => error.code,
  );
}

function pipe(file: string): void {
  rmSync(file, { recursive: true, force: true });
  spawnSync('mkfifo', [file]);
}

describe('a store starts, or says why not,', () => {
  const wrong: Record<string, { change: () => void; code: string }> = {
    'where its own directory is a file': {
      change: () => writeFileSync(at('.millrace'), ''),
      code: 'STORE_UNAVAILABLE',
    },
    'where its own directory is a pipe': { change: () => pipe(at('.millrace')), code: 'STORE_UNAVAILABLE' },
    'where its lock is a directory': { change: () => mkdirSync(at('.millrace.lock')), code: 'STORE_UNAVAILABLE' },
    'where the journal is a file': {
      change: () => {
        mkdirSync(at('.millrace'));
        writeFileSync(at('.millrace/journal'), '');
      },
      code: 'STORE_UNAVAILABLE',
    },
    'where a file of the journal is a pipe': {
      change: () => {
        mkdirSync(at('.millrace/journal'), { recursive: true });
        pipe(at('.millrace/journal/0000.journal'));
      },
      code: 'JOURNAL_CORRUPT',
    },
  };
  for (const [where, { change, code: expected }] of Object.entries(wrong)) {
    it(`${where}: ${expected}`, async () => {
      change();
      expect(await code(createFileStore({ root }))).toBe(expected);
    });
  }

  it('where its directories are gone: they are made again, all but the journal’s files', async () => {
    await (await open()).create('a', { data: bytes('1') });
    await store?.close();
    for (const name of ['meta', 'overflow', 'expiring']) rmSync(at(`.millrace/${name}`), { recursive: true });
    expect(await (await open()).stat('a')).toMatchObject({ tail: 1 });
    await store?.close();
    rmSync(at('.millrace/journal'), { recursive: true });
    expect(await code(createFileStore({ root }))).toBe('JOURNAL_CORRUPT');
  });
});

describe('a store goes on', () => {
  it('without the marks of streams that can expire, which come back', async () => {
    await (await open()).create('a', { ttlSeconds: 3600, data: bytes('1') });
    rmSync(at('.millrace/expiring'), { recursive: true });
    await store?.close();
    expect(readdirSync(at('.millrace/expiring'))).toHaveLength(1);
  });

  it('without a directory of metadata, which comes back', async () => {
    await (await open()).create('a', { contentType: 'application/json', data: bytes('1\n') });
    await store?.close();
    for (const name of readdirSync(at('.millrace/meta'))) rmSync(at(`.millrace/meta/${name}`), { recursive: true });
    await open();
    await store?.append('a', { data: bytes('2\n'), close: true });
    await store?.close();
    expect(await (await open()).stat('a')).toMatchObject({ closed: true, tail: 4 });
  });

  it('where a metadata file is a pipe: nobody waits for its other end', async () => {
    await (await open()).create('a', { data: bytes('1') });
    await store?.close();
    const [directory] = readdirSync(at('.millrace/meta')) as [string];
    const [file] = readdirSync(at(`.millrace/meta/${directory}`)) as [string];
    pipe(at(`.millrace/meta/${directory}/${file}`));
    expect(await (await open()).stat('a')).toMatchObject({ tail: 1 });
  });

  it('where a stream that it knows has become a pipe: nobody waits for its other end', async () => {
    await (await open()).create('a', { data: bytes('12345') });
    await store?.close();
    const swap = { now: false };
    await open({
      ...nodeFileSystem,
      // Between a look at the file and its opening.
      open: (path, flags) => {
        if (swap.now && path === at('a')) pipe(path);
        return nodeFileSystem.open(path, flags);
      },
    });
    await store?.stat('a');
    swap.now = true;
    expect(await code(store?.read('a', 0, { maxBytes: 10 }) as Promise<unknown>)).toBe('STREAM_FILE_CHANGED');
    expect(await code(store?.stat('a') as Promise<unknown>)).toBe('STREAM_NOT_FOUND');
  });

  it('where a file may not be read: who asks is told so', async () => {
    let closed = '';
    await open({
      ...nodeFileSystem,
      open: (path, flags) => {
        if (path === closed) throw failure('EACCES', path);
        return nodeFileSystem.open(path, flags);
      },
    });
    writeFileSync(at('a'), '12345');
    closed = at('a');
    expect(await code(store?.read('a', 0, { maxBytes: 10 }) as Promise<unknown>)).toBe('STORE_UNAVAILABLE');
    expect(await code(store?.append('a', { data: bytes('6') }) as Promise<unknown>)).toBe('STORE_UNAVAILABLE');
    closed = '';
    expect((await store?.read('a', 0, { maxBytes: 10 }))?.next).toBe(5);
  });

  it('where the list of streams meets a directory that cannot be read: who asks is told so', async () => {
    await open({
      ...nodeFileSystem,
      opendir: async (path) => {
        if (path === at('.millrace/overflow')) throw failure('EIO', path);
        return nodeFileSystem.opendir(path);
      },
    });
    expect(await code(store?.list() as Promise<unknown>)).toBe('STORE_UNAVAILABLE');
    expect(existsSync(at('.millrace/overflow'))).toBe(true);
  });
});
