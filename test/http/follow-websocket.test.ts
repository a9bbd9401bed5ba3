import { Buffer } from 'node:buffer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AppendSession } from '../../src/log/index.js';
import { formatOffset } from '../../src/wire/offset.js';
import { token } from '../token.js';
import { problemOf, serve, type TestServer } from './test-server.js';
import { open, type TestSocket, tryOpen } from './test-socket.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

/** An appender that has appended something. */
async function appender(path: string, first = ''): Promise<AppendSession> {
  const session = await server.store.acquire(path, { create: {} });
  if (first !== '') await session.append(Buffer.from(first));
  return session;
}

describe('following over WebSocket', () => {
  it('gives the contents so far, then what is appended, and closes normally when the appender leaves', async () => {
    const session = await appender('foo.txt', 'so far ');
    const follower = await open(server, '/foo.txt?verb=follow');
    await follower.has(7);
    await session.append(Buffer.from('and now'));
    await follower.has(14);
    await session.release();
    expect(await follower.closed).toEqual({ code: 1000, reason: '' });
    expect(follower.text).toBe('so far and now');
  });

  it('needs no verb, and takes it in any case', async () => {
    const session = await appender('foo.txt', 'x');
    const followers = await Promise.all([
      open(server, '/foo.txt'),
      open(server, '/foo.txt', { headers: { 'X-Verb': 'FOLLOW' } }),
      open(server, '/foo.txt?verb=Follow'),
    ]);
    await session.release();
    for (const follower of followers) {
      await follower.closed;
      expect(follower.text).toBe('x');
    }
  });

  it('answers 200 with everything where there is no appender', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('all of it') });
    const answer = await tryOpen(server, '/foo.txt?verb=follow');
    expect(answer).toMatchObject({ status: 200, text: 'all of it' });
    const tail = await tryOpen(server, '/foo.txt?verb=follow&offset=0000000000000004');
    expect(tail).toMatchObject({ status: 200, text: 'of it' });
  });

  it('answers 200 with megabytes, at the pace of the client', async () => {
    const data = Buffer.alloc(8 * 1024 * 1024, 'abc');
    await server.store.create('foo.txt', { data });
    const answer = await tryOpen(server, '/foo.txt?verb=follow');
    if (!('status' in answer)) throw new Error('It was upgraded.');
    expect(answer.body.equals(data)).toBe(true);
  });

  it('answers 404 where nothing was ever written', async () => {
    const answer = await tryOpen(server, '/none.txt?verb=follow');
    if (!('status' in answer)) throw new Error('It was upgraded.');
    expect([answer.status, problemOf(answer)]).toEqual([404, 'STREAM_NOT_FOUND']);
  });

  it('begins at an offset', async () => {
    const session = await appender('foo.txt', '0123456789');
    const middle = await open(server, '/foo.txt?verb=follow&offset=0000000000000007');
    const tail = await open(server, '/foo.txt?verb=follow&offset=now');
    await session.append(Buffer.from('!'));
    await session.release();
    await middle.closed;
    await tail.closed;
    expect([middle.text, tail.text]).toEqual(['789!', '!']);
    const beyond = await tryOpen(server, '/foo.txt?verb=follow&offset=0000000000000070');
    if (!('status' in beyond)) throw new Error('It was upgraded.');
    expect(problemOf(beyond)).toBe('OFFSET_OUT_OF_RANGE');
  });

  it('ends as deleted, not as done, when the stream is deleted', async () => {
    await appender('foo.txt', 'x');
    const follower = await open(server, '/foo.txt?verb=follow');
    await server.store.delete('foo.txt');
    expect((await follower.closed).code).toBe(4404);
  });

  it('waits for an appender that is not back yet, where it is asked to', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('one ') });
    const follower = await open(server, '/foo.txt?verb=follow&resume=true');
    await follower.has(4);
    const session = await appender('foo.txt', 'two');
    await follower.has(7);
    await session.release();
    expect((await follower.closed).code).toBe(1000);
  });

  it('gives up waiting after the grace', async () => {
    await server.close();
    server = await serve({ limits: { resumeGraceMs: 30 } });
    await server.store.create('foo.txt', { data: Buffer.from('x') });
    const follower = await open(server, '/foo.txt?verb=follow&resume=true');
    expect((await follower.closed).code).toBe(1000);
    expect(follower.text).toBe('x');
  });

  it('counts: the server lets in only so many', async () => {
    await server.close();
    server = await serve({ limits: { followersMax: 1 } });
    await appender('foo.txt', 'x');
    const one = await open(server, '/foo.txt?verb=follow');
    const two = await tryOpen(server, '/foo.txt?verb=follow');
    if (!('status' in two)) throw new Error('It was upgraded.');
    expect([two.status, problemOf(two)]).toEqual([503, 'TOO_MANY_FOLLOWERS']);
    one.ws.close();
    await one.closed;
  });
});

describe('messages', () => {
  const euro = Buffer.from('€');

  async function send(path: string, headers: Record<string, string>, pieces: readonly Buffer[]): Promise<TestSocket> {
    const session = await appender('foo.txt');
    const follower = await open(server, path, { headers });
    for (const piece of pieces) await session.append(piece);
    await session.release();
    await follower.closed;
    return follower;
  }

  it('are all text for the original client, and never split a character', async () => {
    const pieces = [
      Buffer.from('a'),
      euro.subarray(0, 1),
      Buffer.concat([euro.subarray(1), euro.subarray(0, 2)]),
      euro.subarray(2),
    ];
    const follower = await send('/foo.txt', { 'X-Verb': 'FOLLOW' }, pieces);
    expect(follower.messages.every(({ isBinary }) => !isBinary)).toBe(true);
    expect(follower.messages.map(({ data }) => data.toString()).join('|')).not.toContain('\ufffd');
    expect(follower.text).toBe('a€€');
  });

  it('are text for the original client also where the bytes are not', async () => {
    const follower = await send('/foo.txt', { 'X-Verb': 'FOLLOW' }, [Buffer.from([0xff, 0xfe, 0xe2])]);
    expect(follower.messages.every(({ isBinary }) => !isBinary)).toBe(true);
    expect(Buffer.concat(follower.messages.map(({ data }) => data))).toEqual(Buffer.from([0xff, 0xfe, 0xe2]));
  });

  it('are text where they are UTF-8, else binary, for everyone else', async () => {
    const follower = await send('/foo.txt?verb=follow', {}, [Buffer.from('text'), Buffer.from([0xff, 0x00]), euro]);
    const kinds = follower.messages.map(({ data, isBinary }) => [data.toString('latin1'), isBinary]);
    // Chunks of one turn may share a message, then it is binary as a whole.
    expect(kinds.at(0)?.[1]).toBe(kinds.at(0)?.[0] !== 'text');
    expect(Buffer.concat(follower.messages.map(({ data }) => data))).toEqual(
      Buffer.concat([Buffer.from('text'), Buffer.from([0xff, 0x00]), euro]),
    );
    expect(kinds.some(([, isBinary]) => isBinary)).toBe(true);
  });

  it('give the lines of a JSON stream', async () => {
    const session = await server.store.acquire('j', { create: { contentType: 'application/json' } });
    const follower = await open(server, '/j?verb=follow');
    await session.append(Buffer.from('{"n":1}\n[2]\n'));
    await session.release();
    await follower.closed;
    expect(follower.text).toBe('{"n":1}\n[2]\n');
  });
});

describe('live=ws', () => {
  it('sends data as binary, and after it where the reader stands, until the stream is closed', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('abc') });
    const live = await open(server, '/foo.txt?live=ws');
    await live.has(3 + 50);
    await server.store.append('foo.txt', { data: Buffer.from('def'), close: true });
    expect((await live.closed).code).toBe(1000);
    const { id } = await server.store.stat('foo.txt');
    expect(live.messages.map(({ data, isBinary }) => [isBinary, data.toString()])).toEqual([
      [true, 'abc'],
      [false, `{"streamNextOffset":"${formatOffset(3, id)}","upToDate":true}`],
      [true, 'def'],
      [false, `{"streamNextOffset":"${formatOffset(6, id)}","upToDate":true,"streamClosed":true}`],
    ]);
  });

  it('says at once where a reader stands that asked for what is new', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('abc') });
    const live = await open(server, '/foo.txt?live=ws&offset=now');
    expect(await live.nextJson()).toEqual({ streamNextOffset: token(3), upToDate: true });
    live.ws.close();
    await live.closed;
  });

  it('goes on from the last offset after a break', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('abcdef') });
    await server.store.append('foo.txt', { close: true });
    const live = await open(server, '/foo.txt?live=ws&offset=0000000000000004');
    await live.closed;
    expect(live.messages[0]?.data.toString()).toBe('ef');
  });

  it('together with verb=follow ends when the appender leaves', async () => {
    const session = await appender('foo.txt', 'x');
    const live = await open(server, '/foo.txt?live=ws&verb=follow');
    await live.has(1);
    await session.release();
    expect((await live.closed).code).toBe(1000);
    expect(live.messages.at(-1)?.data.toString()).not.toContain('streamClosed');
    const late = await open(server, '/foo.txt?live=ws&verb=follow');
    expect((await late.closed).code).toBe(1000);
    expect(late.messages[0]?.data.toString()).toBe('x');
  });

  it('ignores what the follower says, and notices that it left', async () => {
    await server.store.create('foo.txt', {});
    const live = await open(server, '/foo.txt?live=ws');
    live.ws.send('hello?');
    live.ws.close();
    await live.closed;
    await server.store.append('foo.txt', { data: Buffer.from('x') });
    expect(live.messages.filter(({ isBinary }) => isBinary)).toEqual([]);
  });
});
