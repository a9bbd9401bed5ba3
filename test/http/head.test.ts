import { Buffer } from 'node:buffer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask, problemOf, serve, type TestServer } from './test-server.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

/** What says something of the body. */
const REPRESENTATION = [
  'content-type',
  'content-length',
  'etag',
  'last-modified',
  'accept-ranges',
  'stream-next-offset',
];

/** The token of offset 1. */
const ONE = expect.stringMatching(/^0{15}1_/) as string;

describe('HEAD', () => {
  it.each([
    ['/foo.txt', 'text/plain', '0123456789'],
    ['/foo.txt?offset=-1', 'text/plain', '0123456789'],
    ['/foo.txt?offset=0000000000000004', 'text/plain', '0123456789'],
    ['/empty.bin', 'application/octet-stream', ''],
  ])('of %s says what a GET says of its body', async (path, contentType, data) => {
    const name = path.slice(1).replace(/\?.*/, '');
    await server.store.create(name, { contentType, data: Buffer.from(data) });
    // Within the second of the last append the date is still on its way.
    const { modifiedAtMs = 0 } = await server.store.stat(name);
    while (Math.floor(Date.now() / 1000) <= Math.floor(modifiedAtMs / 1000))
      await new Promise((r) => setTimeout(r, 20));
    const [get, head] = [await ask(server, 'GET', path), await ask(server, 'HEAD', path)];
    expect(head).toMatchObject({ status: 200, text: '' });
    for (const name of REPRESENTATION) expect([name, head.headers[name]]).toEqual([name, get.headers[name]]);
    expect(head.headers['content-length']).toBe(String(get.body.length));
    expect(head.headers['cache-control']).toBe('no-store');
    expect(head.headers['transfer-encoding']).toBeUndefined();
  });

  it('of a JSON stream leaves out how long its array is', async () => {
    await server.store.create('chat', { contentType: 'application/json', data: Buffer.from('1\n2\n') });
    const [get, head] = [await ask(server, 'GET', '/chat'), await ask(server, 'HEAD', '/chat')];
    expect(head.headers.etag).toBe(get.headers.etag);
    expect(head.headers['content-length']).toBeUndefined();
    expect(head.headers['accept-ranges']).toBeUndefined();
  });

  it('of what is live, or begins at the tail, says nothing of a body', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('x') });
    for (const query of ['live=sse&offset=-1', 'offset=now', 'verb=follow']) {
      const { status, headers } = await ask(server, 'HEAD', `/foo.txt?${query}`);
      expect([query, status, headers['stream-next-offset']]).toEqual([query, 200, ONE]);
      expect([headers.etag, headers['content-length']]).toEqual([undefined, undefined]);
    }
  });

  it('answers 304 to whoever knows it all, by the tag or by the date', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('x') });
    const { headers } = await ask(server, 'HEAD', '/foo.txt');
    const same = await ask(server, 'HEAD', '/foo.txt', { headers: { 'If-None-Match': headers.etag as string } });
    expect(same).toMatchObject({
      status: 304,
      headers: { etag: headers.etag, 'stream-next-offset': ONE },
    });
    const now = { 'If-Modified-Since': new Date().toUTCString() };
    // It has changed within this second.
    expect((await ask(server, 'HEAD', '/foo.txt', { headers: now })).status).toBe(200);
    expect((await ask(server, 'HEAD', '/foo.txt', { headers: { 'If-None-Match': '"other"' } })).status).toBe(200);
  });

  it('refuses what a GET refuses', async () => {
    await server.store.create('foo.txt');
    expect((await ask(server, 'HEAD', '/foo.txt?offset=garbage')).status).toBe(400);
    expect((await ask(server, 'HEAD', '/foo.txt?offset=0000000000000001')).status).toBe(400);
    expect(problemOf(await ask(server, 'GET', '/foo.txt?offset=0000000000000001'))).toBe('OFFSET_OUT_OF_RANGE');
  });
});
