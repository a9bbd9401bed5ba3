import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { createFileStore, createMemoryStore, type Store } from '../../src/log/index.js';
import { serve } from '../conformance/serve.js';
import { HttpClient } from './http-client.js';
import { Interfaces } from './interfaces.js';
import { Random } from './random.js';

/** More with MILLRACE_PROPERTY_STEPS; the same again with the MILLRACE_PROPERTY_SEED that a failure names. */
const STEPS = Number(process.env.MILLRACE_PROPERTY_STEPS ?? 3000);
const SEED = Number(process.env.MILLRACE_PROPERTY_SEED ?? Math.floor(Math.random() * 2 ** 31));
const MS_PER_STEP_MAX = 100;

async function run(store: Store, seed: number): Promise<void> {
  const served = await serve({ store });
  const http = new HttpClient(served.url);
  const interfaces = new Interfaces(served.url, http, new Random(seed));
  const history: string[] = [];
  try {
    for (let step = 0; step < STEPS; step++) {
      history.push(await interfaces.step());
      if (step % 500 === 499) await interfaces.checkAll();
    }
    await interfaces.checkAll();
  } catch (error) {
    const last = history.slice(-10).join(', ');
    throw new Error(`seed ${seed}, step ${history.length} (after ${last}): ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    http.close();
    await served.close();
    await store.close();
  }
}

describe(`all interfaces at once answer as the model does, seed ${SEED}`, () => {
  test('on the memory store', () => run(createMemoryStore(), SEED), STEPS * MS_PER_STEP_MAX);

  test(
    'on the file store',
    async () => {
      const root = await mkdtemp(join(tmpdir(), 'millrace-property-'));
      try {
        await run(await createFileStore({ root }), SEED);
      } finally {
        await rm(root, { recursive: true, force: true });
      }
    },
    STEPS * MS_PER_STEP_MAX,
  );
});
