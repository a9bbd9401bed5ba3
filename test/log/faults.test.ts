import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type FileStoreOptions, openFileStore } from '../../src/log/file/file-store.js';
import type { Store } from '../../src/log/index.js';
import { failure, PowerCutDisk } from './power-cut-disk.js';

let root: string;
let disk: PowerCutDisk;
let store: Store;

function open(options: Partial<FileStoreOptions> = {}): Promise<Store> {
  return openFileStore({ root, flushIntervalMs: 3_600_000, ...options }, disk.session());
}

beforeEach(async () => {
  // Only the lock is on the real disk.
  root = mkdtempSync(join(tmpdir(), 'millrace-faults-'));
  mkdirSync(join(root, '.millrace'));
  disk = new PowerCutDisk(root);
  store = await open();
});

afterEach(async () => {
  disk.fault = undefined;
  await store.close().catch(() => {});
  rmSync(root, { recursive: true, force: true });
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

/** Starts again with what is left when the process is gone, but not the power. */
async function crash(): Promise<void> {
  const before = disk.session();
  void before;
  disk.fault = undefined;
  const crashed = store;
  // The kernel keeps what was written: a cut that loses nothing.
  disk.powerCut(() => 0);
  await crashed.close().catch(() => {});
  store = await open();
}

function failing(what: { calls: string[]; path: RegExp; code: string; times?: number }): { count: number } {
  const state = { count: 0 };
  disk.fault = (call, path) => {
    if (!what.calls.includes(call) || !what.path.test(path)) return;
    if (what.times !== undefined && state.count >= what.times) return;
    state.count++;
    throw failure(what.code, path);
  };
  return state;
}

const JOURNAL = /\/journal\//;

describe('a journal that cannot be written', () => {
  it('refuses exactly the appends of that moment, and goes on', async () => {
    await store.create('a', { data: bytes('1') });
    await store.create('b', { data: bytes('1') });
    const fault = failing({ calls: ['write'], path: JOURNAL, code: 'ENOSPC', times: 1 });
    const refused = [
      store.append('a', { data: bytes('x'), producer: { id: 'p', epoch: 0, seq: 0 } }),
      store.append('b', { data: bytes('x'), close: true }),
      store.create('c'),
    ];
    expect(await Promise.all(refused.map(code))).toEqual(['STORE_FULL', 'STORE_FULL', 'STORE_FULL']);
    expect(fault.count).toBe(1);
    // Nothing of it is left: not the producer's number, not the closure, not the path.
    await store.append('a', { data: bytes('2'), producer: { id: 'p', epoch: 0, seq: 0 } });
    await store.append('b', { data: bytes('2') });
    await store.create('c', { contentType: 'text/x', data: bytes('2') });
    expect(await Promise.all(['a', 'b', 'c'].map(contents))).toEqual(['12', '12', '2']);
    await crash();
    expect(await Promise.all(['a', 'b', 'c'].map(contents))).toEqual(['12', '12', '2']);
  });

  it('refuses appends for as long as a full disk has no room for its first file, and then goes on', async () => {
    failing({ calls: ['write', 'writeLarge'], path: JOURNAL, code: 'ENOSPC' });
    expect(await code(store.create('a', { data: bytes('x') }))).toBe('STORE_FULL');
    expect(await code(store.create('a', { data: bytes('y') }))).toBe('STORE_FULL');
    expect(store.failure).toBeUndefined();
    disk.fault = undefined;
    await store.create('a', { data: bytes('1') });
    await crash();
    expect(await contents('a')).toBe('1');
  });

  it('takes appends back that were accepted on top of those it refused', async () => {
    await store.create('a');
    failing({ calls: ['write'], path: JOURNAL, code: 'EIO', times: 1 });
    const first = code(store.append('a', { data: bytes('x') }));
    // In the same turn, and while the first is under way.
    const second = code(store.append('a', { data: bytes('y') }));
    expect(await Promise.all([first, second])).toEqual(['STORE_UNAVAILABLE', 'STORE_UNAVAILABLE']);
    await store.append('a', { data: bytes('z') });
    expect(await contents('a')).toBe('z');
  });

  it('lets no half of a refused batch come back', async () => {
    await store.create('a', { data: bytes('1') });
    let writes = 0;
    disk.fault = (call, path) => {
      // The first part of the batch is on the disk when the second one fails.
      if (call === 'write' && JOURNAL.test(path) && ++writes === 2) throw failure('ENOSPC', path);
    };
    // Of a length that this disk takes in two writes.
    const refused = await Promise.all(
      Array.from({ length: 7 }, (_, index) =>
        code(store.append('a', { data: bytes('x'.repeat(index + 1)), streamSeq: `${index}` })),
      ),
    );
    disk.fault = undefined;
    if (writes >= 2) expect(new Set(refused)).toEqual(new Set(['STORE_FULL']));
    const before = await contents('a');
    await crash();
    expect(await contents('a')).toBe(before);
  });

  it('ends a session at the first append that was refused: what follows would leave a hole', async () => {
    const session = await store.acquire('a', { create: {} });
    await session.append(bytes('1'));
    failing({ calls: ['write'], path: JOURNAL, code: 'ENOSPC', times: 1 });
    const refused = [code(session.append(bytes('2'))), code(session.append(bytes('3')))];
    expect(await Promise.all(refused)).toEqual(['STORE_FULL', 'STORE_FULL']);
    expect(await code(session.append(bytes('4')))).toBe('STORE_FULL');
    await session.release();
    await store.append('a', { data: bytes('!') });
    expect(await contents('a')).toBe('1!');
  });
});

describe('a sync that fails', () => {
  it('is the end: it is not tried again, and everything after it is refused', async () => {
    await store.create('a', { data: bytes('1') });
    const fault = failing({ calls: ['sync'], path: JOURNAL, code: 'EIO' });
    expect(await code(store.append('a', { data: bytes('2') }))).toBe('STORE_FAILED');
    expect((await store.failed).message).toMatch(/sync/);
    expect((store.failure as { code?: string } | undefined)?.code).toBe('STORE_FAILED');
    expect(await code(store.append('a', { data: bytes('3') }))).toBe('STORE_FAILED');
    expect(await code(store.create('b'))).toBe('STORE_FAILED');
    expect(await code(store.acquire('a'))).toBe('STORE_FAILED');
    expect(fault.count).toBe(1);
    // Readers go on with what is committed.
    expect(await contents('a')).toBe('1');
    await store.close();
    disk.fault = undefined;
    store = await open();
    expect(await contents('a')).toMatch(/^12?$/);
  });

  it('is the end also when it was for room ahead of use, and nobody waited for it', async () => {
    await store.create('a');
    const fault = failing({ calls: ['sync'], path: JOURNAL, code: 'EIO', times: 1 });
    // The first step of the file is more than half full now: the next one is made.
    await store.append('a', { data: Buffer.alloc(3 * 1024 * 1024), durability: 'written' });
    await expect.poll(() => fault.count).toBe(1);
    expect(await code(store.append('a', { data: bytes('2') }))).toBe('STORE_FAILED');
    expect(fault.count).toBe(1);
  });

  it('is the end also when it was for a data file', async () => {
    await store.close();
    store = await open({ flushIntervalMs: 5 });
    failing({ calls: ['sync'], path: /\/a$/, code: 'EIO' });
    await store.create('a', { data: bytes('1') });
    expect(((await store.failed) as { code?: string }).code).toBe('STORE_FAILED');
    expect(await code(store.append('a', { data: bytes('2') }))).toBe('STORE_FAILED');
    await store.close();
    disk.fault = undefined;
    // The journal has it.
    disk.powerCut(() => 1);
    store = await open();
    expect(await contents('a')).toBe('1');
  });
});

describe('a data file that cannot be written', () => {
  it.each([
    ['ENOSPC', 'STORE_FULL'],
    ['EIO', 'STORE_UNAVAILABLE'],
  ])('refuses the appends to this stream and no others (%s)', async (system, expected) => {
    await store.create('a', { data: bytes('1') });
    await store.create('b', { data: bytes('1') });
    failing({ calls: ['write'], path: /\/a$/, code: system });
    const answers = await Promise.all([
      code(store.append('a', { data: bytes('x'), close: true, producer: { id: 'p', epoch: 0, seq: 0 } })),
      code(store.append('b', { data: bytes('2') })),
    ]);
    expect(answers).toEqual([expected, undefined]);
    disk.fault = undefined;
    // The journal had it already: now it says that it is void.
    await crash();
    expect(await Promise.all(['a', 'b'].map(contents))).toEqual(['1', '12']);
    await store.append('a', { data: bytes('2'), producer: { id: 'p', epoch: 0, seq: 0 } });
    expect(await contents('a')).toBe('12');
  });

  it('refuses a stream that cannot be made, and leaves nothing of it', async () => {
    failing({ calls: ['mkdir', 'open'], path: /\/d/, code: 'ENOSPC' });
    expect(await code(store.create('d/e', { data: bytes('x') }))).toBe('STORE_FULL');
    disk.fault = undefined;
    expect(await code(store.stat('d/e'))).toBe('STREAM_NOT_FOUND');
    await crash();
    expect(await code(store.stat('d/e'))).toBe('STREAM_NOT_FOUND');
    await store.create('d/e', { data: bytes('1') });
    expect(await contents('d/e')).toBe('1');
  });

  it('makes room for a file by closing others at the limit of open files', async () => {
    await store.create('a', { data: bytes('1') });
    await store.create('b', { data: bytes('1') });
    const fault = failing({ calls: ['open'], path: /\/c$/, code: 'EMFILE', times: 1 });
    await store.create('c', { data: bytes('1') });
    expect(fault.count).toBe(1);
    await store.append('a', { data: bytes('2') });
    expect(await contents('a')).toBe('12');
  });
});

describe('a flush that finds no room', () => {
  it('is tried again, and nothing is lost meanwhile', async () => {
    await store.close();
    store = await open({ flushIntervalMs: 5, journalSegmentBytes: 64 * 1024, journalBytesMax: 128 * 1024 });
    const fault = failing({ calls: ['open'], path: /\/meta\//, code: 'ENOSPC', times: 3 });
    await store.create('a', { contentType: 'text/x' });
    for (let index = 0; index < 20; index++)
      await store.append('a', { data: Buffer.alloc(10_000, 'x') }).catch(() => {});
    disk.fault = undefined;
    expect(store.failure).toBeUndefined();
    expect(fault.count).toBeGreaterThan(0);
    const before = (await store.stat('a')).tail;
    expect(before).toBeGreaterThanOrEqual(60_000);
    await store.close();
    store = await open();
    expect(await store.stat('a')).toMatchObject({ tail: before, contentType: 'text/x' });
  });
});
