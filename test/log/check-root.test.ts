import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { cp, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkRoot, createFileStore, type Store } from '../../src/log/index.js';

/** Small, since it is copied many times; and nothing leaves it. */
const UNFLUSHED = { journalSegmentBytes: 64 * 1024, journalBytesMax: 128 * 1024, flushIntervalMs: 3_600_000 };

const STREAMS = 6;
const ROUNDS = 5;
const made: string[] = [];
/** A root as a killed process left it: all in the journal, nothing flushed. */
let left: string;
/** Where each record begins, and whose it is. */
let places: { position: number; path: string }[];

async function directory(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'millrace-check-'));
  made.push(root);
  return root;
}

async function copyOf(root: string): Promise<string> {
  const copied = await directory();
  await cp(root, copied, { recursive: true });
  return copied;
}

const journalFile = (root: string, name = '0000.journal') => join(root, '.millrace/journal', name);
const textOf = (path: string) => Array.from({ length: ROUNDS }, (_, round) => `${path}:${round};`).join('');
const pathOf = (index: number) => `d/s${index}`;

beforeAll(async () => {
  const root = await directory();
  const store = await createFileStore({ root, ...UNFLUSHED });
  for (let index = 0; index < STREAMS; index++) await store.create(pathOf(index));
  for (let round = 0; round < ROUNDS; round++) {
    // Several streams in one batch: they have one sync.
    await Promise.all(
      Array.from({ length: STREAMS }, (_, index) =>
        store.append(pathOf(index), { data: Buffer.from(`${pathOf(index)}:${round};`) }),
      ),
    );
  }
  left = `${root}-left`;
  made.push(left);
  await cp(root, left, { recursive: true });
  await store.close();
  places = recordsIn(readFileSync(journalFile(left)));
}, 30_000);

afterAll(() => Promise.all(made.map((path) => rm(path, { recursive: true, force: true }))));

function recordsIn(bytes: Buffer): { position: number; path: string }[] {
  const found: { position: number; path: string }[] = [];
  for (let at = 64; bytes.readUInt32LE(at) !== 0; at += Math.ceil(bytes.readUInt32LE(at) / 8) * 8) {
    found.push({ position: at, path: bytes.toString('utf8', at + 52, at + 52 + bytes.readUInt16LE(at + 14)) });
  }
  return found;
}

async function flip(file: string, position: number, bit: number): Promise<void> {
  const handle = await open(file, 'r+');
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, position);
  byte[0] = (byte[0] as number) ^ (1 << bit);
  await handle.write(byte, 0, 1, position);
  await handle.close();
}

async function contents(store: Store, path: string): Promise<string | undefined> {
  return store.read(path, 0, { maxBytes: 1e9 }).then(
    ({ data }) => Buffer.from(data).toString(),
    (error) => {
      if (error.code !== 'STREAM_NOT_FOUND') throw error;
      return undefined;
    },
  );
}

async function refusal(root: string): Promise<string | undefined> {
  return createFileStore({ root }).then(
    async (store) => {
      await store.close();
      return undefined;
    },
    (error) => error.code,
  );
}

/** All streams but those that were touched have all that they had. */
async function expectAllBut(root: string, touched: readonly string[]): Promise<void> {
  const store = await createFileStore({ root });
  try {
    for (let index = 0; index < STREAMS; index++) {
      const path = pathOf(index);
      const found = await contents(store, path);
      expect(found, path).toBe(touched.includes(path) ? undefined : textOf(path));
    }
    await store.create('new', { data: Buffer.from('x') });
  } finally {
    await store.close();
  }
}

describe('a root that is sound', () => {
  it('is said to be, and nothing is changed', async () => {
    const root = await copyOf(left);
    const before = await readdir(root, { recursive: true });
    const journal = await readFile(journalFile(root));
    expect(await checkRoot(root)).toEqual({
      root,
      damages: [],
      touched: [],
      unnamed: 0,
      unreadableMetadata: [],
      losses: 0,
      setAside: undefined,
    });
    expect((await checkRoot(root, { setAside: true })).setAside).toBeUndefined();
    expect(await readdir(root, { recursive: true })).toEqual(before);
    expect((await readFile(journalFile(root))).equals(journal)).toBe(true);
  });

  it('is one that has never been served, and one of plain files', async () => {
    const root = await directory();
    await writeFile(join(root, 'a'), 'by hand');
    expect(await checkRoot(root)).toMatchObject({ damages: [] });
    expect(await readdir(root)).toEqual(['a']);
  });

  it('is one whose journal is torn off at its end', async () => {
    const root = await copyOf(left);
    const last = places.at(-1) as { position: number };
    await flip(journalFile(root), last.position + 60, 0);
    expect(await refusal(await copyOf(root))).toBeUndefined();
    expect(await checkRoot(root)).toMatchObject({ damages: [] });
  });
});

describe('a root that is in use', () => {
  it('is not looked through', async () => {
    const root = await directory();
    const store = await createFileStore({ root });
    await expect(checkRoot(root)).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    await store.close();
    expect(await checkRoot(root)).toMatchObject({ damages: [] });
  });

  it('or is not there, is told so', async () => {
    await expect(checkRoot(join(await directory(), 'missing'))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });
});

describe('one flipped bit', () => {
  it('anywhere in a record names the stream, and keeps all others', async () => {
    // Not those of the last batch: nobody was told that they are safe.
    for (let index = 0; index < places.length - STREAMS; index += 4) {
      const { position, path } = places[index] as { position: number; path: string };
      // Length, checksum, chain, type, length of the path, number, time, offset, mark, the path, the id, the rest.
      for (const byte of [1, 5, 9, 12, 14, 16, 28, 36, 44, 48, 53, 60, 74]) {
        const root = await copyOf(left);
        await flip(journalFile(root), position + byte, (index + byte) % 8);
        const what = `record ${index} of ${path}, byte ${byte}`;
        const report = await checkRoot(root);
        expect(report.damages, what).toMatchObject([{ file: journalFile(root), position }]);
        expect(report.unnamed, what).toBe(0);
        expect(
          report.touched.map((each) => each.path),
          what,
        ).toEqual([path]);
        if (byte % 5 !== 0) continue;
        expect(await refusal(root), what).toBe('JOURNAL_CORRUPT');
        const { setAside } = await checkRoot(root, { setAside: true });
        await expectAllBut(root, [path]);
        // Nothing of it is gone.
        const kept = JSON.parse(await readFile(join(setAside as string, 'report.json'), 'utf8'));
        expect(kept.touched).toMatchObject([{ path }]);
        expect(await readFile(join(setAside as string, kept.touched[0].file), 'utf8')).toBe(textOf(path));
        expect(existsSync(join(setAside as string, 'journal/0000.journal'))).toBe(true);
        expect(await checkRoot(root)).toMatchObject({ damages: [] });
      }
    }
  }, 120_000);

  it('in the header of a segment touches no stream', async () => {
    for (let byte = 0; byte < 64; byte += 3) {
      const root = await copyOf(left);
      await flip(journalFile(root), byte, byte % 8);
      expect(await refusal(root), `byte ${byte}`).toBe('JOURNAL_CORRUPT');
      const report = await checkRoot(root, { setAside: true });
      expect(report, `byte ${byte}`).toMatchObject({ damages: [{ position: 0 }], touched: [], unnamed: 0 });
      await expectAllBut(root, []);
    }
  }, 60_000);

  it('of a free file touches no stream', async () => {
    const root = await copyOf(left);
    await (await createFileStore({ root })).close();
    for (const byte of [0, 7, 8, 25, 62]) {
      const flipped = await copyOf(root);
      await flip(journalFile(flipped), byte, 2);
      expect(await refusal(flipped), `byte ${byte}`).toBe('JOURNAL_CORRUPT');
      expect(await checkRoot(flipped, { setAside: true })).toMatchObject({ touched: [], unnamed: 0 });
      await expectAllBut(flipped, []);
    }
  });
});

describe('a journal', () => {
  it('of which a sector was lost names the streams in it', async () => {
    const root = await copyOf(left);
    const [first, last] = [places[STREAMS + 2], places[STREAMS + 5]] as { position: number; path: string }[];
    const handle = await open(journalFile(root), 'r+');
    const gone = (last as { position: number }).position - (first as { position: number }).position;
    await handle.write(Buffer.alloc(gone), 0, gone, (first as { position: number }).position);
    await handle.close();
    // Their names are gone, too. But what came after does not fit.
    const report = await checkRoot(root);
    expect(report).toMatchObject({ damages: [{ position: first?.position }], unnamed: 3 });
    const touched = places.slice(STREAMS + 2, STREAMS + 5).map(({ path }) => path);
    expect(report.touched.map(({ path }) => path)).toEqual(touched);
    await checkRoot(root, { setAside: true });
    await expectAllBut(root, touched);
  });

  it('whose file is gone, cut, or without its list, says what nobody can tell', async () => {
    for (const damage of [
      (root: string) => rm(journalFile(root)),
      (root: string) => truncate(journalFile(root), (places[STREAMS] as { position: number }).position + 8),
      (root: string) => rm(join(root, '.millrace/journal.json')),
      (root: string) => writeFile(join(root, '.millrace/journal.json'), '{'),
    ]) {
      const root = await copyOf(left);
      await damage(root);
      expect(await refusal(root)).toBe('JOURNAL_CORRUPT');
      const report = await checkRoot(root);
      expect(report.damages).toHaveLength(1);
      if (!String(damage).includes('{')) expect(report.unnamed).toBe('many');
      await checkRoot(root, { setAside: true });
      expect(await refusal(root)).toBeUndefined();
    }
  });

  it('that damages a source takes its forks with it, and no other stream', async () => {
    const root = await directory();
    const store = await createFileStore({ root, ...UNFLUSHED });
    await store.create('source', { data: Buffer.from('12345') });
    await store.create('fork', { fork: { path: 'source', offset: 3 }, data: Buffer.from('abc') });
    await store.create('fork of fork', { fork: { path: 'fork' } });
    await store.create('other', { data: Buffer.from('1') });
    await store.append('source', { data: Buffer.from('6') });
    for (let time = 0; time < 3; time++) await store.append('other', { data: Buffer.from('2') });
    const damaged = await copyOf(root);
    await store.close();
    const record = recordsIn(await readFile(journalFile(damaged))).filter(({ path }) => path === 'source')[1];
    await flip(journalFile(damaged), (record?.position ?? 0) + 65, 1);
    const report = await checkRoot(damaged, { setAside: true });
    expect(report.touched.map(({ path }) => path)).toEqual(['fork', 'fork of fork', 'source']);
    const again = await createFileStore({ root: damaged });
    expect((await again.list()).streams.map(({ path }) => path)).toEqual(['other']);
    expect(await contents(again, 'other')).toBe('1222');
    await again.close();
  });

  it('that damages a stream which was deleted since touches none', async () => {
    const root = await directory();
    const store = await createFileStore({ root, ...UNFLUSHED });
    await store.create('a', { data: Buffer.from('1') });
    await store.append('a', { data: Buffer.from('2') });
    await store.delete('a');
    await store.create('b', { data: Buffer.from('1') });
    await store.append('b', { data: Buffer.from('2') });
    const damaged = await copyOf(root);
    await store.close();
    const record = recordsIn(await readFile(journalFile(damaged)))[1];
    await flip(journalFile(damaged), (record?.position ?? 0) + 69, 1);
    expect(await checkRoot(damaged, { setAside: true })).toMatchObject({
      damages: [{ position: record?.position }],
      touched: [],
    });
    const again = await createFileStore({ root: damaged });
    expect(await contents(again, 'a')).toBeUndefined();
    expect(await contents(again, 'b')).toBe('12');
    await again.close();
  });

  it('gives no number twice after it was set aside', async () => {
    const root = await copyOf(left);
    await (await createFileStore({ root })).close();
    rmSync(journalFile(root));
    await checkRoot(root, { setAside: true });
    const store = await createFileStore({ root, ...UNFLUSHED });
    await store.append(pathOf(0), { data: Buffer.from('more'), producer: { id: 'p', epoch: 0, seq: 0 } });
    const killed = await copyOf(root);
    await store.close();
    // What looked like included in the metadata would not be replayed.
    rmSync(join(killed, pathOf(0)));
    await writeFile(join(killed, pathOf(0)), textOf(pathOf(0)));
    const again = await createFileStore({ root: killed });
    expect(await contents(again, pathOf(0))).toBe(`${textOf(pathOf(0))}more`);
    await again.close();
  });
});

describe('metadata', () => {
  it('that cannot be read is told', async () => {
    const root = await copyOf(left);
    await (await createFileStore({ root })).close();
    const [name] = readdirSync(join(root, '.millrace/meta'), { recursive: true, encoding: 'utf8' }).filter((each) =>
      each.endsWith('.json'),
    );
    const file = join(root, '.millrace/meta', name as string);
    await writeFile(file, '{');
    expect(await checkRoot(root)).toMatchObject({ damages: [], unreadableMetadata: [file] });
  });
});
