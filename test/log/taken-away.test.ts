import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FILE_CHECK_MS } from '../../src/log/file/file-storage.js';
import { createFileStore, type FileStoreOptions, type Loss, type Store } from '../../src/log/index.js';

let root: string;
let store: Store;
let told: Loss[];

async function open(options: Partial<FileStoreOptions> = {}): Promise<void> {
  store = await createFileStore({ root, flushIntervalMs: 3_600_000, onLoss: (loss) => told.push(loss), ...options });
}

beforeEach(async () => {
  told = [];
  root = await mkdtemp(join(tmpdir(), 'millrace-taken-'));
  await open();
});

afterEach(async () => {
  await store.close().catch(() => {});
  await rm(root, { recursive: true, force: true });
});

const bytes = (text: string) => Buffer.from(text);
const at = (path: string) => join(root, path);

async function contents(path: string): Promise<string> {
  return Buffer.from((await store.read(path, 0, { maxBytes: 1e9 })).data).toString();
}

async function code(promise: Promise<unknown>): Promise<string | undefined> {
  return promise.then(
    () => undefined,
    (error) => error.code,
  );
}

/** The store looks at a file again when it has not for this long. */
async function untilItLooksAgain(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, FILE_CHECK_MS + 20));
}

/** What is kept of a stream, and where it belongs. */
function kept(path: string): { offset: number; text: string }[] {
  if (!existsSync(at('.millrace/lost'))) return [];
  return readdirSync(at('.millrace/lost'))
    .filter((name) => name.endsWith('.json'))
    .map((name) => JSON.parse(readFileSync(at(`.millrace/lost/${name}`), 'utf8')))
    .filter((note) => note.path === path)
    .map((note) => ({ offset: note.offset, text: readFileSync(at(`.millrace/lost/${note.file}`), 'utf8') }));
}

/** What people do to a file by hand. */
const hands: Record<string, (file: string) => void> = {
  'removed (rm)': (file) => rmSync(file),
  'edited (sed -i), so that it is another file': (file) => {
    writeFileSync(`${file}.new`, `edited: ${readFileSync(file, 'utf8')}`);
    renameSync(`${file}.new`, file);
  },
  'replaced by another one (mv over it)': (file) => {
    writeFileSync(`${file}.new`, 'other');
    renameSync(`${file}.new`, file);
  },
  'moved away (mv)': (file) => renameSync(file, `${file}.moved`),
  'cut (truncate)': (file) => truncateSync(file, 2),
  'made longer and cut (> file; cat > file)': (file) => writeFileSync(file, 'quite another text'),
  'replaced by a directory': (file) => {
    rmSync(file);
    mkdirSync(file);
  },
  'replaced by a symbolic link': (file) => {
    renameSync(file, `${file}.moved`);
    symlinkSync(`${file}.moved`, file);
  },
  'removed with the directory above (rm -r)': (file) => rmSync(join(file, '..'), { recursive: true }),
  'moved away with the directory above (mv)': (file) => renameSync(join(file, '..'), join(file, '../../moved')),
  'behind a link in the place of the directory above': (file) => {
    renameSync(join(file, '..'), join(file, '../../moved'));
    symlinkSync(join(file, '../../moved'), join(file, '..'));
  },
};

describe('what was acknowledged, and not flushed, when its file is', () => {
  for (const [what, change] of Object.entries(hands)) {
    it(`${what}, is kept and told`, async () => {
      await store.create('d/a', { data: bytes('12345') });
      await store.append('d/a', { data: bytes('678') });
      change(at('d/a'));
      const found = existsSync(at('d/a')) ? readdirSync(at('d')) : undefined;
      // Whoever comes next may be refused, or be the last one whose bytes go to the file without a name.
      const next = await code(store.append('d/a', { data: bytes('9') }));
      expect(next === undefined || next === 'STREAM_FILE_CHANGED').toBe(true);
      const all = next === undefined ? '123456789' : '12345678';
      await store.close();
      expect(kept('d/a')).toEqual([{ offset: 0, text: all }]);
      expect(told).toMatchObject([{ path: 'd/a', offset: 0, bytes: all.length }]);
      expect(existsSync(at('d/a')) ? readdirSync(at('d')) : undefined).toEqual(found);
      await open();
      expect(store.losses).toBe(1);
      expect(told).toHaveLength(1);
    });
  }

  it('replaced by one that has it all, is where it belongs', async () => {
    await store.create('a', { data: bytes('12345') });
    writeFileSync(at('b'), '12345 and more');
    renameSync(at('b'), at('a'));
    await store.close();
    expect(told).toEqual([]);
    await open();
    expect(await contents('a')).toBe('12345 and more');
    expect(store.losses).toBe(0);
  });

  it('removed after a flush, is the part that came after it', async () => {
    await store.create('a', { data: bytes('12345') });
    await store.close();
    await open();
    await store.append('a', { data: bytes('678') });
    rmSync(at('a'));
    await store.close();
    expect(kept('a')).toEqual([{ offset: 5, text: '678' }]);
  });

  it('that of a stream below another one’s name, is kept', async () => {
    await store.create('a', { data: bytes('1') });
    await store.create('a/b', { data: bytes('12345') });
    const [name] = readdirSync(at('.millrace/overflow'));
    rmSync(at(`.millrace/overflow/${name}`));
    await untilItLooksAgain();
    expect(await code(store.append('a/b', { data: bytes('6') }))).toBe('STREAM_FILE_CHANGED');
    await store.close();
    expect(kept('a/b')).toEqual([{ offset: 0, text: '12345' }]);
  });

  it('that of a fork’s source, is kept', async () => {
    await store.create('source', { data: bytes('12345') });
    await store.create('fork', { fork: { path: 'source', offset: 3 }, data: bytes('abc') });
    rmSync(at('source'));
    expect(await code(store.read('fork', 0, { maxBytes: 100 }))).toBe('STREAM_FILE_CHANGED');
    await store.append('fork', { data: bytes('def') });
    await store.close();
    expect(kept('source')).toEqual([{ offset: 0, text: '12345' }]);
    expect(kept('fork')).toEqual([]);
    expect(readFileSync(at('fork'), 'utf8')).toBe('abcdef');
  });

  it('removed, is kept at the flush that comes by itself, while the store goes on', async () => {
    await store.close();
    let tell: (loss: Loss) => void = () => {};
    const first = new Promise<Loss>((resolve) => {
      tell = resolve;
    });
    // With the second stream that has something to be flushed.
    await open({ dirtyStreamsMax: 2, onLoss: (loss) => tell(loss) });
    await store.create('big', { data: Buffer.alloc(3_000_000, 'x') });
    rmSync(at('big'));
    await store.create('other');
    expect(await first).toMatchObject({ path: 'big', offset: 0, bytes: 3_000_000 });
    expect(store.losses).toBe(1);
    expect(await code(store.stat('big'))).toBe('STREAM_NOT_FOUND');
    await store.create('big', { data: bytes('new') });
    await store.close();
    await open();
    expect(await contents('big')).toBe('new');
    expect(kept('big')).toEqual([{ offset: 0, text: 'x'.repeat(3_000_000) }]);
  });

  it('removed, is kept at the next start, where the process was killed before', async () => {
    await store.create('a', { data: bytes('12345') });
    await store.create('b', { data: bytes('1') });
    await store.close();
    await open();
    await store.append('a', { data: bytes('678') });
    await store.append('b', { data: bytes('2') });
    const copied = `${root}-left`;
    await cp(root, copied, { recursive: true });
    await store.close();
    await rm(root, { recursive: true });
    renameSync(copied, root);
    // Nobody is there to see it.
    rmSync(at('a'));
    truncateSync(at('b'), 0);
    await open();
    expect(kept('a')).toEqual([{ offset: 5, text: '678' }]);
    expect(kept('b')).toEqual([{ offset: 1, text: '2' }]);
    expect(told).toHaveLength(2);
    await store.close();
    await open();
    expect(told).toHaveLength(2);
  });

  it('removed, is kept at the next start, also where that had been noticed', async () => {
    await store.create('a', { data: bytes('12345') });
    rmSync(at('a'));
    await untilItLooksAgain();
    expect(await code(store.append('a', { data: bytes('6') }))).toBe('STREAM_FILE_CHANGED');
    const copied = `${root}-left`;
    await cp(root, copied, { recursive: true });
    await rm(join(copied, '.millrace/lost'), { recursive: true, force: true });
    await store.close();
    await rm(root, { recursive: true });
    renameSync(copied, root);
    await open();
    expect(kept('a')).toEqual([{ offset: 0, text: '12345' }]);
    expect(await code(store.stat('a'))).toBe('STREAM_NOT_FOUND');
  });

  it('removed by a deletion, is gone', async () => {
    await store.create('a', { data: bytes('12345') });
    await store.delete('a');
    await store.create('a', { data: bytes('1') });
    await store.close();
    await open();
    expect(told).toEqual([]);
    expect(await contents('a')).toBe('1');
  });
});

describe('an append to a file that was cut', () => {
  it('leaves no hole in it', async () => {
    await store.create('a', { data: bytes('12345') });
    truncateSync(at('a'), 2);
    // Whether the first one notices it or not.
    const next = await code(store.append('a', { data: bytes('6') }));
    if (next !== undefined) {
      expect(next).toBe('STREAM_FILE_CHANGED');
      await store.append('a', { data: bytes('6') });
    }
    expect(readFileSync(at('a'), 'utf8')).toBe('126');
    expect(await code(store.read('a', 0, { maxBytes: 100 }))).toBe(
      next === undefined ? 'STREAM_FILE_CHANGED' : undefined,
    );
    expect(await contents('a')).toBe('126');
    await store.close();
    expect(kept('a').map(({ text }) => text)).toEqual([next === undefined ? '123456' : '12345']);
  });
});

describe('a store whose own directory is taken away', () => {
  const takenAway: Record<string, () => void> = {
    'removed (rm -r ROOT/.millrace)': () => rmSync(at('.millrace'), { recursive: true }),
    'replaced by an empty one': () => {
      rmSync(at('.millrace'), { recursive: true });
      mkdirSync(at('.millrace/journal'), { recursive: true });
    },
    'moved away with the root': () => {
      renameSync(root, `${root}-moved`);
      mkdirSync(root);
    },
    'removed with the root (rm -r ROOT)': () => rmSync(root, { recursive: true }),
    'without its journal': () => rmSync(at('.millrace/journal'), { recursive: true }),
    'without a file of its journal': () => rmSync(at('.millrace/journal/0000.journal')),
    'without what is known of its streams': () => rmSync(at('.millrace/meta'), { recursive: true }),
  };
  const JOURNAL = /ROOT|millrace\)|empty|root|journal/i;

  for (const [what, take] of Object.entries(takenAway)) {
    it(`${what}, acknowledges nothing more, and fails`, async () => {
      await store.create('a', { data: bytes('1') });
      take();
      if (JOURNAL.test(what)) expect(await code(store.append('a', { data: bytes('2') }))).toBe('STORE_FAILED');
      expect(await store.failed).toMatchObject({ code: 'STORE_FAILED' });
      expect(await code(store.append('a', { data: bytes('2') }))).toBe('STORE_FAILED');
      expect(store.failure).toMatchObject({ code: 'STORE_FAILED' });
      const before = existsSync(at('.millrace')) ? readdirSync(at('.millrace'), { recursive: true }) : undefined;
      await store.close();
      // Nothing is made again behind anybody's back.
      expect(existsSync(at('.millrace')) ? readdirSync(at('.millrace'), { recursive: true }) : undefined).toEqual(
        before,
      );
      await rm(`${root}-moved`, { recursive: true, force: true });
    });
  }

  it('keeps the root to itself as long as it lives', async () => {
    await store.create('a', { data: bytes('1') });
    rmSync(at('.millrace'), { recursive: true });
    expect(await code(createFileStore({ root }))).toBe('STORE_LOCKED');
    expect(existsSync(at('.millrace'))).toBe(false);
    expect(await code(store.append('a', { data: bytes('2') }))).toBe('STORE_FAILED');
    await store.close();
    await open();
    // What was appended before is in its file.
    expect((await contents('a')).slice(0, 1)).toBe('1');
  });

  it('fails where its lock is taken away', async () => {
    rmSync(at('.millrace.lock'));
    expect(await store.failed).toMatchObject({ code: 'STORE_FAILED' });
  });
});
