import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFileStore } from '../../src/log/index.js';

describe('after everything in the journal was flushed', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-numbers-'));
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  /** A store that was closed properly, and so left nothing in the journal. */
  const flushed = async () => {
    const root = join(folder, 'root');
    const store = await createFileStore({ root, createRoot: true });
    for (let each = 0; each < 20; each++) {
      await store.create('log.txt', { contentType: 'text/plain' }).catch(() => {});
      await store.append('log.txt', { data: Buffer.from('line\n'), producer: { id: 'p', epoch: 0, seq: each } });
    }
    await store.close();
    return root;
  };

  it.each([1, 2, 3])('what is committed next survives a crash (after %i starts without a write)', async (starts) => {
    const root = await flushed();
    for (let each = 1; each < starts; each++) await (await createFileStore({ root })).close();
    const store = await createFileStore({ root });
    await store.append('log.txt', {
      data: Buffer.from('the end\n'),
      close: true,
      producer: { id: 'p', epoch: 1, seq: 0 },
    });
    // As a crash leaves it: the files of this instant, under a root of their own.
    const crashed = join(folder, 'crashed');
    await cp(root, crashed, { recursive: true });
    await store.close();

    const recovered = await createFileStore({ root: crashed });
    const info = await recovered.stat('log.txt');
    expect(info.closed).toBe(true);
    expect(info.tail).toBe(20 * 5 + 8);
    const again = { data: Buffer.from('the end\n'), close: true, producer: { id: 'p', epoch: 1, seq: 0 } };
    expect((await recovered.append('log.txt', again)).duplicate).toBe(true);
    await recovered.close();
  });

  it('a deletion that is committed next stays', async () => {
    const root = await flushed();
    const store = await createFileStore({ root });
    await store.delete('log.txt');
    const crashed = join(folder, 'crashed');
    await cp(root, crashed, { recursive: true });
    await store.close();
    const recovered = await createFileStore({ root: crashed });
    await expect(recovered.stat('log.txt')).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
    await recovered.close();
  });
});
