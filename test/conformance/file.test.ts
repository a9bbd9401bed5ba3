import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runConformanceTests } from '@durable-streams/server-conformance-tests';
import { afterAll, beforeAll, describe } from 'vitest';
import { createFileStore, type Store } from '../../src/log/index.js';
import { type Served, serve } from './serve.js';

/** Every long-poll of the suite ends by data or by this. */
const LONG_POLL_TIMEOUT_MS = 2000;

describe('Durable Streams on the file store', () => {
  const config = { baseUrl: '', subscriptions: true, longPollTimeoutMs: LONG_POLL_TIMEOUT_MS };
  let root: string;
  let store: Store;
  let served: Served;

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'millrace-conformance-'));
    store = await createFileStore({ root });
    served = await serve({ store, limits: { longPollTimeoutMs: LONG_POLL_TIMEOUT_MS } });
    config.baseUrl = served.url;
  });

  afterAll(async () => {
    await served.close();
    await store.close();
    await rm(root, { recursive: true, force: true });
  });

  runConformanceTests(config);
});
