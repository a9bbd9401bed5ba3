import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DurableStream, FetchError, IdempotentProducer, stream } from '@durable-streams/client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createFileStore, type Store } from '../../src/log/index.js';
import { type Served, serve } from './serve.js';

/** The client of the ecosystem in its own terms, against a file store, through restarts of our server. */

let root: string;
let store: Store;
let served: Served;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'millrace-client-'));
  store = await createFileStore({ root });
  served = await serve({ store });
});

afterEach(async () => {
  await served.close();
  await store.close();
  await rm(root, { recursive: true, force: true });
});

/** Ends the server and the store, and starts both anew on the same port. */
async function restart(): Promise<void> {
  const { port } = new URL(served.url);
  await served.close();
  await store.close();
  store = await createFileStore({ root });
  served = await serve({ store }, Number(port));
}

const quiet = { warnOnHttp: false };
const urlOf = (path: string) => `${served.url}/${path}`;
const create = (path: string, contentType: string) => DurableStream.create({ url: urlOf(path), contentType, ...quiet });
const messages = (from: number, count: number) => Array.from({ length: count }, (_, i) => ({ n: from + i }));

async function readAll<T>(path: string): Promise<T[]> {
  const response = await stream<T>({ url: urlOf(path), live: false, ...quiet });
  return response.json();
}

describe('the official client', () => {
  test('creates, appends, reads and deletes', async () => {
    const handle = await create('plain.txt', 'text/plain');
    await handle.append('one ');
    await handle.append('two');
    const response = await handle.stream({ live: false });
    expect(await response.text()).toBe('one two');
    expect(await handle.head()).toMatchObject({ exists: true, contentType: 'text/plain', streamClosed: false });
    await handle.delete();
    expect(await DurableStream.head({ url: urlOf('plain.txt'), ...quiet })).toEqual({ exists: false });
  });

  test('keeps its appends in order and whole when it batches them itself', async () => {
    const handle = await create('batched', 'application/json');
    await Promise.all(messages(0, 200).map((message) => handle.append(JSON.stringify(message))));
    expect(await readAll('batched')).toEqual(messages(0, 200));
  });

  test('reads more than one piece to the end', async () => {
    const handle = await create('large', 'application/octet-stream');
    const part = new Uint8Array(700_000).map((_, i) => i % 251);
    for (let i = 0; i < 5; i++) await handle.append(part);
    const body = await (await handle.stream({ live: false })).body();
    expect(body.length).toBe(3_500_000);
    expect(Buffer.compare(Buffer.from(body.subarray(2_800_000)), Buffer.from(part))).toBe(0);
    await create('many', 'application/json');
    const padded = messages(0, 3000).map((message) => ({ ...message, padding: 'x'.repeat(500) }));
    for (let i = 0; i < 3; i++) {
      // By hand: the client would make one message of the array.
      const body = JSON.stringify(padded.slice(i * 1000, i * 1000 + 1000));
      await fetch(urlOf('many'), { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    }
    expect(await readAll('many')).toEqual(padded);
  });

  for (const live of ['long-poll', 'sse'] as const) {
    test(`follows by ${live} through a restart, from catching up to the closure, everything once`, async () => {
      const handle = await create('live', 'application/json');
      await handle.append(JSON.stringify({ n: 0 }));
      const got: unknown[] = [];
      const response = await stream({
        url: urlOf('live'),
        live,
        offset: '-1',
        ...quiet,
        sseResilience: { logWarnings: false },
        backoffOptions: { initialDelay: 20, maxDelay: 100, multiplier: 2 },
      });
      let reached: () => void = () => {};
      const atLeast = (count: number) =>
        new Promise<void>((resolve) => {
          reached = () => got.length >= count && resolve();
          reached();
        });
      response.subscribeJson((batch) => {
        got.push(...batch.items);
        reached();
      });
      await atLeast(1);
      await handle.append(JSON.stringify({ n: 1 }));
      await atLeast(2);
      await restart();
      await handle.append(JSON.stringify({ n: 2 }));
      await atLeast(3);
      await handle.close({ body: JSON.stringify({ n: 3 }) });
      await atLeast(4);
      await response.closed;
      expect(got).toEqual(messages(0, 4));
      expect(response.streamClosed).toBe(true);
    });
  }

  test('follows text and bytes as they were written', async () => {
    const text = 'naïve — 漢字 🙂\n\nline\ttwo';
    const handle = await create('text', 'text/plain; charset=utf-8');
    const bytes = await create('bytes', 'application/x-thing');
    await handle.append(text);
    await bytes.append(Uint8Array.of(0, 255, 10, 13, 128));
    await handle.close();
    await bytes.close();
    const asText = await stream({ url: urlOf('text'), live: 'sse', offset: '-1', ...quiet });
    expect(await asText.text()).toBe(text);
    const asBytes = await stream({ url: urlOf('bytes'), live: 'sse', offset: '-1', ...quiet });
    expect([...(await asBytes.body())]).toEqual([0, 255, 10, 13, 128]);
  });

  test('goes on from a saved offset after a restart', async () => {
    const handle = await create('saved', 'application/json');
    for (const message of messages(0, 3)) await handle.append(JSON.stringify(message));
    const { offset } = await stream({ url: urlOf('saved'), live: false, ...quiet });
    await handle.append(JSON.stringify({ n: 3 }));
    await restart();
    const rest = await stream({ url: urlOf('saved'), live: false, offset, ...quiet });
    expect(await rest.json()).toEqual([{ n: 3 }]);
  });

  test('gets a typed refusal for a sequence that does not advance, and for a closed stream', async () => {
    const handle = await create('refused', 'text/plain');
    await handle.append('a', { seq: '0002' });
    await expect(handle.append('b', { seq: '0001' })).rejects.toMatchObject({ status: 409 });
    await handle.close();
    await expect(handle.append('c')).rejects.toMatchObject({ status: 409, headers: { 'stream-closed': 'true' } });
    await expect(DurableStream.create({ url: urlOf('refused'), contentType: 'text/html', ...quiet })).rejects.toThrow();
  });
});

describe('its idempotent producer', () => {
  const failOn = (errors: Error[]) => (error: Error) => errors.push(error);

  test('batches and pipelines, everything once and in order', async () => {
    const handle = await create('produced', 'application/json');
    const errors: Error[] = [];
    const producer = new IdempotentProducer(handle, 'p', { maxBatchBytes: 200, lingerMs: 1, onError: failOn(errors) });
    for (const message of messages(0, 500)) producer.append(JSON.stringify(message));
    await producer.flush();
    await producer.detach();
    expect(errors).toEqual([]);
    expect(await readAll('produced')).toEqual(messages(0, 500));
  });

  test('retries what it cannot know to have arrived, without a duplicate', async () => {
    const handle = await create('retried', 'application/json');
    const errors: Error[] = [];
    let requests = 0;
    const lossy: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      // The append is durable, but its answer got lost: whoever waits for it sends it again.
      return requests++ % 3 === 0 ? fetch(input, init) : response;
    };
    const producer = new IdempotentProducer(handle, 'p', {
      fetch: lossy,
      maxBatchBytes: 100,
      maxInFlight: 1,
      lingerMs: 1,
      onError: failOn(errors),
    });
    for (const message of messages(0, 60)) producer.append(JSON.stringify(message));
    await producer.flush();
    expect(errors).toEqual([]);
    expect(await readAll('retried')).toEqual(messages(0, 60));
  });

  test('goes on through a restart of the server', async () => {
    const handle = await create('restarted', 'application/json');
    const errors: Error[] = [];
    const options = { lingerMs: 1, maxInFlight: 1, onError: failOn(errors) };
    const producer = new IdempotentProducer(handle, 'p', options);
    for (const message of messages(0, 20)) producer.append(JSON.stringify(message));
    await producer.flush();
    await restart();
    for (const message of messages(20, 20)) producer.append(JSON.stringify(message));
    await producer.flush();
    expect(errors).toEqual([]);
    expect(await readAll('restarted')).toEqual(messages(0, 40));
  });

  test('restarted itself, takes over with a higher epoch and fences the one before, also after our restart', async () => {
    const handle = await create('fenced', 'application/json');
    const errors: Error[] = [];
    const first = new IdempotentProducer(handle, 'p', { lingerMs: 1, onError: failOn(errors) });
    first.append(JSON.stringify({ n: 0 }));
    await first.flush();
    const second = new IdempotentProducer(handle, 'p', { autoClaim: true, epoch: 1, lingerMs: 1 });
    second.append(JSON.stringify({ n: 1 }));
    await second.flush();
    await restart();
    first.append(JSON.stringify({ n: 666 }));
    await first.flush().catch(() => {});
    expect(errors[0]?.name).toBe('StaleEpochError');
    second.append(JSON.stringify({ n: 2 }));
    await second.close(JSON.stringify({ n: 3 }));
    expect(await readAll('fenced')).toEqual(messages(0, 4));
  });
});

test('an error of ours is an error of the client', async () => {
  const missing = stream({ url: urlOf('missing'), live: false, ...quiet });
  await expect(missing).rejects.toBeInstanceOf(FetchError);
  await expect(missing).rejects.toMatchObject({ status: 404 });
});
