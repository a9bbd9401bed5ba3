import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openMemoryStore } from '../../src/log/memory-store.js';
import { ManualClock } from '../log/manual-clock.js';
import { token } from '../token.js';
import { ask, begin, problemOf, serve, type TestServer } from './test-server.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

describe('a plain GET', () => {
  it('gives the whole stream with its type, length and place', async () => {
    await server.store.create('a/foo.csv', { data: Buffer.from('a,b\n') });
    const answer = await ask(server, 'GET', '/a/foo.csv');
    expect(answer.status).toBe(200);
    expect(answer.text).toBe('a,b\n');
    expect(answer.headers).toMatchObject({
      'content-length': '4',
      'content-type': expect.stringContaining('text/csv') as string,
      'stream-next-offset': token(4),
      'stream-up-to-date': 'true',
      'accept-ranges': 'bytes',
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'cross-origin',
      'access-control-allow-origin': '*',
    });
    expect(answer.headers['stream-closed']).toBeUndefined();
  });

  it('says when the stream is closed', async () => {
    await server.store.create('foo', { data: Buffer.from('x'), closed: true });
    expect((await ask(server, 'GET', '/foo')).headers['stream-closed']).toBe('true');
  });

  it('gives many megabytes, byte for byte, at the pace of the client', async () => {
    const data = randomBytes(20 * 1024 * 1024);
    await server.store.create('big.bin', {});
    for (let at = 0; at < data.length; at += 4 * 1024 * 1024) {
      await server.store.append('big.bin', { data: data.subarray(at, at + 4 * 1024 * 1024) });
    }
    expect((await ask(server, 'GET', '/big.bin')).body.equals(data)).toBe(true);
  });

  it('gives what was there at its beginning, though the stream grows', async () => {
    const data = Buffer.alloc(8 * 1024 * 1024, 'x');
    await server.store.create('foo.bin', { data });
    const res = await begin(server, 'GET', '/foo.bin');
    await server.store.append('foo.bin', { data: Buffer.from('later') });
    let bytes = 0;
    for await (const piece of res) bytes += (piece as Buffer).length;
    expect(bytes).toBe(data.length);
  });

  it('answers 304 as long as nothing changed, also where only the closure is news', async () => {
    await server.store.create('foo', { data: Buffer.from('x') });
    const tag = (await ask(server, 'GET', '/foo')).headers.etag as string;
    const same = await ask(server, 'GET', '/foo', { headers: { 'If-None-Match': tag } });
    expect([same.status, same.text]).toEqual([304, '']);
    await server.store.append('foo', { close: true });
    expect((await ask(server, 'GET', '/foo', { headers: { 'If-None-Match': tag } })).status).toBe(200);
  });

  it('gives a part', async () => {
    await server.store.create('foo', { data: Buffer.from('0123456789') });
    for (const [range, text, content] of [
      ['bytes=0-0', '0', 'bytes 0-0/10'],
      ['bytes=2-5', '2345', 'bytes 2-5/10'],
      ['bytes=7-', '789', 'bytes 7-9/10'],
      ['bytes=-2', '89', 'bytes 8-9/10'],
      ['bytes=-99', '0123456789', 'bytes 0-9/10'],
      ['bytes=5-99', '56789', 'bytes 5-9/10'],
      ['Bytes = 1-1', '1', 'bytes 1-1/10'],
    ] as const) {
      const answer = await ask(server, 'GET', '/foo', { headers: { Range: range } });
      expect([range, answer.status, answer.text, answer.headers['content-range']]).toEqual([range, 206, text, content]);
    }
  });

  it('gives the whole where a range says nothing to it', async () => {
    await server.store.create('foo', { data: Buffer.from('0123456789') });
    for (const range of ['lines=1-2', 'bytes=0-1,3-4']) {
      const answer = await ask(server, 'GET', '/foo', { headers: { Range: range } });
      expect([range, answer.status, answer.text]).toEqual([range, 200, '0123456789']);
    }
  });

  it('refuses a range that is none, or lies outside', async () => {
    await server.store.create('foo', { data: Buffer.from('0123456789') });
    for (const range of ['bytes=10-', 'bytes=-0', 'bytes=5-2', 'bytes=-', 'bytes=a-b', 'bytes=99999999999999999-']) {
      const answer = await ask(server, 'GET', '/foo', { headers: { Range: range } });
      expect([range, answer.status, problemOf(answer)]).toEqual([range, 416, 'RANGE_NOT_SATISFIABLE']);
      expect(answer.headers['content-range']).toBe('bytes */10');
    }
  });

  it('gives a part only of what the client has a part of', async () => {
    await server.store.create('foo', { data: Buffer.from('0123456789') });
    const tag = (await ask(server, 'GET', '/foo')).headers.etag as string;
    const part = await ask(server, 'GET', '/foo', { headers: { Range: 'bytes=5-', 'If-Range': tag } });
    expect([part.status, part.text]).toEqual([206, '56789']);
    const whole = await ask(server, 'GET', '/foo', { headers: { Range: 'bytes=5-', 'If-Range': '"other"' } });
    expect([whole.status, whole.text]).toEqual([200, '0123456789']);
  });

  it('cuts the response off, rather than to end it, when the stream goes away under it', async () => {
    const data = Buffer.alloc(16 * 1024 * 1024, 'x');
    await server.store.create('foo.bin', { data });
    const res = await begin(server, 'GET', '/foo.bin');
    await server.store.delete('foo.bin');
    await expect(
      (async () => {
        for await (const _ of res);
      })(),
    ).rejects.toThrow('aborted');
  });

  it('counts as use, a HEAD does not', async () => {
    await server.close();
    const clock = new ManualClock();
    server = await serve({ store: openMemoryStore({}, clock) });
    await server.store.create('read', { ttlSeconds: 10 });
    await server.store.create('seen', { ttlSeconds: 10 });
    const tag = (await ask(server, 'GET', '/read')).headers.etag as string;
    const statuses: number[] = [];
    for (let time = 0; time < 4; time++) {
      clock.pass(4000);
      const headers: Record<string, string> = time % 2 === 0 ? {} : { 'If-None-Match': tag };
      statuses.push((await ask(server, 'GET', '/read', { headers })).status);
      await ask(server, 'HEAD', '/seen');
    }
    expect(statuses).toEqual([200, 304, 200, 304]);
    expect((await ask(server, 'HEAD', '/seen')).status).toBe(404);
  });

  it('has a tag that is not that of the lines of the same messages', async () => {
    await server.store.create('j', { contentType: 'application/json', data: Buffer.from('1\n2\n') });
    const array = await ask(server, 'GET', '/j');
    const lines = await ask(server, 'GET', '/j', {
      headers: { 'X-Verb': 'follow', 'If-None-Match': array.headers.etag as string },
    });
    expect([lines.status, lines.text]).toEqual([200, '1\n2\n']);
  });

  it('may come with the whole URL, as a proxy sends it', async () => {
    await server.store.create('foo', { data: Buffer.from('x') });
    expect((await ask(server, 'GET', `${server.url}/foo?offset=-1`)).text).toBe('x');
  });

  it('of a JSON stream is an array', async () => {
    await server.store.create('j', { contentType: 'application/json', data: Buffer.from('1\n2\n') });
    expect((await ask(server, 'GET', '/j')).text).toBe('[1,2]');
  });
});
