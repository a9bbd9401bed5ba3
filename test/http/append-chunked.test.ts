import { Buffer } from 'node:buffer';
import { type ClientRequest, request } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { token } from '../token.js';
import { type Answer, ask, collect, dial, drain, problemOf, serve, type TestServer, until } from './test-server.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

/** An upload that is under way, and its answer. */
function upload(path: string, headers: Record<string, string> = {}): { req: ClientRequest; answer: Promise<Answer> } {
  const req = request({ host: '127.0.0.1', port: server.port, method: 'PUT', path, headers, agent: false });
  const answer = new Promise<Answer>((resolve, reject) => {
    req.on('response', (res) => resolve(collect(res)));
    req.on('error', reject);
  });
  return { req, answer };
}

const contents = async (path: string) => (await ask(server, 'GET', path)).text;
const isFree = async (path: string) => !(await server.store.stat(path)).appender;

describe('appending over a request body', () => {
  it('appends bytes as they arrive, and answers with the offset when all is durable', async () => {
    const { req, answer } = upload('/foo.txt?verb=append');
    req.write('one ');
    await until(async () => (await contents('/foo.txt')) === 'one ');
    req.write('two');
    await until(async () => (await contents('/foo.txt')) === 'one two');
    req.end();
    expect(await answer).toMatchObject({ status: 204, headers: { 'stream-next-offset': token(7) } });
    expect(await isFree('foo.txt')).toBe(true);
  });

  it('works with POST, a length and the header as well', async () => {
    const answer = await ask(server, 'POST', '/foo.txt', { headers: { 'X-Verb': 'APPEND' }, body: 'body' });
    expect(answer.status).toBe(204);
    expect(await contents('/foo.txt')).toBe('body');
  });

  it('appends nothing, and creates the stream, for an empty body', async () => {
    const answer = await ask(server, 'PUT', '/foo.txt?verb=append', { body: '' });
    expect(answer).toMatchObject({ status: 204, headers: { 'stream-next-offset': token(0) } });
    expect((await ask(server, 'GET', '/foo.txt')).status).toBe(200);
  });

  it('keeps what arrived when the client disappears, and frees the stream', async () => {
    const { req, answer } = upload('/foo.txt?verb=append');
    answer.catch(() => {});
    req.write('kept');
    await until(async () => (await server.store.stat('foo.txt').catch(() => ({ tail: 0 }))).tail === 4);
    req.destroy();
    await until(() => isFree('foo.txt'));
    expect(await contents('/foo.txt')).toBe('kept');
  });

  it('is refused while there is another appender, although it is still sending', async () => {
    const session = await server.store.acquire('foo.txt', { create: {} });
    const { req, answer } = upload('/foo.txt?verb=append');
    const sending = setInterval(() => req.write('more and more'), 5);
    const refused = await answer;
    clearInterval(sending);
    req.destroy();
    expect([refused.status, problemOf(refused)]).toEqual([403, 'APPENDER_ACTIVE']);
    await session.release();
    expect(await contents('/foo.txt')).toBe('');
  });

  it('closes the stream at the end of the body where it is asked to', async () => {
    const answer = await ask(server, 'PUT', '/foo.txt?verb=append&close=true', { body: 'all' });
    expect(answer.headers).toMatchObject({ 'stream-closed': 'true', 'stream-next-offset': token(3) });
    const again = await ask(server, 'PUT', '/foo.txt?verb=append', { body: 'more' });
    expect([again.status, problemOf(again)]).toEqual([409, 'STREAM_CLOSED']);
  });

  it('is told when the stream is deleted in the middle', async () => {
    const { req, answer } = upload('/foo.txt?verb=append');
    req.write('x');
    await until(async () => (await server.store.stat('foo.txt').catch(() => ({ tail: 0 }))).tail === 1);
    await server.store.delete('foo.txt');
    expect((await answer).status).toBe(409);
    req.destroy();
  });

  it('takes lines for a JSON stream, wherever the body is cut', async () => {
    const { req, answer } = upload('/j?verb=append', { 'Content-Type': 'application/json' });
    req.write('{"n":');
    req.write('1}\n[2,');
    req.write('3]\r\n\n"four"');
    req.end();
    expect((await answer).status).toBe(204);
    expect(await contents('/j')).toBe('[{"n":1},[2,3],"four"]');
    for (const bad of ['{"n":', '1,2', '1 2', '1]\n[2']) {
      const refused = await ask(server, 'POST', '/j?verb=append', { body: `${bad}\n` });
      expect([bad, refused.status, problemOf(refused)]).toEqual([bad, 400, 'INVALID_JSON']);
    }
    expect(await contents('/j')).toBe('[{"n":1},[2,3],"four"]');
  });

  it('keeps what came before a body that breaks its own framing', async () => {
    const socket = await dial(server);
    socket.write('PUT /foo.txt?verb=append HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nkept\r\n');
    await until(async () => (await server.store.stat('foo.txt').catch(() => ({ tail: 0 }))).tail === 4);
    socket.write('zz\r\nlost\r\n');
    await drain(socket);
    await until(() => isFree('foo.txt'));
    expect(await contents('/foo.txt')).toBe('kept');
  });

  it('takes a large body through a small buffer', async () => {
    await server.close();
    server = await serve({ limits: { appendBufferBytes: 10_000 } });
    const data = Buffer.alloc(3_000_000, 'millrace ');
    expect((await ask(server, 'PUT', '/foo.txt?verb=append', { body: data })).status).toBe(204);
    expect((await ask(server, 'GET', '/foo.txt')).body.equals(data)).toBe(true);
  });
});
