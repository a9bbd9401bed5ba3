import { createServer } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { append } from '../../src/client/append.js';
import { follow } from '../../src/client/follow.js';
import { close, create, head, read, remove } from '../../src/client/requests.js';
import { token } from '../token.js';
import { type StreamServer, startStreamServer } from './stream-server.js';

let server: StreamServer;
let url: string;
beforeEach(async () => {
  server = await startStreamServer();
  url = `${server.url}/a.txt`;
});
afterEach(async () => {
  await server.kill();
  await server.store.close();
});

describe('create', () => {
  it('makes a stream, and says whether it was there before', async () => {
    const made = { created: true, offset: token(0), closed: false, contentType: 'text/plain; charset=utf-8' };
    expect(await create(url)).toEqual(made);
    expect(await create(url)).toEqual({ ...made, created: false });
    await expect(create(url, { contentType: 'application/json' })).rejects.toMatchObject({
      code: 'STREAM_EXISTS',
      details: { status: 409 },
    });
  });

  it('takes first content, type, lifetime and closure', async () => {
    const created = await create(url, { contentType: 'text/x-log', ttlSeconds: 60, data: 'first', closed: true });
    expect(created).toMatchObject({
      created: true,
      contentType: 'text/x-log',
      offset: token(5),
      closed: true,
    });
    expect(await head(url)).toEqual({
      contentType: 'text/x-log',
      offset: token(5),
      closed: true,
      ttlSeconds: 60,
    });
    const expiresAt = new Date(Date.now() + 3_600_000);
    await create(`${server.url}/b.txt`, { expiresAt, data: Uint8Array.of(1, 2) });
    expect(await head(`${server.url}/b.txt`)).toMatchObject({ expiresAt, offset: token(2) });
  });
});

describe('head', () => {
  it('tells whether an appender is at a stream, and how the last one ended', async () => {
    await create(url);
    expect(await head(url)).not.toHaveProperty('appender');
    const { store } = server;
    const session = await store.acquire('a.txt');
    expect(await head(url)).toMatchObject({ appender: 'active' });
    await session.release({ lost: true });
    expect(await head(url)).toMatchObject({ appender: 'lost' });
    await (await store.acquire('a.txt')).release();
    expect(await head(url)).toMatchObject({ appender: 'left' });
    await close(url);
    expect(await head(url)).not.toHaveProperty('appender');
  });
});

describe('read', () => {
  it('gives what there is from an offset on, and where to go on', async () => {
    await append(url, 'one two');
    const all = await read(url);
    expect(Buffer.from(all.data).toString()).toBe('one two');
    expect(all).toMatchObject({ offset: token(7), upToDate: true, closed: false });
    expect(Buffer.from((await read(url, { offset: '0000000000000004' })).data).toString()).toBe('two');
    expect(await read(url, { offset: 'now' })).toMatchObject({ offset: token(7), data: new Uint8Array(0) });
  });

  it('gives a large stream whole, in as many answers as it takes', async () => {
    const bytes = new Uint8Array(3 * 1024 * 1024).map((_, i) => i % 251);
    await append(url, bytes);
    const pieces: Uint8Array[] = [];
    for (let offset = '-1', upToDate = false; !upToDate; ) {
      const piece = await read(url, { offset });
      pieces.push(piece.data);
      ({ offset, upToDate } = piece);
    }
    expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
  });

  it('passes on what is wrong', async () => {
    await expect(read(url)).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
    await expect(read(url, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
  });
});

describe('close and remove', () => {
  it('close for good, and remove', async () => {
    await append(url, 'all');
    expect(await close(url)).toEqual({ offset: token(3), closed: true });
    expect(await close(url)).toEqual({ offset: token(3), closed: true });
    await remove(url);
    for (const request of [head, close, remove]) {
      await expect(request(url)).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
    }
  });
});

describe('every request', () => {
  it('carries the headers that it is given', async () => {
    const seen: (string | undefined)[] = [];
    const recorder = createServer((req, res) => {
      seen.push(req.headers.authorization);
      res.writeHead(200, { 'Stream-Next-Offset': '0000000000000000' }).end();
    });
    recorder.on('upgrade', (req, socket) => {
      seen.push(req.headers.authorization);
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n');
    });
    await new Promise<void>((resolve) => recorder.listen(0, '127.0.0.1', resolve));
    const { port } = recorder.address() as { port: number };
    const headers = { authorization: 'Bearer token' };
    const target = `http://127.0.0.1:${port}/a.txt`;
    await create(target, { headers, contentType: 'text/plain' });
    await head(target, { headers });
    await append(target, 'x', { headers }).catch(() => undefined);
    recorder.closeAllConnections();
    recorder.close();
    expect(seen).toEqual(['Bearer token', 'Bearer token', 'Bearer token']);
  });

  it('ends at an aborted signal, also within the body of the answer', async () => {
    const slow = createServer((_req, res) => {
      res.writeHead(200, { 'Stream-Next-Offset': '0000000000000000' }).write('some, and never the rest');
    });
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
    const { port } = slow.address() as { port: number };
    const controller = new AbortController();
    const reading = read(`http://127.0.0.1:${port}/a.txt`, { signal: controller.signal });
    setTimeout(() => controller.abort(new Error('enough')), 100);
    await expect(reading).rejects.toThrow('enough');
    slow.closeAllConnections();
    slow.close();
  });

  it('takes user and password from the URL, as append and follow do', async () => {
    const seen: (string | undefined)[] = [];
    const recorder = createServer((req, res) => {
      seen.push(req.headers.authorization);
      res.writeHead(200, { 'Stream-Next-Offset': '0000000000000000' }).end();
    });
    recorder.on('upgrade', (req, socket) => {
      seen.push(req.headers.authorization);
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n');
    });
    await new Promise<void>((resolve) => recorder.listen(0, '127.0.0.1', resolve));
    const { port } = recorder.address() as { port: number };
    const target = `http://user:p%40ss%E2%82%AC@127.0.0.1:${port}/a.txt`;
    await head(target);
    await append(target, 'x').catch(() => undefined);
    await head(target, { headers: { authorization: 'Bearer token' } });
    recorder.closeAllConnections();
    recorder.close();
    const basic = `Basic ${Buffer.from('user:p@ss€').toString('base64')}`;
    expect(seen).toEqual([basic, basic, 'Bearer token']);
  });

  it('says why HEAD was refused, though its answer has no body', async () => {
    const reason = await read(`${server.url}/a%2F..`).catch((error: unknown) => error);
    expect(reason).toMatchObject({ code: 'INVALID_PATH' });
    await expect(head(`${server.url}/a%2F..`)).rejects.toEqual(reason);
    await expect(head(`${server.url}/`)).rejects.toEqual(await read(`${server.url}/`).catch((error: unknown) => error));
    await expect(head(`${server.url}/`)).rejects.not.toMatchObject({ code: 'UNEXPECTED_RESPONSE' });
  });

  it('leaves out the fragment of a URL, which no server sees', async () => {
    await append(`${url}#top`, 'x');
    expect((await head(`${url}#top`)).offset).toEqual(token(1));
    const parts: string[] = [];
    for await (const part of follow(`${url}#top`).text()) parts.push(part);
    expect(parts).toEqual(['x']);
  });

  it.each([
    ['a header name', { headers: { 'no name': 'x' } }],
    ['a header value', { headers: { good: 'a\nb' } }],
    ['a control character', { headers: { good: 'a\u0001b' } }],
    ['a header that is no text', { headers: { good: '€' } }],
    ['no time for a heartbeat', { heartbeatMs: 0 }],
    ['no time to connect', { connectTimeoutMs: 0 }],
    ['a time that no timer takes', { connectTimeoutMs: 2 ** 31 }],
    ['an endless heartbeat', { heartbeatMs: Number.POSITIVE_INFINITY }],
    ['no number', { heartbeatMs: Number.NaN }],
  ])('refuses %s', async (_what, options) => {
    const invalid = { code: 'INVALID_ARGUMENT' };
    for (const call of [head, read, create, close, remove]) {
      await expect(call(url, options)).rejects.toMatchObject(invalid);
    }
    await expect(append(url, 'x', options)).rejects.toMatchObject(invalid);
    expect(() => follow(url, options)).toThrow(expect.objectContaining(invalid));
  });

  it('refuses what cannot be sent as a header of its own', async () => {
    const invalid = { code: 'INVALID_ARGUMENT' };
    await expect(create(url, { expiresAt: new Date('x') })).rejects.toMatchObject(invalid);
    await expect(create(url, { contentType: 'text/plain\nX: y' })).rejects.toMatchObject(invalid);
  });
});
