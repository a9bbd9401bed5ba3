import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, it } from 'vitest';
import { openFileStore } from '../../src/log/file/file-store.js';
import { nodeFileSystem } from '../../src/log/file/file-system.js';
import type { FileStoreOptions, Store } from '../../src/log/index.js';
import { openMemoryStore } from '../../src/log/memory-store.js';
import { type StoreSuiteOptions, type SuiteTime, storeSuite } from '../../src/testing/index.js';
import { ManualClock } from './manual-clock.js';

const roots: string[] = [];
afterAll(() => Promise.all(roots.map((root) => rm(root, { recursive: true, force: true }))));

function run(options: StoreSuiteOptions): void {
  for (const { name, skip, timeoutMs, run: runCase } of storeSuite(options)) {
    it(skip ? `${name} (not asked: ${skip})` : name, { skip: skip !== undefined, timeout: timeoutMs }, runCase);
  }
}

const clock = new ManualClock();
const time: SuiteTime = {
  now: () => clock.wallMs(),
  pass: (ms) => clock.pass(ms),
};

function fileStores(options: Omit<FileStoreOptions, 'root'>): StoreSuiteOptions {
  const rootOf = new WeakMap<Store, string>();
  const open = async (root: string) => {
    const store = await openFileStore({ ...options, root }, nodeFileSystem, clock);
    rootOf.set(store, root);
    return store;
  };
  return {
    async open() {
      const root = await mkdtemp(join(tmpdir(), 'millrace-suite-'));
      roots.push(root);
      return open(root);
    },
    reopen: (closed) => open(rootOf.get(closed) as string),
    time,
  };
}

describe('the memory store', () => {
  run({ open: async () => openMemoryStore({ expirySweepMs: 50 }, clock), time });
});

describe('the file store', () => {
  run(fileStores({ expirySweepMs: 50 }));
});

describe('the file store, with everything as small as it goes', () => {
  run(
    fileStores({
      expirySweepMs: 50,
      journalSegmentBytes: 5 * 1024 * 1024,
      journalBytesMax: 10 * 1024 * 1024,
      openFilesMax: 1,
      streamsInMemoryMax: 1,
      dirtyStreamsMax: 1,
      flushIntervalMs: 10,
      commitBytesMax: 1000,
      pendingBytesMax: 1000,
    }),
  );
});
