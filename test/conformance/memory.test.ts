import { runConformanceTests } from '@durable-streams/server-conformance-tests';
import { afterAll, beforeAll, describe } from 'vitest';
import { createMemoryStore } from '../../src/log/index.js';
import { type Served, serve } from './serve.js';

/** Every long-poll of the suite ends by data or by this. */
const LONG_POLL_TIMEOUT_MS = 2000;

describe('Durable Streams on the memory store, with pages of foreign origins kept out', () => {
  const store = createMemoryStore();
  const config = { baseUrl: '', subscriptions: true, longPollTimeoutMs: LONG_POLL_TIMEOUT_MS };
  let served: Served;

  beforeAll(async () => {
    served = await serve({
      store,
      originCheck: { checkHost: true },
      limits: { longPollTimeoutMs: LONG_POLL_TIMEOUT_MS },
    });
    config.baseUrl = served.url;
  });

  afterAll(async () => {
    await served.close();
    await store.close();
  });

  runConformanceTests(config);
});
