import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, test } from 'vitest';
import { createMemoryStore } from '../../src/log/index.js';
import { serve } from './serve.js';

const FOLLOWERS = 10_000;

const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** Starts all followers. Each of `marks` is reached when all of them have received it; `open` when all have asked. */
function followers(url: string, target: string, marks: readonly string[]) {
  const options = { port: Number(new URL(url).port), count: FOLLOWERS, target, marks };
  const file = fileURLToPath(new URL('followers.mjs', import.meta.url));
  const child = fork(file, [JSON.stringify(options)], { execArgv: [] });
  children.push(child);
  const reached = new Set<unknown>();
  const waiting = new Set<() => void>();
  child.on('message', (message) => {
    reached.add(message);
    for (const wake of waiting) wake();
  });
  return async (mark: 'open' | number) => {
    while (!reached.has(mark)) {
      await new Promise<void>((resolve, reject) => {
        waiting.add(resolve);
        child.once('exit', () => reject(new Error('the followers are gone')));
      });
      waiting.clear();
    }
  };
}

test('10,000 streams with a follower by SSE each', async () => {
  const store = createMemoryStore();
  const served = await serve({ store });
  for (let i = 0; i < FOLLOWERS; i++) await store.create(`s/${i}`, { contentType: 'text/plain' });
  const all = followers(served.url, '/s/#?offset=-1&live=sse', ['"upToDate":true', 'data:<#>\n']);
  await all(0);
  for (let i = 0; i < FOLLOWERS; i++) await store.append(`s/${i}`, { data: Buffer.from(`<${i}>`) });
  await all(1);
  await served.close();
  await store.close();
}, 110_000);

test('one stream with 10,000 followers by long-poll', async () => {
  const store = createMemoryStore();
  const served = await serve({ store, limits: { longPollTimeoutMs: 100_000 } });
  await store.create('s', { contentType: 'application/json' });
  const answer = 'Stream-Next-Offset: 0000000000000008';
  const all = followers(served.url, '/s?offset=0000000000000000&live=long-poll', [answer, '[{"n":1}]']);
  await all('open');
  await store.append('s', { data: Buffer.from('{"n":1}\n') });
  await all(1);
  await served.close();
  await store.close();
}, 110_000);
