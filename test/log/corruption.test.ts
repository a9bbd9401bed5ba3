import { cp, mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openFileStore } from '../../src/log/file/file-store.js';
import { nodeFileSystem } from '../../src/log/file/file-system.js';
import { JOURNAL_GROWTH_BYTES } from '../../src/log/file/segments.js';
import { createFileStore, type Store } from '../../src/log/index.js';

/** A root as a killed process left it: all in the journal, nothing flushed. */
let left: string;
const made: string[] = [];
const RECORDS = 6;

/**
 * A segment as version 1 wrote it, without the zeros that follow: the stream `a` with `1` and, by producer `p`, `2`; and
 * `m`, of JSON, with one message, closed.
 */
const VERSION_1 =
  'TUlMTFJKTkwBAAAAAAAAAAEAAAAAAAAAAQAAAAAAAADtMqjXpniDmnRl/BHQ/qsfAAAAAgAAAAAAAAAArRCuGCABAAAWqgN6rRCuGAEQAQABAAAAAAAA' +
  'AAAAAABn9GcTogEQAAAAAAAAAAAAAQAAAO0yqNdhc1ItMzdMQ05jUmNLdXZZcdYAAAB7InBhdGgiOiJhIiwiaWQiOiJzUi0zN0xDTmNSY0t1dllxIiwi' +
  'Y29udGVudFR5cGUiOiJhcHBsaWNhdGlvbi9vY3RldC1zdHJlYW0iLCJqc29uIjpmYWxzZSwiY3JlYXRlZEF0TXMiOjE3OTU2MjE5MDk2MDYsInRhaWwi' +
  'OjEsImNsb3NlZCI6ZmFsc2UsInByb2R1Y2VycyI6W10sImZvcmtzIjowLCJzb2Z0RGVsZXRlZCI6ZmFsc2UsImxhc3RVc2VkTXMiOjE3OTU2MjE5MDk2' +
  'MDZ9MWEAAAAMEi1bFqoDegICAQACAAAAAAABAAAAAACV9GcTogEQAAEAAAAAAAAAAQAAAO0yqNdhc1ItMzdMQ05jUmNLdXZZcQAAAAAAAAAAAAAAAAAA' +
  'AAAAAAAAAADwvwEAcDIAAAAAAAAAGAEAALUPVnQMEi1bARABAAMAAAAAAAIAAAAAAKD0ZxOiARAAAAAAAAAAAAADAAAA7TKo121sd0VoZVBRNmRyeWNP' +
  'dU1vzAAAAHsicGF0aCI6Im0iLCJpZCI6Imx3RWhlUFE2ZHJ5Y091TW8iLCJjb250ZW50VHlwZSI6ImFwcGxpY2F0aW9uL2pzb24iLCJqc29uIjp0cnVl' +
  'LCJjcmVhdGVkQXRNcyI6MTc5NTYyMTkwOTY2NCwidGFpbCI6MywiY2xvc2VkIjp0cnVlLCJwcm9kdWNlcnMiOltdLCJmb3JrcyI6MCwic29mdERlbGV0' +
  'ZWQiOmZhbHNlLCJsYXN0VXNlZE1zIjoxNzk1NjIxOTA5NjY0fXt9Cg==';

beforeAll(async () => {
  const root = await mkdtemp(join(tmpdir(), 'millrace-corrupt-'));
  made.push(root);
  const store = await createFileStore({ root, flushIntervalMs: 3_600_000 });
  for (let index = 0; index < RECORDS; index++) {
    if (index === 0) await store.create('a', { data: Buffer.from('0') });
    else await store.append('a', { data: Buffer.from(String(index)) });
  }
  left = `${root}-left`;
  made.push(left);
  // Copied while it is open: what a crash leaves.
  await cp(root, left, { recursive: true });
  await store.close();
});

afterAll(() => Promise.all(made.map((path) => rm(path, { recursive: true, force: true }))));

async function copy(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'millrace-corrupt-'));
  made.push(root);
  await cp(left, root, { recursive: true });
  return root;
}

async function journalFile(root: string): Promise<string> {
  const [name] = await readdir(join(root, '.millrace/journal'));
  return join(root, '.millrace/journal', name as string);
}

/** Where each record begins. */
async function records(file: string): Promise<number[]> {
  const bytes = await readFile(file);
  const positions: number[] = [];
  for (let at = 64; bytes.readUInt32LE(at) !== 0; at += Math.ceil(bytes.readUInt32LE(at) / 8) * 8) positions.push(at);
  return positions;
}

/** Where the last record ends, with the gap behind it. */
async function recordsEnd(file: string): Promise<number> {
  const bytes = await readFile(file);
  const last = (await records(file)).at(-1) as number;
  return last + Math.ceil(bytes.readUInt32LE(last) / 8) * 8;
}

async function resize(file: string, bytes: number): Promise<void> {
  const handle = await open(file, 'r+');
  await handle.truncate(bytes);
  await handle.close();
}

async function overwrite(file: string, position: number, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, 'r+');
  await handle.write(bytes, 0, bytes.length, position);
  await handle.close();
}

async function list(root: string, value: unknown): Promise<void> {
  await writeFile(join(root, '.millrace/journal.json'), JSON.stringify(value));
}

async function contents(root: string): Promise<string> {
  const store: Store = await createFileStore({ root });
  try {
    return Buffer.from((await store.read('a', 0, { maxBytes: 1000 })).data).toString();
  } finally {
    await store.close();
  }
}

describe('a journal with', () => {
  it('nothing wrong is replayed, even if the data file is gone or holds something else', async () => {
    expect(await records(await journalFile(left))).toHaveLength(RECORDS);
    const root = await copy();
    await rm(join(root, 'a'));
    expect(await contents(root)).toBe('012345');
    const other = await copy();
    await writeFile(join(other, 'a'), 'something else altogether');
    expect(await contents(other)).toBe('012345');
    expect(await readFile(join(other, 'a'), 'utf8')).toBe('012345');
  });

  it('a torn end loses the torn record and nothing else', async () => {
    const root = await copy();
    const file = await journalFile(root);
    const last = (await records(file)).at(-1) as number;
    await overwrite(file, last + 60, Buffer.alloc(4));
    expect(await contents(root)).toBe('01234');
    // It is in order again.
    expect(await contents(root)).toBe('01234');
  });

  it('growth that was broken off is no damage', async () => {
    const root = await copy();
    const file = await journalFile(root);
    const end = await recordsEnd(file);
    for (const bytes of [JOURNAL_GROWTH_BYTES + 5000, JOURNAL_GROWTH_BYTES - 1, end + 4]) {
      await resize(file, bytes);
      // The file is listed when it has grown.
      await list(root, { version: 1, lsn: 0, files: {} });
      await cp(file, `${root}-journal`);
      expect(await contents(root)).toBe('012345');
      await cp(`${root}-journal`, file);
    }
    await rm(`${root}-journal`);
  });

  it('files of another segment size is used again', async () => {
    const root = await mkdtemp(join(tmpdir(), 'millrace-corrupt-'));
    const copied = `${root}-left`;
    made.push(root, copied);
    const first = await createFileStore({ root, journalSegmentBytes: 5 * 1024 * 1024 });
    await first.create('a');
    for (let time = 0; time < 24; time++) await first.append('a', { data: Buffer.alloc(1024 * 1024, 'x') });
    await first.close();
    const second = await createFileStore({ root });
    await second.append('a', { data: Buffer.from('safe') });
    await cp(root, copied, { recursive: true });
    await second.close();
    const third = await createFileStore({ root: copied });
    expect((await third.stat('a')).tail).toBe(24 * 1024 * 1024 + 4);
    await third.close();
  });

  it('records cut off keeps the store from starting, wherever the cut is', async () => {
    const root = await copy();
    const file = await journalFile(root);
    for (let bytes = await recordsEnd(file); bytes > 68; bytes -= 3) {
      await resize(file, bytes);
      await expect(createFileStore({ root }), `cut to ${bytes}`).rejects.toMatchObject({
        code: 'JOURNAL_CORRUPT',
        details: { file, position: bytes },
      });
    }
    for (const bytes of [63, 20, 1]) {
      await resize(file, bytes);
      await expect(createFileStore({ root })).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT', details: { file } });
    }
  });

  it('damage before the end keeps the store from starting, says where, and changes nothing', async () => {
    for (const index of [0, 1, RECORDS - 3]) {
      const root = await copy();
      const file = await journalFile(root);
      const position = (await records(file))[index] as number;
      // In the stream's id, which is ASCII: in what is random it might change nothing.
      await overwrite(file, position + 53, Buffer.from([0xff]));
      const before = await readFile(file);
      const error = await createFileStore({ root }).then(
        () => undefined,
        (thrown) => thrown,
      );
      expect(error).toMatchObject({ code: 'JOURNAL_CORRUPT', details: { file, position } });
      expect(error.message).toContain(file);
      expect(error.message).toContain(`byte ${position}`);
      expect((await readFile(file)).equals(before)).toBe(true);
      // Nor has it kept the lock.
      await expect(createFileStore({ root })).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
    }
  });

  it('a damaged length is found too', async () => {
    const root = await copy();
    const file = await journalFile(root);
    const position = (await records(file))[1] as number;
    await overwrite(file, position, Buffer.from([0, 0, 0, 0]));
    await expect(createFileStore({ root })).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT', details: { position } });
  });

  it('a damaged header keeps the store from starting', async () => {
    const root = await copy();
    const file = await journalFile(root);
    await overwrite(file, 20, Buffer.from([1]));
    await expect(createFileStore({ root })).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT', details: { file } });
  });

  it('a file that is gone, or was cut where a step of its growth ends, keeps the store from starting', async () => {
    const root = await mkdtemp(join(tmpdir(), 'millrace-corrupt-'));
    const copied = `${root}-left`;
    made.push(root, copied);
    const store = await createFileStore({ root, flushIntervalMs: 3_600_000 });
    await store.create('a');
    await store.append('a', { data: Buffer.alloc(JOURNAL_GROWTH_BYTES, 'x') });
    await store.append('a', { data: Buffer.from('the last') });
    await cp(root, copied, { recursive: true });
    await store.close();
    const file = await journalFile(copied);
    for (const bytes of [JOURNAL_GROWTH_BYTES, 0]) {
      await resize(file, bytes);
      await expect(createFileStore({ root: copied })).rejects.toMatchObject({
        code: 'JOURNAL_CORRUPT',
        details: { file, position: bytes },
      });
    }
    await rm(file);
    await expect(createFileStore({ root: copied })).rejects.toMatchObject({
      code: 'JOURNAL_CORRUPT',
      details: { file },
    });
    await mkdir(file);
    await expect(createFileStore({ root: copied })).rejects.toMatchObject({
      code: 'JOURNAL_CORRUPT',
      details: { file },
    });
  });

  it('the beginning of a file lost keeps the store from starting', async () => {
    const root = await copy();
    const file = await journalFile(root);
    await overwrite(file, 0, Buffer.alloc(4096));
    await expect(createFileStore({ root })).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT', details: { file } });
  });

  it('its list of files gone or damaged keeps the store from starting', async () => {
    const root = await copy();
    const file = join(root, '.millrace/journal.json');
    await rm(file);
    await expect(createFileStore({ root })).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT', details: { file } });
    for (const text of ['', '{', '{"version":1,"lsn":0,"files":{"0000.journal":"x"}}']) {
      await writeFile(file, text);
      await expect(createFileStore({ root })).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT', details: { file } });
    }
  });

  it('segments of version 1, which has no list, is replayed, and gets one', async () => {
    const root = await mkdtemp(join(tmpdir(), 'millrace-corrupt-'));
    made.push(root);
    await mkdir(join(root, '.millrace/journal'), { recursive: true });
    const file = join(root, '.millrace/journal/0000.journal');
    await writeFile(file, Buffer.from(VERSION_1, 'base64'));
    await resize(file, JOURNAL_GROWTH_BYTES);
    const store = await createFileStore({ root });
    expect(await store.stat('m')).toMatchObject({ json: true, closed: true, tail: 3 });
    expect(
      (await store.append('a', { data: Buffer.from('2'), producer: { id: 'p', epoch: 0, seq: 0 } })).duplicate,
    ).toBe(true);
    await store.append('a', { data: Buffer.from('3') });
    await store.close();
    expect(await contents(root)).toBe('123');
    const { files } = JSON.parse(await readFile(join(root, '.millrace/journal.json'), 'utf8'));
    expect(files['0000.journal']).toBe(JOURNAL_GROWTH_BYTES);
  });

  it('a segment missing keeps the store from starting', async () => {
    const root = await mkdtemp(join(tmpdir(), 'millrace-corrupt-'));
    const copied = `${root}-left`;
    made.push(root, copied);
    // The data file's sync waits, so that nothing is flushed and no segment freed before the copy is made.
    let goOn = () => {};
    const gate = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const held = new Set<number>();
    const store = await openFileStore(
      { root, journalSegmentBytes: 64 * 1024, journalBytesMax: 16 * 64 * 1024 },
      {
        ...nodeFileSystem,
        open: (path, flags) => {
          const fd = nodeFileSystem.open(path, flags);
          if (path === join(root, 'a')) held.add(fd);
          return fd;
        },
        sync: (fd) => (held.has(fd) ? gate : Promise.resolve()).then(() => nodeFileSystem.sync(fd)),
      },
    );
    await store.create('a');
    for (let index = 0; index < 4; index++) await store.append('a', { data: Buffer.alloc(40_000, 'x') });
    await cp(root, copied, { recursive: true });
    goOn();
    await store.close();
    const directory = join(copied, '.millrace/journal');
    const used: { file: string; number: number }[] = [];
    for (const name of await readdir(directory)) {
      const file = join(directory, name);
      const head = await readFile(file);
      if (head.toString('latin1', 0, 8) === 'MILLRJNL') used.push({ file, number: head.readUIntLE(16, 6) });
    }
    used.sort((a, b) => a.number - b.number);
    expect(used.length).toBeGreaterThanOrEqual(3);
    await rm(used[1]?.file as string);
    await expect(createFileStore({ root: copied })).rejects.toMatchObject({ code: 'JOURNAL_CORRUPT' });
  });
});
