import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { createFileStore } from '../../src/log/index.js';
import { startServer } from '../../src/server/index.js';

vi.mock('../../src/http/index.js', async (original) => ({
  ...(await original<object>()),
  createHandler: () => {
    throw new Error('no handler today');
  },
}));

it('frees the root when the handler cannot be made', async () => {
  const root = await mkdtemp(join(tmpdir(), 'millrace-server-'));
  await expect(startServer({ root, port: 0 })).rejects.toThrow('no handler today');
  const store = await createFileStore({ root });
  await store.close();
  await rm(root, { recursive: true });
});
