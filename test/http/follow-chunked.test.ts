import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask, begin, collect, dial, drain, problemOf, serve, type TestServer, until } from './test-server.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

/** Collects a body while it comes. */
function watch(res: IncomingMessage): { readonly text: string; readonly ended: Promise<unknown> } {
  let text = '';
  res.setEncoding('latin1').on('data', (piece: string) => {
    text += piece;
  });
  const ended = once(res, 'end');
  ended.catch(() => {});
  return {
    get text() {
      return text;
    },
    ended,
  };
}

describe('over HTTP/1.0, where a body ends with its connection,', () => {
  it.each(['/foo.txt?live=raw', '/foo.txt?verb=follow'])('%s says that its end means nothing', async (path) => {
    await server.store.create('foo.txt', { data: Buffer.from('all') });
    const session = await server.store.acquire('foo.txt');
    const socket = await dial(server);
    socket.write(`GET ${path} HTTP/1.0\r\n\r\n`);
    let text = '';
    socket.on('data', (data) => {
      text += data.toString('latin1');
    });
    await until(() => text.endsWith('\r\n\r\nall'));
    expect(text).toMatch(/^Stream-End: unmarked\r$/m);
    const chunked = await begin(server, 'GET', path);
    expect(chunked.headers['stream-end']).toBeUndefined();
    await session.append(Buffer.alloc(0), { close: true });
    await once(socket, 'end');
    expect((await collect(chunked)).text).toBe('all');
  });
});

describe('GET ?verb=follow', () => {
  it('gives the contents so far, then what is appended, and ends when the appender leaves', async () => {
    const session = await server.store.acquire('foo.txt', { create: {} });
    await session.append(Buffer.from('so far '));
    const res = await begin(server, 'GET', '/foo.txt?verb=follow');
    expect(res.statusCode).toBe(200);
    expect(res.headers['content-type']).toContain('text/plain');
    const body = watch(res);
    await until(() => body.text === 'so far ');
    await session.append(Buffer.from('and now'));
    await until(() => body.text === 'so far and now');
    await session.release();
    await body.ended;
    expect(res.complete).toBe(true);
  });

  it('gives a plain 200 without an appender, and 404 where nothing was ever written', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('everything') });
    const answer = await ask(server, 'GET', '/foo.txt?verb=follow');
    expect(answer).toMatchObject({ status: 200, text: 'everything', headers: { 'content-length': '10' } });
    expect((await ask(server, 'GET', '/foo.txt?verb=follow&offset=0000000000000005')).text).toBe('thing');
    expect(problemOf(await ask(server, 'GET', '/none.txt?verb=follow'))).toBe('STREAM_NOT_FOUND');
  });

  it('waits for an appender that is not back yet, where it is asked to', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('one ') });
    const body = watch(await begin(server, 'GET', '/foo.txt?verb=follow&resume=true'));
    await until(() => body.text === 'one ');
    const session = await server.store.acquire('foo.txt');
    await session.append(Buffer.from('two'));
    await session.release();
    await body.ended;
    expect(body.text).toBe('one two');
  });
});

describe('GET ?live=raw', () => {
  it('goes on until the stream is closed, whoever appends', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('0123456789') });
    const res = await begin(server, 'GET', '/foo.txt?live=raw&offset=0000000000000004');
    const body = watch(res);
    await server.store.append('foo.txt', { data: Buffer.from('abc') });
    const session = await server.store.acquire('foo.txt');
    await session.append(Buffer.from('def'));
    await session.release();
    await until(() => body.text === '456789abcdef');
    await server.store.append('foo.txt', { close: true });
    await body.ended;
    expect(res.complete).toBe(true);
  });

  it('gives the lines of a JSON stream', async () => {
    await server.store.create('j', { contentType: 'application/json', data: Buffer.from('{"n":1}\n'), closed: true });
    const answer = await ask(server, 'GET', '/j?live=raw');
    expect(answer.headers['content-type']).toBe('application/x-ndjson');
    expect(answer.text).toBe('{"n":1}\n');
  });

  it('keeps its connection for the next request after a proper end', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('x'), closed: true });
    const socket = await dial(server);
    const get = 'GET /foo.txt?live=raw HTTP/1.1\r\nHost: x\r\n\r\n';
    // Pipelined: the second one waits for its turn inside Node, where its bytes must not overtake the first.
    socket.write(get + get + get.replace('Host: x', 'Host: x\r\nConnection: close'));
    const answers = await drain(socket);
    expect(answers.match(/HTTP\/1\.1 200 OK/g)?.length).toBe(3);
    expect(answers.match(/\r\n1\r\nx\r\n0\r\n\r\n/g)?.length).toBe(3);
  });

  it('serves HTTP/1.0, where the end of the connection is the end of the body', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('there ') });
    const socket = await dial(server);
    socket.write('GET /foo.txt?live=raw HTTP/1.0\r\n\r\n');
    const answer = drain(socket);
    await server.store.append('foo.txt', { data: Buffer.from('and more'), close: true });
    expect((await answer).split('\r\n\r\n')[1]).toBe('there and more');
  });

  it('passes through what wraps the response', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('abc') });
    server.server.prependListener('request', (_, res) => {
      const { write } = res;
      res.write = (bytes: string | Uint8Array, ...rest: unknown[]) =>
        (write as (...args: unknown[]) => boolean).call(res, Buffer.from(bytes).toString().toUpperCase(), ...rest);
    });
    const answer = ask(server, 'GET', '/foo.txt?live=raw');
    await server.store.append('foo.txt', { data: Buffer.from('def'), close: true });
    expect((await answer).text).toBe('ABCDEF');
  });

  it('is cut off, not ended, when the stream is deleted', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('abc') });
    const res = await begin(server, 'GET', '/foo.txt?live=raw');
    const answer = collect(res);
    await server.store.delete('foo.txt');
    await expect(answer).rejects.toThrow('aborted');
  });

  it('lets go of everything when its client goes away', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('abc') });
    const res = await begin(server, 'GET', '/foo.txt?live=raw');
    res.destroy();
    const other = await begin(server, 'GET', '/foo.txt?live=raw');
    await server.store.append('foo.txt', { data: Buffer.from('def'), close: true });
    expect((await collect(other)).text).toBe('abcdef');
  });

  it('begins at the tail for offset=now, and refuses what is no offset', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('abc') });
    const res = await begin(server, 'GET', '/foo.txt?live=raw&offset=now');
    await server.store.append('foo.txt', { data: Buffer.from('def'), close: true });
    expect((await collect(res)).text).toBe('def');
    for (const [offset, code] of [
      ['17', 'INVALID_OFFSET'],
      ['', 'INVALID_OFFSET'],
      ['-2', 'INVALID_OFFSET'],
      ['00000000000000ff', 'INVALID_OFFSET'],
      ['0000000000000007', 'OFFSET_OUT_OF_RANGE'],
    ]) {
      const refused = await ask(server, 'GET', `/foo.txt?live=raw&offset=${offset}`);
      expect([offset, refused.status, problemOf(refused)]).toEqual([offset, 400, code]);
    }
  });
});
