import { Buffer } from 'node:buffer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createFollowEngine,
  type FollowEngine,
  type FollowEngineOptions,
  type Format,
  unfinishedCharacter,
} from '../../src/follow/index.js';
import { type AppendSession, createMemoryStore, type Store } from '../../src/log/index.js';
import { CollectingSink } from './collecting-sink.js';

const raw: Format = { name: 'raw', encode: (data) => data };

/** Shows what the engine says of the state, one line for each encoding. */
const told: Format = {
  name: 'told',
  encode: (data, after) =>
    Buffer.from(`${Buffer.from(data)}@${after.offset}${after.upToDate ? ' up' : ''}${after.closed ? ' closed' : ''}\n`),
};

let store: Store;
let engine: FollowEngine;

function restartEngine(options: Partial<FollowEngineOptions> = {}): void {
  engine.close();
  engine = createFollowEngine({ store, ...options });
}

beforeEach(() => {
  store = createMemoryStore();
  engine = createFollowEngine({ store });
});

afterEach(async () => {
  engine.close();
  await store.close();
});

async function create(path: string, data = ''): Promise<void> {
  await store.create(path, { contentType: 'text/plain', data: Buffer.from(data) });
}

async function append(path: string, data: string, close = false): Promise<void> {
  await store.append(path, { data: Buffer.from(data), close });
}

async function follow(
  path: string,
  options: { offset?: number | 'tail'; format?: Format; sink?: CollectingSink } = {},
) {
  const sink = options.sink ?? new CollectingSink();
  const stream = await engine.open(path);
  const following = stream.follow({ offset: options.offset ?? 0, format: options.format ?? raw, sink });
  return { sink, following };
}

describe('following a stream', () => {
  it('gives what is there, then what comes, then the end at the closure', async () => {
    await create('a.txt', 'there ');
    const { sink } = await follow('a.txt');
    await append('a.txt', 'comes ');
    await append('a.txt', 'last', true);
    expect(await sink.ended).toEqual({ kind: 'closed' });
    expect(sink.all.toString()).toBe('there comes last');
  });

  it('begins at an offset, or at the tail', async () => {
    await create('a.txt', 'abcdef');
    const middle = await follow('a.txt', { offset: 4 });
    const tail = await follow('a.txt', { offset: 'tail' });
    await append('a.txt', 'ghi', true);
    await middle.sink.ended;
    await tail.sink.ended;
    expect(middle.sink.all.toString()).toBe('efghi');
    expect(tail.sink.all.toString()).toBe('ghi');
  });

  it('refuses an offset beyond the tail', async () => {
    await create('a.txt', 'abc');
    const stream = await engine.open('a.txt');
    expect(() => stream.follow({ offset: 4, format: raw, sink: new CollectingSink() })).toThrow(
      expect.objectContaining({ code: 'OFFSET_OUT_OF_RANGE' }),
    );
    stream.release();
    expect(engine.usage.streams).toBe(0);
  });

  it('refuses a stream that is not there', async () => {
    await expect(engine.open('none.txt')).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
    expect(engine.usage.streams).toBe(0);
  });

  it('ends at once on a stream that was closed before', async () => {
    await create('a.txt', 'all');
    await append('a.txt', '!', true);
    const { sink } = await follow('a.txt', { format: told });
    expect(await sink.ended).toEqual({ kind: 'closed' });
    expect(sink.all.toString()).toBe('all!@4 up closed\n');
  });

  it('says once that the reader is up to date, also where there is nothing to send', async () => {
    await create('a.txt');
    const { sink } = await follow('a.txt', { format: told });
    await sink.has(1);
    await append('a.txt', 'x');
    await append('a.txt', '', true);
    await sink.ended;
    expect(sink.all.toString()).toBe('@0 up\nx@1 up\n@1 up closed\n');
  });

  it('tells a follower of the deletion', async () => {
    await create('a.txt', 'x');
    const { sink } = await follow('a.txt');
    await store.delete('a.txt');
    expect(await sink.ended).toEqual({ kind: 'deleted' });
    expect(engine.usage).toEqual({ streams: 0, followers: 0, catchUpBytes: 0 });
  });

  it('follows the new stream at the path of a deleted one', async () => {
    await create('a.txt', 'old');
    const first = await follow('a.txt');
    await store.delete('a.txt');
    await first.sink.ended;
    await create('a.txt', 'new');
    const second = await follow('a.txt');
    await second.sink.has(3);
    expect(second.sink.all.toString()).toBe('new');
    second.following.stop();
  });

  it('frees everything when the last follower stops', async () => {
    await create('a.txt', 'x');
    const one = await follow('a.txt');
    const two = await follow('a.txt');
    expect(engine.usage).toMatchObject({ streams: 1, followers: 2 });
    one.following.stop();
    one.following.stop();
    two.following.stop();
    expect(engine.usage).toEqual({ streams: 0, followers: 0, catchUpBytes: 0 });
    await append('a.txt', 'y');
    expect(one.sink.all.toString()).toBe('x');
  });

  it('ends everyone as stopped when the engine closes', async () => {
    await create('a.txt', 'x');
    const { sink } = await follow('a.txt');
    const full = new CollectingSink();
    full.isFullAfter = () => true;
    await follow('a.txt', { sink: full });
    engine.close();
    expect(await sink.ended).toEqual({ kind: 'stopped' });
    expect(await full.ended).toEqual({ kind: 'stopped' });
    await expect(engine.open('a.txt')).rejects.toMatchObject({ code: 'STORE_CLOSED' });
  });

  it('ends everyone as stopped when the store closes', async () => {
    await create('a.txt', 'x');
    const { sink } = await follow('a.txt');
    await sink.has(1);
    await store.close();
    expect(await sink.ended).toEqual({ kind: 'stopped' });
  });
});

describe('encodings', () => {
  it('are made once per chunk and format, whatever the number of followers', async () => {
    let encodings = 0;
    const counting: Format = {
      name: 'counting',
      encode(data) {
        encodings++;
        return Buffer.from(data);
      },
    };
    await create('a.txt');
    const followers = await Promise.all(
      Array.from({ length: 50 }, () => follow('a.txt', { format: counting, offset: 'tail' })),
    );
    encodings = 0;
    await append('a.txt', 'one');
    await Promise.all(followers.map(({ sink }) => sink.has(3)));
    expect(encodings).toBe(1);
    for (const { following } of followers) following.stop();
  });

  it('hold whole characters for formats that ask for them, and the offset before what is kept back', async () => {
    const text: Format = { ...told, unfinished: unfinishedCharacter };
    const euro = Buffer.from('€');
    await store.create('a.txt', {
      contentType: 'text/plain',
      data: Buffer.concat([Buffer.from('1'), euro.subarray(0, 1)]),
    });
    const early = await follow('a.txt', { format: text });
    await store.append('a.txt', { data: euro.subarray(1, 2) });
    const late = await follow('a.txt', { format: text });
    await store.append('a.txt', { data: Buffer.concat([euro.subarray(2), Buffer.from('!')]), close: true });
    await early.sink.ended;
    await late.sink.ended;
    expect(early.sink.all.toString()).toBe('1@1 up\n@1 up\n€!@5 up closed\n');
    expect(late.sink.all.toString()).toBe('1@1 up\n€!@5 up closed\n');
  });

  it('let what can never be a character through at the end', async () => {
    const text: Format = { name: 'text', unfinished: unfinishedCharacter, encode: (data) => data };
    await create('a.txt');
    const { sink } = await follow('a.txt', { format: text });
    await store.append('a.txt', { data: Buffer.from([0x41, 0xe2, 0x82]), close: true });
    await sink.ended;
    expect([...sink.all]).toEqual([0x41, 0xe2, 0x82]);
  });
});

describe('until the appender leaves', () => {
  async function session(path: string): Promise<AppendSession> {
    return store.acquire(path, { create: { contentType: 'text/plain' } });
  }

  it('ends after everything was sent', async () => {
    const appender = await session('a.txt');
    const sink = new CollectingSink();
    (await engine.open('a.txt')).follow({ offset: 0, format: raw, sink, until: 'appender' });
    void appender.append(Buffer.from('one '));
    void appender.append(Buffer.from('two'));
    await appender.release();
    expect(await sink.ended).toEqual({ kind: 'appender', lost: false });
    expect(sink.all.toString()).toBe('one two');
  });

  it('ends a follower that lags only once it has everything', async () => {
    const appender = await session('a.txt');
    const sink = new CollectingSink();
    sink.isFullAfter = () => true;
    (await engine.open('a.txt')).follow({ offset: 0, format: raw, sink, until: 'appender' });
    await appender.append(Buffer.from('one '));
    await appender.append(Buffer.from('two'));
    await appender.release();
    expect(sink.all.toString()).toBe('one ');
    sink.drain();
    sink.drain();
    expect(await sink.ended).toEqual({ kind: 'appender', lost: false });
    expect(sink.all.toString()).toBe('one two');
  });

  it('waits for an appender that is not back yet, where it is asked to', async () => {
    const first = await session('a.txt');
    await first.append(Buffer.from('one '));
    await first.release();
    const sink = new CollectingSink();
    (await engine.open('a.txt')).follow({ offset: 0, format: raw, sink, until: 'appender', graceMs: 60_000 });
    await sink.has(4);
    const second = await session('a.txt');
    await second.append(Buffer.from('two'));
    await sink.has(7);
    await second.release();
    expect(await sink.ended).toEqual({ kind: 'appender', lost: false });
    expect(sink.all.toString()).toBe('one two');
  });

  it('waits for an appender that was lost under its eyes, where it waits at all', async () => {
    await store.create('a.txt');
    const first = await store.acquire('a.txt');
    const sink = new CollectingSink();
    (await engine.open('a.txt')).follow({ offset: 0, format: raw, sink, until: 'appender', graceMs: 60_000 });
    await first.release({ lost: true });
    const second = await store.acquire('a.txt');
    await second.append(Buffer.from('it came back'));
    await second.release();
    expect(await sink.ended).toEqual({ kind: 'appender', lost: false });
    expect(sink.all.toString()).toBe('it came back');
    const other = new CollectingSink();
    const third = await store.acquire('a.txt');
    (await engine.open('a.txt')).follow({ offset: 'tail', format: raw, sink: other, until: 'appender' });
    await third.release({ lost: true });
    expect(await other.ended).toEqual({ kind: 'appender', lost: true });
  });

  it('gives up waiting after the grace', async () => {
    const first = await session('a.txt');
    await first.append(Buffer.from('one'));
    await first.release();
    const sink = new CollectingSink();
    (await engine.open('a.txt')).follow({ offset: 0, format: raw, sink, until: 'appender', graceMs: 20 });
    expect(await sink.ended).toEqual({ kind: 'appender', lost: false });
  });
});

describe('a slow sink', () => {
  it('gets several chunks in one write when it comes back, and holds no place in between', async () => {
    await create('a.txt');
    const sink = new CollectingSink();
    sink.isFullAfter = () => sink.writes.length === 1;
    await follow('a.txt', { sink });
    for (const piece of ['one ', 'two ', 'three ', 'four']) await append('a.txt', piece);
    expect(sink.writes.map(String)).toEqual(['one ']);
    sink.drain();
    expect(sink.writes.map(String)).toEqual(['one ', 'two three four']);
    await append('a.txt', '!', true);
    await sink.ended;
    expect(sink.all.toString()).toBe('one two three four!');
  });

  it('rereads the store when it fell out of the window', async () => {
    restartEngine({ windowBytes: 10 });
    await create('a.txt');
    const sink = new CollectingSink();
    sink.isFullAfter = () => sink.writes.length === 1;
    await follow('a.txt', { sink });
    let expected = '';
    for (let i = 0; i < 100; i++) {
      expected += `${i} `;
      await append('a.txt', `${i} `);
    }
    await append('a.txt', '', true);
    sink.drain();
    await sink.ended;
    expect(sink.all.toString()).toBe(expected);
  });

  it('holds only a bounded part of the stream, and leaves the others alone', async () => {
    restartEngine({ windowBytes: 64 * 1024 });
    await create('a.bin');
    const stuck = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const sink = new CollectingSink();
        sink.isFullAfter = () => true;
        return follow('a.bin', { sink });
      }),
    );
    const fast = await follow('a.bin');
    const piece = Buffer.alloc(64 * 1024, 7);
    for (let i = 0; i < 100; i++) await store.append('a.bin', { data: piece });
    await fast.sink.has(100 * piece.length);
    for (const { sink } of stuck) expect(sink.bytes).toBeLessThanOrEqual(piece.length);
    expect(engine.usage.catchUpBytes).toBe(0);
    for (const { following } of [...stuck, fast]) following.stop();
  });

  it('ends with the cause when the store cannot be read, and only that one', async () => {
    restartEngine({ windowBytes: 1 });
    await create('a.txt', 'x'.repeat(100));
    const broken: Store = { ...store, read: () => Promise.reject(new Error('disk')) } as Store;
    // Methods live on the prototype, and the rest must still work.
    Object.setPrototypeOf(broken, Object.getPrototypeOf(store));
    broken.subscribe = (path) => store.subscribe(path);
    const other = createFollowEngine({ store: broken });
    const sink = new CollectingSink();
    (await other.open('a.txt')).follow({ offset: 0, format: raw, sink });
    expect(await sink.ended).toMatchObject({ kind: 'failed', error: new Error('disk') });
    expect(other.usage).toEqual({ streams: 0, followers: 0, catchUpBytes: 0 });
    other.close();
  });
});

describe('large commits', () => {
  it('are cut into chunks, in a JSON stream between messages', async () => {
    restartEngine({ chunkBytesMax: 20 });
    await store.create('j', { contentType: 'application/json' });
    await store.create('b', { contentType: 'application/octet-stream' });
    const json = await follow('j', { offset: 'tail' });
    const bytes = await follow('b', { offset: 'tail' });
    const long = `"${'x'.repeat(50)}"\n`;
    const lines = `1\n"two"\n${long}{"n":4}\n[5,5]\n`;
    await store.append('j', { data: Buffer.from(lines), close: true });
    await store.append('b', { data: Buffer.alloc(45, 1), close: true });
    await json.sink.ended;
    await bytes.sink.ended;
    expect(json.sink.writes.map(String)).toEqual(['1\n"two"\n', long, '{"n":4}\n[5,5]\n']);
    expect(bytes.sink.writes.map((write) => write.length)).toEqual([20, 20, 5]);
  });
});
