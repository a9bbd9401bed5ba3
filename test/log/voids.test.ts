import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type FileStoreOptions, openFileStore } from '../../src/log/file/file-store.js';
import type { Store } from '../../src/log/index.js';
import { failure, PowerCutDisk } from './power-cut-disk.js';

/** What was journaled and could not be carried out, and what the disk does in the meantime. */

const KIB = 1024;
const MIB = 1024 * KIB;

let root: string;
let disk: PowerCutDisk;
let store: Store;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'millrace-voids-'));
  mkdirSync(join(root, '.millrace'));
  disk = new PowerCutDisk(root);
});

afterEach(async () => {
  disk.fault = undefined;
  await store.close().catch(() => {});
  rmSync(root, { recursive: true, force: true });
});

async function open(options: Partial<FileStoreOptions> = {}): Promise<void> {
  store = await openFileStore({ root, flushIntervalMs: 3_600_000, ...options }, disk.session());
}

/** What is lost: everything that was not synced, or nothing. */
async function powerCut(lost: 'unsynced' | 'nothing', options: Partial<FileStoreOptions> = {}): Promise<void> {
  let count = 0;
  disk.powerCut(() => (lost === 'unsynced' ? 0.6 + ++count * 1e-9 : 0.9999 - ++count * 1e-9));
  await store.close().catch(() => {});
  await open(options);
}

const bytes = (text: string) => Buffer.from(text);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const codeOf = (promise: Promise<unknown>): Promise<string | undefined> =>
  promise.then(
    () => undefined,
    (error) => error.code,
  );
const contents = async (path: string) => Buffer.from((await store.read(path, 0, { maxBytes: 1e9 })).data).toString();

/** Refuses writes to a stream's file, after so many, and of the journal the one that says so, once. */
function fullForAMoment(file: string, after = 0): Promise<void> {
  return new Promise((resolve) => {
    let journaled = 0;
    let written = 0;
    disk.fault = (call, path) => {
      if (call !== 'write') return;
      if (path.endsWith(file) && ++written > after) throw failure('ENOSPC', path);
      if (!path.includes('/journal/') || ++journaled < 2) return;
      disk.fault = undefined;
      setImmediate(resolve);
      throw failure('ENOSPC', path);
    };
  });
}

describe('a disk that is full for a moment', () => {
  it('takes back no append that was acknowledged since', async () => {
    await open();
    await store.create('s');
    await store.append('s', { data: bytes('one ') });
    const over = fullForAMoment('/s');
    const refused = codeOf(store.append('s', { data: bytes('refused ') }));
    await over;
    const acknowledged: string[] = [];
    for (let time = 0; time < 30; time++) {
      await sleep(10);
      const data = `<${time}>`;
      if ((await codeOf(store.append('s', { data: bytes(data) }))) === undefined) acknowledged.push(data);
    }
    expect(await refused).toBe('STORE_FULL');
    expect(acknowledged.length).toBeGreaterThan(0);
    expect(await contents('s')).toBe(`one ${acknowledged.join('')}`);
    await store.close();
    await open();
    expect(await contents('s')).toBe(`one ${acknowledged.join('')}`);
  });

  it('leaves no half of a refused append where the store is closed meanwhile', async () => {
    await open();
    await store.create('s', { contentType: 'application/json', data: bytes('1\n') });
    // Of fourteen bytes this disk takes thirteen at first.
    const over = fullForAMoment('/s', 1);
    const refused = codeOf(store.append('s', { data: bytes('"refused now"\n') }));
    await over;
    await store.close();
    expect(await refused).toBe('STORE_CLOSED');
    await open();
    // Nobody was told that it is refused, so it may be there; whole, if at all.
    expect(['1\n', '1\n"refused now"\n']).toContain(await contents('s'));
    await store.append('s', { data: bytes('2\n') });
  });

  it('takes back nothing later where even taking back does not work', async () => {
    await open();
    await store.create('s', { data: bytes('one ') });
    disk.fault = (call, path) => {
      if (!path.endsWith('/s')) return;
      if (call === 'write') throw failure('ENOSPC', path);
      if (call !== 'truncate') return;
      disk.fault = undefined;
      throw failure('EIO', path);
    };
    expect(await codeOf(store.append('s', { data: bytes('refused') }))).toBe('STORE_FULL');
    await store.append('s', { data: bytes('two') });
    await sleep(300);
    expect(await contents('s')).toBe('one two');
    await store.close();
    await open();
    expect(await contents('s')).toBe('one two');
  });

  it('shows nobody a stream that could not be made', async () => {
    await open();
    let writes = 0;
    const failed = new Promise<void>((resolve) => {
      disk.fault = (call, path) => {
        if (call !== 'write' || !path.endsWith('/s') || ++writes < 2) return;
        disk.fault = undefined;
        setImmediate(resolve);
        throw failure('ENOSPC', path);
      };
    });
    const first = codeOf(store.create('s', { data: bytes('refused bytes.'), contentType: 'text/plain' }));
    await failed;
    expect(await codeOf(store.stat('s'))).toBe('STREAM_NOT_FOUND');
    const second = store.create('s', { data: bytes('new') });
    expect(await first).toBe('STORE_FULL');
    expect((await second).created).toBe(true);
    expect(await contents('s')).toBe('new');
  });
});

describe('a refused fork', () => {
  it('does not cost a living one its source, also after a crash', async () => {
    await open({ dirtyStreamsMax: 1 });
    await store.create('source', { data: bytes('0123456789') });
    await store.create('fork', { fork: { path: 'source' } });
    await store.create('other');
    await sleep(50);
    disk.fault = (call, path) => {
      if (call === 'open' && path.endsWith('/fork2')) throw failure('EMFILE', path);
    };
    const answers = [
      codeOf(store.create('fork2', { fork: { path: 'source' } })),
      codeOf(store.append('other', { data: bytes('x') })),
    ];
    expect(await Promise.all(answers)).toEqual(['STORE_UNAVAILABLE', undefined]);
    disk.fault = undefined;
    await sleep(50);
    await powerCut('nothing');
    await store.delete('source');
    expect(await codeOf(store.stat('source'))).toBe('STREAM_GONE');
    expect(await contents('fork')).toBe('0123456789');
  });
});

describe('a power cut', () => {
  it('takes nothing of a large append that was flushed while it was written', async () => {
    const small = Array.from({ length: 4 }, (_, at) => `small${at}`);
    const plain = disk.session();
    const paths = new Map<number, string>();
    const isBig = (fd: number) => paths.get(fd)?.endsWith('/big') === true;
    let goOn = () => {};
    const halfWritten = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let synced = () => {};
    const bigSynced = new Promise<void>((resolve) => {
      synced = resolve;
    });
    let half = false;
    store = await openFileStore(
      { root, flushIntervalMs: 20 },
      {
        ...plain,
        open(path, flags) {
          const fd = plain.open(path, flags);
          paths.set(fd, path);
          return fd;
        },
        // The flush is busy with the small ones until half of the large append is written, and then comes to its file.
        async sync(fd) {
          if (/\/small\d$/.test(paths.get(fd) ?? '')) await halfWritten;
          await plain.sync(fd);
          if (isBig(fd) && half) synced();
        },
        async writeLarge(fd, data, position) {
          if (!isBig(fd) || half) return plain.writeLarge(fd, data, position);
          const all = Buffer.concat(data);
          const written = await plain.writeLarge(fd, [all.subarray(0, all.length / 2)], position);
          half = true;
          goOn();
          await bigSynced;
          return written;
        },
      },
    );
    await Promise.all([...small, 'big'].map((path) => store.create(path, { data: bytes('x') })));
    await sleep(60);
    await store.append('big', { data: Buffer.alloc(MIB, 'y') });
    expect(half).toBe(true);
    // The journal's part of it is flushed and free.
    for (let time = 0; time < 5; time++) {
      await sleep(40);
      await store.append('small0', { data: bytes('x') });
    }
    await powerCut('unsynced');
    expect(await contents('big')).toBe(`x${'y'.repeat(MIB)}`);
  });

  it('leaves an append that was only written whole, or not there, also at the turn of a segment', async () => {
    const options = { journalSegmentBytes: 64 * KIB, journalBytesMax: 256 * KIB };
    for (let size = 4; size <= 40; size += 4) {
      for (let seed = 1; seed <= 4; seed++) {
        disk = new PowerCutDisk(root);
        await open(options);
        await store.create('s');
        let tail = 0;
        const tails = [0];
        const append = async (durability: 'fsync' | 'written') => {
          await store.append('s', { data: Buffer.alloc(size * KIB, 65 + tails.length), durability });
          tail += size * KIB;
          tails.push(tail);
        };
        for (let time = 0; time < Math.floor(64 / size); time++) await append('fsync');
        await append('written');
        await sleep(20);
        let state = seed * 7919;
        disk.powerCut(() => {
          state = (state * 1103515245 + 12345) & 0x7fffffff;
          return state / 0x7fffffff;
        });
        await store.close().catch(() => {});
        await open(options);
        const text = await contents('s');
        expect(tails.slice(-2), `size ${size} KiB, seed ${seed}`).toContain(text.length);
        expect(text.includes('\0'), `zeros at size ${size} KiB, seed ${seed}`).toBe(false);
        await store.close();
      }
    }
  }, 60_000);
});

describe('many small operations at once', () => {
  it('are divided into commits that the journal can take, however long their names', async () => {
    await open({ journalSegmentBytes: 64 * KIB, journalBytesMax: MIB });
    const folder = `${'d'.repeat(200)}/${'e'.repeat(200)}/`;
    const made = Array.from({ length: 64 }, (_, at) => codeOf(store.create(folder + at)));
    expect(new Set(await Promise.all(made))).toEqual(new Set([undefined]));
    const id = 'p'.repeat(1000);
    const appended = Array.from({ length: 300 }, (_, at) =>
      codeOf(store.append(`${folder}0`, { data: bytes('x'), producer: { id: id + at, epoch: 0, seq: 0 } })),
    );
    expect(new Set(await Promise.all(appended))).toEqual(new Set([undefined]));
  });
});
