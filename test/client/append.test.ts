import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { append, openAppend } from '../../src/client/append.js';
import { create, head, read } from '../../src/client/requests.js';
import type { AppendSource } from '../../src/client/source.js';
import { PRODUCERS_MAX } from '../../src/log/index.js';
import { token } from '../token.js';
import { removeRoots, type StreamServer, startStreamServer, stores } from './stream-server.js';

let server: StreamServer;
beforeEach(async () => {
  server = await startStreamServer();
});
afterEach(async () => {
  await server.kill();
  await server.store.close();
  await removeRoots();
});

const quick = { retryDelayMinMs: 5, retryDelayMaxMs: 20 };

async function contentOf(path: string): Promise<string> {
  const { data } = await read(`${server.url}${path}`);
  return Buffer.from(data).toString();
}

async function* giving(parts: readonly (string | Uint8Array)[]): AsyncGenerator<string | Uint8Array> {
  yield* parts;
  throw new Error('the source died');
}

function* givingAtOnce(parts: readonly string[]): Generator<string> {
  yield* parts;
  throw new Error('the source died');
}

function webStreamOf<T>(parts: AsyncIterator<T>): ReadableStream<T> {
  return new ReadableStream<T>({
    async pull(controller) {
      const { done, value } = await parts.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
  });
}

it('an append leaves no producer behind in the stream, unless it was given an id', async () => {
  const url = `${server.url}/a.txt`;
  await append(url, 'x');
  const known = Array.from({ length: PRODUCERS_MAX - 1 }, (_, index) => ({ id: `${index}`, epoch: 0, seq: 0 }));
  await Promise.all(known.map((producer) => server.store.append('a.txt', { data: Buffer.from('.'), producer })));
  for (let times = 0; times < 5; times++) await append(url, 'x');
  await append(url, 'x', { producerId: 'mine' });
  await expect(append(url, 'x')).rejects.toMatchObject({ code: 'PRODUCERS_TOO_MANY', details: { status: 429 } });
  await append(url, 'x', { producerId: 'mine', epoch: 1 });
  expect((await head(url)).offset).toEqual(token(PRODUCERS_MAX - 1 + 8));
});

describe('append', () => {
  it.each([
    ['a string', () => 'one two'],
    ['bytes', () => Buffer.from('one two')],
    ['an array of strings', () => ['one', ' ', 'two']],
    [
      'a generator of bytes and strings',
      () =>
        (function* () {
          yield 'one';
          yield Buffer.from(' two');
        })(),
    ],
    [
      'an async generator',
      () =>
        (async function* () {
          yield 'one';
          yield ' two';
        })(),
    ],
    ['a ReadableStream', () => new Blob(['one ', 'two']).stream()],
  ])('appends %s and says where it ends', async (_name, source) => {
    const result = await append(`${server.url}/a.txt`, source());
    expect(result).toEqual({ offset: token(7), bytes: 7 });
    expect(await contentOf('/a.txt')).toBe('one two');
  });

  it('appends nothing and still creates the stream', async () => {
    expect(await append(`${server.url}/empty.txt`, [])).toEqual({ offset: token(0), bytes: 0 });
    expect((await head(`${server.url}/empty.txt`)).offset).toEqual(token(0));
  });

  it('names the stream that its URL names', async () => {
    for (const path of ['/a%2Fb', '/a/b', '/.a', '/a/.updates', '/%252Ea']) {
      await append(`${server.url}${path}`, path);
      await append(new URL(path, server.url), '!');
      expect(await contentOf(path)).toBe(`${path}!`);
    }
    const { streams } = await server.store.list();
    expect(streams.map(({ path }) => path)).toEqual(['%2Ea', '.a', 'a%2Fb', 'a/.updates', 'a/b']);
  });

  it('goes on behind what is there', async () => {
    await append(`${server.url}/a.txt`, 'one');
    expect(await append(`${server.url}/a.txt`, 'two')).toEqual({ offset: token(6), bytes: 3 });
    expect(await contentOf('/a.txt')).toBe('onetwo');
  });

  it('closes the stream for good when asked to', async () => {
    await append(`${server.url}/a.txt`, 'all', { closeStream: true });
    expect(await head(`${server.url}/a.txt`)).toMatchObject({ closed: true, offset: token(3) });
    await expect(append(`${server.url}/a.txt`, 'more')).rejects.toMatchObject({ code: 'STREAM_CLOSED' });
  });

  it('is refused with a reason while another appender is at it, and accepted once that one has gone', async () => {
    const first = await openAppend(`${server.url}/a.txt`);
    await expect(append(`${server.url}/a.txt`, 'mine')).rejects.toMatchObject({
      code: 'APPENDER_ACTIVE',
      details: { status: 403 },
    });
    await first.close();
    await append(`${server.url}/a.txt`, 'mine');
    expect(await contentOf('/a.txt')).toBe('mine');
  });

  it('tells at once, and without trying again, that there is no server', async () => {
    await server.kill();
    const started = Date.now();
    await expect(append(`${server.url}/a.txt`, 'x')).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    expect(Date.now() - started).toBeLessThan(5_000);
    const { port } = server;
    await expect(append(`http://localhost:${port}/a.txt`, 'x')).rejects.toThrow(/ECONNREFUSED/);
    await server.store.close();
    server = await startStreamServer();
  });

  it('refuses what is not the URL of a stream', async () => {
    await expect(append('ftp://localhost/a.txt', 'x')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(append('not a url', 'x')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(append(`${server.url}/../-/x`, 'x')).rejects.toMatchObject({ name: 'MillraceError' });
  });

  it.each<[name: string, source: () => AppendSource, path: string, kept: string]>([
    ['text, in the same turn', () => giving(['partial ', 'answer']), 'f.txt', 'partial answer'],
    [
      'bytes, in the same turn',
      () => giving([Buffer.from('partial '), Buffer.from('answer')]),
      'f.bin',
      'partial answer',
    ],
    ['text of a synchronous iterable', () => givingAtOnce(['partial ', 'answer']), 'f.txt', 'partial answer'],
    ['the whole lines of NDJSON', () => giving([Buffer.from('1\n2\n{"half":')]), 'f.json', '1\n2\n'],
    ['more than a frame', () => giving(['x'.repeat(200_000)]), 'f.txt', 'x'.repeat(200_000)],
    [
      'what a ReadableStream gave before it errored',
      () => webStreamOf(giving(['partial ', 'answer'])),
      'f.txt',
      'partial answer',
    ],
    [
      'what came before a chunk that is none',
      () => ['partial ', 'answer', 5 as unknown as string],
      'f.txt',
      'partial answer',
    ],
  ])('keeps what a source gave before it failed: %s', async (_name, source, path, kept) => {
    const options = path.endsWith('.json') ? { contentType: 'application/json' } : {};
    await expect(append(`${server.url}/${path}`, source(), options)).rejects.toThrow(/died|must be strings/);
    const { data } = await server.store.read(path, 0, { maxBytes: 1_000_000 });
    expect(Buffer.from(data).toString()).toBe(kept);
  });

  it('passes on what the source throws, and leaves the stream free', async () => {
    const source = async function* () {
      yield 'before';
      throw new Error('the source broke');
    };
    await expect(append(`${server.url}/a.txt`, source())).rejects.toThrow('the source broke');
    await append(`${server.url}/a.txt`, 'after', { ...quick });
    expect(await contentOf('/a.txt')).toContain('after');
  });

  it('fails while its source is silent, when a newer appender takes over', async () => {
    const silent = new ReadableStream<string>({ start: (controller) => controller.enqueue('old ') });
    const older = append(`${server.url}/a.txt`, silent, { producerId: 'p', epoch: 0 });
    const newer = await (async () => {
      const started = async () => (await head(`${server.url}/a.txt`).catch(() => ({ offset: '' }))).offset;
      while (!(await started()).startsWith('0000000000000004')) {}
      return openAppend(`${server.url}/a.txt`, { producerId: 'p', epoch: 1 });
    })();
    await expect(older).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    await newer.close();
  });

  it('carries on a producer, with the same epoch or a higher one', async () => {
    for (const [text, epoch] of [
      ['one ', 0],
      ['two ', 0],
      ['three ', 4],
      ['four', 4],
    ] as const) {
      await append(`${server.url}/a.txt`, text, { producerId: 'p', epoch });
    }
    expect(await contentOf('/a.txt')).toBe('one two three four');
    await expect(append(`${server.url}/a.txt`, 'late', { producerId: 'p', epoch: 3 })).rejects.toMatchObject({
      code: 'PRODUCER_FENCED',
      details: { epoch: 4 },
    });
  });

  it.each<[name: string, source: unknown]>([
    ['numbers', [1, 2, 3]],
    ['a number', 1],
    ['nothing', undefined],
    ['null', null],
    ['other typed arrays', new Uint16Array(3)],
    ['an array of other typed arrays', ['before', new Uint16Array(3)]],
    ['an ArrayBuffer', new ArrayBuffer(3)],
    ['an array of objects', [{ length: 3 }]],
    ['a stream of null', new ReadableStream({ start: (controller) => controller.enqueue(null) })],
  ])('refuses %s, instead of appending nothing', async (_name, source) => {
    const appending = append(`${server.url}/a.txt`, source as string);
    await expect(appending).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await append(`${server.url}/a.txt`, 'free');
  });

  it.each(['the first connection is refused', 'its signal is aborted', 'it is fenced'])(
    'closes its source when %s, though that is silent',
    async (when) => {
      const closed: string[] = [];
      const stream = new ReadableStream<string>({
        start: (controller) => controller.enqueue('x'),
        cancel: () => void closed.push('ReadableStream'),
      });
      const readable = new Readable({ read: () => undefined, destroy: () => void closed.push('Readable') });
      readable.push('x');
      const iterable: AsyncIterable<string> = {
        [Symbol.asyncIterator]: () => ({
          next: () => new Promise(() => undefined),
          return: async () => {
            closed.push('iterator');
            throw new Error('not told');
          },
        }),
      };
      for (const [i, source] of [stream, readable, iterable].entries()) {
        const url = `${server.url}/${i}.txt`;
        const controller = new AbortController();
        const first = when.includes('refused') ? await openAppend(url) : undefined;
        const appending = append(url, source, { producerId: 'p', signal: controller.signal });
        const failed = expect(appending).rejects.toBeDefined();
        if (first === undefined)
          await expect
            .poll(() =>
              head(url).then(
                () => true,
                () => false,
              ),
            )
            .toBe(true);
        if (when.includes('aborted')) controller.abort();
        if (when.includes('fenced')) await (await openAppend(url, { producerId: 'p', epoch: 1 })).close();
        await failed;
        await first?.close();
      }
      await expect.poll(() => closed).toEqual(['ReadableStream', 'Readable', 'iterator']);
    },
  );

  it('makes the stream of the type that it is given', async () => {
    await append(`${server.url}/made`, '{"n":1}', { contentType: 'application/json' });
    expect(await head(`${server.url}/made`)).toMatchObject({
      contentType: 'application/json',
      offset: token(8),
    });
    await append(`${server.url}/made`, '{"n":2}');
    expect(JSON.parse(await contentOf('/made'))).toEqual([{ n: 1 }, { n: 2 }]);
  });

  it('ends with the reason of an aborted signal', async () => {
    const controller = new AbortController();
    const appending = append(`${server.url}/a.txt`, new ReadableStream<string>(), { signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(appending).rejects.toThrow('enough');
  });

  it('appends NDJSON bytes and JSON strings to a JSON stream as messages', async () => {
    await create(`${server.url}/a.json`, { contentType: 'application/json' });
    await append(`${server.url}/a.json`, [Buffer.from('{"n":1}\n{"n'), Buffer.from('":2}\n[3,4]\n'), '{"n":5}']);
    expect(JSON.parse(await contentOf('/a.json'))).toEqual([{ n: 1 }, { n: 2 }, [3, 4], { n: 5 }]);
  });

  it('keeps the bytes of a stream that is of a JSON type, and still bytes', async () => {
    const bytes = '{"a": 1}\n{"b":2}\n';
    for (const part of [Buffer.from(bytes), bytes]) await append(`${server.url}/a.json`, part);
    expect(await head(`${server.url}/a.json`)).toMatchObject({ contentType: 'application/json' });
    expect(await contentOf('/a.json')).toBe(bytes + bytes);
  });

  it('does not wait for ever for a line that is longer than what may be unacknowledged', async () => {
    await create(`${server.url}/a.json`, { contentType: 'application/json' });
    const line = Buffer.from(`"${'x'.repeat(5_000)}"\n`);
    const parts = [line.subarray(0, 2_000), line.subarray(2_000, 4_000), line.subarray(4_000), line];
    await append(`${server.url}/a.json`, parts, { unacknowledgedBytesMax: 1_000 });
    expect((await head(`${server.url}/a.json`)).offset).toEqual(token(10006));
  });

  it('appends what stands before a line that the server would not take, and says which line that is', async () => {
    await server.kill();
    server = await startStreamServer({ store: server.store, limits: { frameBytesMax: 1_000 } });
    await create(`${server.url}/a.json`, { contentType: 'application/json' });
    const lines = Buffer.from(`1\n2\n"${'x'.repeat(1_000)}"\n4\n`);
    for (const source of [lines, [lines.subarray(0, 600), lines.subarray(600)], lines.subarray(0, -3)]) {
      await expect(append(`${server.url}/a.json`, source)).rejects.toMatchObject({
        code: 'APPEND_TOO_LARGE',
        details: { line: 3, lineBytesMax: 998 },
      });
    }
    expect(JSON.parse(await contentOf('/a.json'))).toEqual([1, 2, 1, 2, 1, 2]);
  });

  it('names the NDJSON line that is not JSON, and appends those before it', async () => {
    for (const [i, bad] of ['1,2\n', '{"a":1\n"b":2}\n', '[1\n2]\n', '{"cut":'].entries()) {
      const url = `${server.url}/${i}.json`;
      await create(url, { contentType: 'application/json' });
      const source = [Buffer.from('"before"\n'), Buffer.from(bad)];
      await expect(append(url, source, { closeStream: true })).rejects.toMatchObject({
        code: 'INVALID_JSON',
        details: { line: 2 },
      });
      expect(JSON.parse(Buffer.from((await read(url)).data).toString())).toEqual(['before']);
      const stream = await openAppend(url);
      const writer = stream.getWriter();
      writer.closed.catch(() => undefined);
      await expect(writer.write(Buffer.from(`"again"\n${bad.replace(/\n?$/, '\n')}`))).rejects.toMatchObject({
        code: 'INVALID_JSON',
      });
      await append(url, '"free"');
      expect(JSON.parse(Buffer.from((await read(url)).data).toString())).toEqual(['before', 'again', 'free']);
    }
  });

  it('says so when what is written to a JSON stream is not JSON', async () => {
    await create(`${server.url}/a.json`, { contentType: 'application/json' });
    await expect(append(`${server.url}/a.json`, 'not json')).rejects.toMatchObject({ code: 'INVALID_JSON' });
  });
});

describe('openAppend', () => {
  it('gives a WritableStream whose close means: everything is durable', async () => {
    const stream = await openAppend(`${server.url}/a.txt`);
    const writer = stream.getWriter();
    for (let i = 0; i < 1_000; i++) {
      await writer.ready;
      void writer.write(`${i}\n`);
    }
    await writer.close();
    expect(stream.offset).toEqual(token(3890));
    expect(await contentOf('/a.txt')).toBe(Array.from({ length: 1_000 }, (_, i) => `${i}\n`).join(''));
  });

  it('makes the writer wait while too much is unacknowledged', async () => {
    const stream = await openAppend(`${server.url}/a.bin`, { unacknowledgedBytesMax: 1_000, frameBytesMax: 100 });
    const writer = stream.getWriter();
    await writer.write(new Uint8Array(1_000));
    // Nothing of it can be acknowledged within this turn of the event loop.
    let accepted = false;
    const more = writer.write(new Uint8Array(1_000)).then(() => {
      accepted = true;
    });
    await Promise.resolve();
    expect(accepted).toBe(false);
    await more;
    await writer.close();
    expect((await head(`${server.url}/a.bin`)).offset).toEqual(token(2000));
  });

  it('is errored when it is fenced', async () => {
    const older = await openAppend(`${server.url}/a.txt`, { producerId: 'p', epoch: 3 });
    expect(older.producer).toEqual({ id: 'p', epoch: 3 });
    const writer = older.getWriter();
    const newer = await openAppend(`${server.url}/a.txt`, { producerId: 'p', epoch: 4 });
    await expect(writer.closed).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    await newer.close();
  });

  it('is errored by what is neither a string nor bytes, and leaves the stream free', async () => {
    const stream = await openAppend(`${server.url}/a.txt`);
    const writer = stream.getWriter();
    writer.closed.catch(() => undefined);
    const wrong = new Uint16Array(3) as unknown as Uint8Array;
    await expect(writer.write(wrong)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect.poll(() => append(`${server.url}/a.txt`, 'free').then(() => 'free', String)).toBe('free');
  });

  it('leaves at once on abort: the stream is free', async () => {
    const stream = await openAppend(`${server.url}/a.txt`);
    await stream.abort('changed my mind');
    await append(`${server.url}/a.txt`, 'next');
    expect(await contentOf('/a.txt')).toBe('next');
  });
});

describe.each(Object.entries(stores))('an appender whose connection breaks, %s', (_name, makeStore) => {
  beforeEach(async () => {
    await server.kill();
    await server.store.close();
    server = await startStreamServer({ store: await makeStore() });
  });

  it('resumes, and loses and doubles nothing', async () => {
    const lines = Array.from({ length: 3_000 }, (_, i) => `line ${i}\n`);
    const stream = await openAppend(`${server.url}/a.txt`, {
      ...quick,
      frameBytesMax: 64,
      unacknowledgedBytesMax: 2_048,
    });
    const writer = stream.getWriter();
    for (const [i, line] of lines.entries()) {
      await writer.write(line);
      if (i % 500 === 250) server.cut();
    }
    await writer.close();
    expect(await contentOf('/a.txt')).toBe(lines.join(''));
    expect(stream.producer.epoch).toBeGreaterThanOrEqual(6);
  });

  it('waits for a server that restarts, and comes back when it drains', async () => {
    const { port, store } = server;
    const stream = await openAppend(`${server.url}/a.txt`, quick);
    const writer = stream.getWriter();
    await writer.write('before ');
    await server.drain();
    const closed = writer.write('while it was away').then(() => writer.close());
    server = await startStreamServer({ port, store });
    await closed;
    expect(await contentOf('/a.txt')).toBe('before while it was away');
  });

  it('does not take a stream that was made anew as bytes for the JSON stream that it had', async () => {
    const { port } = server;
    await create(`${server.url}/a.json`, { contentType: 'application/json' });
    const stream = await openAppend(`${server.url}/a.json`, quick);
    const writer = stream.getWriter();
    await server.kill();
    await server.store.close();
    const written = writer.write(Buffer.from('1\n2\n')).catch(() => undefined);
    server = await startStreamServer({ port });
    await expect(writer.closed).rejects.toMatchObject({ code: 'RESUME_FAILED' });
    await written;
    expect((await head(`${server.url}/a.json`)).offset).toEqual(token(0));
  });

  it('fails with what onRetry throws', async () => {
    const onRetry = () => {
      throw new Error('no retries here');
    };
    const appending = append(`${server.url}/a.txt`, new ReadableStream<string>(), { ...quick, onRetry });
    const failed = expect(appending).rejects.toThrow('no retries here');
    await expect
      .poll(() =>
        head(`${server.url}/a.txt`).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 50));
    server.cut();
    await failed;
  });

  it('gives up after retryMs, and says so', async () => {
    const stream = await openAppend(`${server.url}/a.txt`, { ...quick, retryMs: 100 });
    const writer = stream.getWriter();
    await server.kill();
    await expect(writer.closed).rejects.toMatchObject({ code: 'RESUME_FAILED', details: { retryMs: 100 } });
    await expect(writer.write('late')).rejects.toMatchObject({ code: 'RESUME_FAILED' });
    await server.store.close();
    server = await startStreamServer();
  });

  it('says so when the stream was made anew, also by another appender of the same name', async () => {
    const { store, port } = server;
    const stream = await openAppend(`${server.url}/a.txt`, { ...quick, producerId: 'p' });
    const writer = stream.getWriter();
    await writer.write('acknowledged');
    while (!stream.offset.startsWith('0000000000000012')) await new Promise((resolve) => setImmediate(resolve));
    // Gone meanwhile, so that it does not come back before the stream is another one.
    await server.kill();
    await store.delete('a.txt');
    await store.create('a.txt');
    await store.append('a.txt', { data: Buffer.from('others'), producer: { id: 'p', epoch: 0, seq: 0 } });
    server = await startStreamServer({ port, store });
    await expect(writer.closed).rejects.toMatchObject({ code: 'RESUME_FAILED' });
    expect(await contentOf('/a.txt')).toBe('others');
  });

  it('says so when the server has lost what it had acknowledged', async () => {
    const { port } = server;
    const stream = await openAppend(`${server.url}/a.txt`, quick);
    const writer = stream.getWriter();
    await writer.write('acknowledged');
    while (!stream.offset.startsWith('0000000000000012')) await new Promise((resolve) => setImmediate(resolve));
    await server.kill();
    await server.store.close();
    server = await startStreamServer({ port });
    await expect(writer.closed).rejects.toMatchObject({ code: 'RESUME_FAILED' });
    // Its last connection is gone as well: the stream is free.
    await expect
      .poll(() => append(`${server.url}/a.txt`, 'next').then(() => 'free', String), { timeout: 5_000 })
      .toBe('free');
  });
});
