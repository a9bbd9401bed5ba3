import { Readable } from 'node:stream';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { append, openAppend } from '../../src/client/append.js';
import { type Follower, type FollowOptions, follow } from '../../src/client/follow.js';
import { close, create, head, read, remove } from '../../src/client/requests.js';
import { formatOffset } from '../../src/wire/offset.js';
import { token } from '../token.js';
import { collect, removeRoots, type StreamServer, startStreamServer, stores, take } from './stream-server.js';

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

async function text(follower: Follower): Promise<string> {
  return (await collect(follower)).toString();
}

describe('follow', () => {
  it('without an appender gives all there is, and ends', async () => {
    await append(`${server.url}/a.txt`, 'all there is');
    const follower = follow(`${server.url}/a.txt`);
    expect(await text(follower)).toBe('all there is');
    expect(follower.offset).toEqual(token(12));
  });

  it('with an appender goes on until that one leaves', async () => {
    const writer = (await openAppend(`${server.url}/a.txt`)).getWriter();
    await writer.write('so far, ');
    const follower = follow(`${server.url}/a.txt`);
    const chunks = follower[Symbol.asyncIterator]();
    expect((await take(chunks, 8)).toString()).toBe('so far, ');
    await writer.write('and live');
    expect((await take(chunks, 8)).toString()).toBe('and live');
    const end = chunks.next();
    await writer.close();
    expect(await end).toEqual({ done: true, value: undefined });
  });

  it('with live goes on past appenders, until the stream is closed for good', async () => {
    await append(`${server.url}/a.txt`, 'one ');
    const following = text(follow(`${server.url}/a.txt`, { live: true }));
    await append(`${server.url}/a.txt`, 'two ');
    await append(`${server.url}/a.txt`, 'three');
    await close(`${server.url}/a.txt`);
    expect(await following).toBe('one two three');
  });

  it('says so when there is no such stream', async () => {
    await expect(text(follow(`${server.url}/none.txt`))).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
    await expect(text(follow(`${server.url}/none.txt`, { live: true }))).rejects.toMatchObject({
      code: 'STREAM_NOT_FOUND',
    });
  });

  it('begins at an offset, and at the tail for now', async () => {
    await append(`${server.url}/a.txt`, 'one two');
    expect(await text(follow(`${server.url}/a.txt`, { offset: '0000000000000004' }))).toBe('two');
    const late = follow(`${server.url}/a.txt`, { offset: 'now', live: true });
    const chunks = late[Symbol.asyncIterator]();
    const first = chunks.next();
    while (late.offset === 'now') await new Promise((resolve) => setImmediate(resolve));
    expect(late.offset).toEqual(token(7));
    await append(`${server.url}/a.txt`, ' three');
    expect(Buffer.from((await first).value as Uint8Array).toString()).toBe(' three');
    await chunks.return?.(undefined);
  });

  it.each(['', 'a b', 'a,b', 'a/b', 'x'.repeat(257)])(
    'refuses an offset that no server can have given, at once: %j',
    (offset) => {
      expect(() => follow(`${server.url}/a.txt`, { offset })).toThrow(
        expect.objectContaining({ code: 'INVALID_OFFSET' }),
      );
    },
  );

  it('refuses an offset of another server', async () => {
    await append(`${server.url}/a.txt`, 'short');
    await expect(collect(follow(`${server.url}/a.txt`, { offset: 'abc' }))).rejects.toMatchObject({
      code: 'INVALID_OFFSET',
    });
  });

  it('says how the stream came to its end', async () => {
    const ends: unknown[] = [];
    const follower = (path: string, options: FollowOptions = {}) => follow(`${server.url}/${path}`, options);
    const end = async (each: Follower) => {
      expect(each.end).toBeUndefined();
      await collect(each);
      ends.push(each.end);
    };
    await append(`${server.url}/left.txt`, 'all');
    await end(follower('left.txt'));
    await append(`${server.url}/closed.txt`, 'all', { closeStream: true });
    await end(follower('closed.txt'));
    await end(follower('closed.txt', { live: true, offset: 'now' }));
    await create(`${server.url}/never.txt`);
    await end(follower('never.txt'));

    const writer = (await openAppend(`${server.url}/lost.txt`)).getWriter();
    await writer.write('some');
    const watching = follower('lost.txt');
    const reading = collect(watching);
    await vi.waitFor(async () => expect((await head(`${server.url}/lost.txt`)).offset).toMatch(/^0*4_/));
    await writer.abort(new Error('the process died'));
    await reading;
    ends.push(watching.end);
    await end(follower('lost.txt'));
    expect(ends).toEqual(['left', 'closed', 'closed', 'left', 'lost', 'lost']);

    const leaving = follower('left.txt');
    for await (const _ of leaving) break;
    expect(leaving.end).toBeUndefined();
  });

  it('waits for a stream that is not there yet, if told to, and then says that there is none', async () => {
    const chunks = follow(`${server.url}/late.txt`, { wait: true }).text();
    const first = chunks.next();
    const writer = (await openAppend(`${server.url}/late.txt`)).getWriter();
    await writer.write('from the first byte');
    expect((await first).value).toBe('from the first byte');
    await writer.close();
    expect((await chunks.next()).done).toBe(true);
    await expect(collect(follow(`${server.url}/none.txt`, { wait: 120 }))).rejects.toMatchObject({
      code: 'STREAM_NOT_FOUND',
    });
    expect(() => follow(`${server.url}/none.txt`, { wait: -1 })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  it('ends at its signal while it waits for a stream', async () => {
    const ending = new AbortController();
    const reading = collect(follow(`${server.url}/none.txt`, { wait: true, signal: ending.signal }));
    ending.abort(new Error('enough'));
    await expect(reading).rejects.toThrow('enough');
  });

  it('says so when the offset lies beyond the tail', async () => {
    await append(`${server.url}/a.txt`, 'short');
    const follower = follow(`${server.url}/a.txt`, { offset: '0000000000000099' });
    await expect(text(follower)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
  });

  it('keeps all 256 byte values', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 * 300 }, (_, i) => i % 256));
    await append(`${server.url}/a.bin`, bytes);
    expect((await collect(follow(`${server.url}/a.bin`))).equals(bytes)).toBe(true);
  });

  it('gives whole characters as text, wherever the frames were cut', async () => {
    let n = 0;
    await fc.assert(
      fc.asyncProperty(
        // What a broken character becomes is looked for below, so it must not be there before.
        fc
          .string({ unit: 'grapheme', minLength: 1, maxLength: 40, size: 'max' })
          .filter((content) => !content.includes('\ufffd')),
        fc.integer({ min: 16, max: 24 }),
        async (content, frameBytesMax) => {
          const url = `${server.url}/text-${n++}.txt`;
          // Each byte is written for itself, so that frames end anywhere.
          const bytes = Buffer.from(content.repeat(5));
          await append(
            url,
            (function* () {
              for (const byte of bytes) yield Uint8Array.of(byte);
            })(),
            { frameBytesMax },
          );
          const parts: string[] = [];
          for await (const part of follow(url).text()) parts.push(part);
          expect(parts.join('')).toBe(content.repeat(5));
          for (const part of parts) expect(part).not.toContain('\ufffd');
        },
      ),
      { numRuns: 30 },
    );
  }, 20_000);

  it('has its offset as text before a character that is not whole yet', async () => {
    const euro = Buffer.from('a€');
    await append(`${server.url}/a.txt`, euro.subarray(0, 2));
    const follower = follow(`${server.url}/a.txt`, { live: true });
    const pieces = follower.text()[Symbol.asyncIterator]();
    expect((await pieces.next()).value).toBe('a');
    expect(follower.offset).toEqual(token(1));
    await pieces.return?.();
    const ended = follow(`${server.url}/a.txt`);
    const parts: string[] = [];
    for await (const part of ended.text()) parts.push(part);
    expect(parts).toEqual(['a', '\ufffd']);
    expect(ended.offset).toEqual(token(1));
    await append(`${server.url}/a.txt`, euro.subarray(2));
    const rest = follow(`${server.url}/a.txt`, { offset: follower.offset });
    expect((await rest.text().next()).value).toBe('€');
    expect(rest.offset).toEqual(token(4));
  });

  it.each([
    ['bytes', (follower: Follower) => follower],
    ['text', (follower: Follower) => follower.text()],
  ])('ends when its reader leaves while it waits, as %s', async (_name, iterable) => {
    await append(`${server.url}/a.txt`, 'x');
    const chunks = iterable(follow(`${server.url}/a.txt`, { live: true }))[Symbol.asyncIterator]();
    await chunks.next();
    const waiting = chunks.next();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await chunks.return?.()).toEqual({ done: true, value: undefined });
    expect(await waiting).toEqual({ done: true, value: undefined });

    const readable = Readable.from(iterable(follow(`${server.url}/a.txt`, { live: true })));
    await new Promise((resolve) => readable.once('data', resolve));
    readable.destroy();
    await new Promise((resolve) => readable.once('close', resolve));
    // The drain waits for followers: it ends because there is none.
    await server.drain();
    await server.store.close();
    server = await startStreamServer();
  });

  it('ends at an aborted signal, whatever has arrived already', async () => {
    await append(`${server.url}/a.bin`, Buffer.alloc(1_000_000));
    for (const taken of [0, 1]) {
      const controller = new AbortController();
      const chunks = follow(`${server.url}/a.bin`, { signal: controller.signal })[Symbol.asyncIterator]();
      for (let i = 0; i <= taken; i++) await chunks.next();
      await new Promise((resolve) => setTimeout(resolve, 100));
      controller.abort(new Error('enough'));
      await expect(chunks.next()).rejects.toThrow('enough');
    }
  });

  it('ends with the reason of an aborted signal, also while it waits', async () => {
    await append(`${server.url}/a.txt`, 'x');
    const controller = new AbortController();
    const follower = follow(`${server.url}/a.txt`, { live: true, signal: controller.signal });
    const chunks = follower[Symbol.asyncIterator]();
    await chunks.next();
    const waiting = chunks.next();
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
  });

  it('leaves the server when its reader breaks off', async () => {
    await append(`${server.url}/a.txt`, 'x');
    for await (const _ of follow(`${server.url}/a.txt`, { live: true })) break;
    // The drain waits for followers: it ends because there is none.
    await server.drain();
    await server.store.close();
    server = await startStreamServer();
  });

  it('says so when the stream is deleted meanwhile', async () => {
    await append(`${server.url}/a.txt`, 'x');
    const chunks = follow(`${server.url}/a.txt`, { live: true })[Symbol.asyncIterator]();
    await chunks.next();
    const waiting = chunks.next();
    await remove(`${server.url}/a.txt`);
    await expect(waiting).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
  });
});

describe.each(Object.entries(stores))('a follower whose connection breaks, %s', (_name, makeStore) => {
  beforeEach(async () => {
    await server.kill();
    await server.store.close();
    server = await startStreamServer({ store: await makeStore() });
  });

  it('goes on where it stood: every byte once', async () => {
    const writer = (await openAppend(`${server.url}/a.txt`, { ...quick, closeStream: true })).getWriter();
    await writer.write('start\n');
    const follower = follow(`${server.url}/a.txt`, { ...quick, live: true });
    let expected = (await take(follower[Symbol.asyncIterator](), 6)).toString();
    const rest = text(follower);
    for (let i = 0; i < 1_000; i++) {
      const line = `line ${i}\n`;
      expected += line;
      await writer.write(line);
      if (i % 200 === 100) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        server.cut();
      }
    }
    await writer.close();
    expect(`start\n${await rest}`).toBe(expected);
  });

  it('waits for the appender that comes back after it', async () => {
    const { port, store } = server;
    const writer = (
      await openAppend(`${server.url}/a.txt`, { retryDelayMinMs: 600, retryDelayMaxMs: 800 })
    ).getWriter();
    await writer.write('before ');
    const follower = follow(`${server.url}/a.txt`, quick);
    const chunks = follower[Symbol.asyncIterator]();
    await take(chunks, 7);
    const next = take(chunks, 5);
    await server.kill();
    server = await startStreamServer({ port, store });
    await writer.write('after');
    expect((await next).toString()).toBe('after');
    await writer.close();
    expect((await chunks.next()).done).toBe(true);
  });

  it('does not take a server that drains for the end', async () => {
    const { port, store } = server;
    await append(`${server.url}/a.txt`, 'before ');
    const chunks = follow(`${server.url}/a.txt`, { ...quick, live: true })[Symbol.asyncIterator]();
    await take(chunks, 7);
    const next = take(chunks, 5);
    await server.drain();
    server = await startStreamServer({ port, store });
    await append(`${server.url}/a.txt`, 'after');
    expect((await next).toString()).toBe('after');
    await close(`${server.url}/a.txt`);
    expect((await chunks.next()).done).toBe(true);
  });

  it('gives up after retryMs, and says so', async () => {
    await append(`${server.url}/a.txt`, 'x');
    const lost: unknown[] = [];
    const onRetry = (error: unknown) => lost.push(error);
    const options = { ...quick, live: true, retryMs: 1_000, onRetry };
    const chunks = follow(`${server.url}/a.txt`, options)[Symbol.asyncIterator]();
    await chunks.next();
    const waiting = chunks.next();
    await server.kill();
    await expect(waiting).rejects.toMatchObject({ code: 'RESUME_FAILED' });
    expect(lost.length).toBeGreaterThan(1);
    expect(lost).toEqual(lost.map(() => expect.objectContaining({ code: 'CONNECTION_FAILED' }) as unknown));
    await server.store.close();
    server = await startStreamServer();
  });

  it('does not try again where the first connection cannot be made', async () => {
    await server.kill();
    await expect(text(follow(`${server.url}/a.txt`))).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    await server.store.close();
    server = await startStreamServer();
  });
});

describe('a follower whose stream was made anew while its connection was broken', () => {
  /** Follows until `old` was read, cuts the connection, and puts another stream in the place of the first. */
  async function recreated(options: Partial<FollowOptions>) {
    const { store } = server;
    await store.create('a.txt', { data: Buffer.from('OLD step 1\nOLD step 2\n') });
    const follower = follow(`${server.url}/a.txt`, { live: true, ...quick, ...options });
    const chunks = follower.text();
    const old = (await chunks.next()).value;
    server.cut();
    const data = Buffer.from('NEW a quite different first line\n');
    await Promise.all([store.delete('a.txt'), store.create('a.txt', { data, closed: true })]);
    return { follower, chunks, old };
  }

  it('is told, and given nothing of the new one', async () => {
    const { chunks } = await recreated({});
    await expect(chunks.next()).rejects.toMatchObject({ code: 'OFFSET_OF_ANOTHER_STREAM', details: { status: 410 } });
  });

  it('begins with the new one where it is asked to', async () => {
    const { chunks } = await recreated({ onRecreated: 'restart' });
    expect((await chunks.next()).value).toBe('NEW a quite different first line\n');
    expect((await chunks.next()).done).toBe(true);
  });

  it('calls before the first chunk of the new one', async () => {
    const calls: string[] = [];
    const { follower, chunks, old } = await recreated({ onRecreated: () => calls.push('recreated') });
    calls.push((await chunks.next()).value as string);
    expect([old, calls]).toEqual(['OLD step 1\nOLD step 2\n', ['recreated', 'NEW a quite different first line\n']]);
    const { id } = await server.store.stat('a.txt');
    expect(follower.offset).toBe(formatOffset(33, id));
  });

  it('does not finish a character of the old one with the new one', async () => {
    await server.store.create('b.txt', { data: Buffer.from('a€').subarray(0, 2) });
    const chunks = follow(`${server.url}/b.txt`, { live: true, ...quick, onRecreated: 'restart' }).text();
    expect((await chunks.next()).value).toBe('a');
    const next = chunks.next();
    server.cut();
    await server.store.delete('b.txt');
    await server.store.create('b.txt', { data: Buffer.from('b'), closed: true });
    expect((await next).value).toBe('b');
  });

  it('begins with the new one also where it saw the old one deleted', async () => {
    const { store } = server;
    await store.create('b.txt', { data: Buffer.from('old') });
    const chunks = follow(`${server.url}/b.txt`, { live: true, ...quick, onRecreated: 'restart' }).text();
    expect((await chunks.next()).value).toBe('old');
    const next = chunks.next();
    await Promise.all([store.delete('b.txt'), store.create('b.txt', { data: Buffer.from('new'), closed: true })]);
    expect((await next).value).toBe('new');
  });

  it('waits for the new one, where it is to wait', async () => {
    const { store } = server;
    await store.create('b.txt', { data: Buffer.from('old') });
    const calls: string[] = [];
    const options = { live: true, ...quick, wait: true, onRecreated: () => calls.push('recreated') };
    const chunks = follow(`${server.url}/b.txt`, options).text();
    expect((await chunks.next()).value).toBe('old');
    const next = chunks.next();
    const joins = vi.spyOn(store, 'subscribe');
    await store.delete('b.txt');
    // It was back, and there was nothing.
    await vi.waitFor(() => expect(joins).toHaveBeenCalled());
    await expect(joins.mock.results[0]?.value).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
    await store.create('b.txt', { data: Buffer.from('new'), closed: true });
    expect((await next).value).toBe('new');
    expect(calls).toEqual(['recreated']);
  });

  it('is told that there is none, where it is not to wait', async () => {
    const { store } = server;
    await store.create('b.txt', { data: Buffer.from('old') });
    const chunks = follow(`${server.url}/b.txt`, { live: true, ...quick, onRecreated: 'restart' }).text();
    expect((await chunks.next()).value).toBe('old');
    server.cut();
    await store.delete('b.txt');
    await expect(chunks.next()).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
  });

  it('is told also where its token is from before', async () => {
    await create(`${server.url}/b.txt`, { data: 'old' });
    const { offset } = await head(`${server.url}/b.txt`);
    await remove(`${server.url}/b.txt`);
    await create(`${server.url}/b.txt`, { data: 'new and longer', closed: true });
    await expect(text(follow(`${server.url}/b.txt`, { offset }))).rejects.toMatchObject({
      code: 'OFFSET_OF_ANOTHER_STREAM',
    });
    await expect(read(`${server.url}/b.txt`, { offset })).rejects.toMatchObject({ code: 'OFFSET_OF_ANOTHER_STREAM' });
    expect(await text(follow(`${server.url}/b.txt`, { offset, onRecreated: 'restart' }))).toBe('new and longer');
  });
});
