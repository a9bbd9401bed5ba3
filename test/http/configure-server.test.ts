import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configureServer, createHandler, type Handler } from '../../src/http/index.js';
import { createHub } from '../../src/hub/index.js';
import { createMemoryStore, type Store } from '../../src/log/index.js';
import { dial, drain, serve, type TestServer, until } from './test-server.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

const TEXT = 'Content-Type: text/plain\r\n';

/** Status and code of every answer on a connection. */
function answersOf(text: string): string[] {
  return text
    .split(/(?=HTTP\/1\.1 )/)
    .map((answer) => [answer.slice(9, 12), /"code":"(\w+)"/.exec(answer)?.[1] ?? ''].join(' ').trim());
}

async function send(text: string): Promise<string[]> {
  const socket = await dial(server);
  socket.write(text);
  return answersOf(await drain(socket));
}

describe('a request whose headers do not come', () => {
  it('is refused soon after their time is over', async () => {
    const store: Store = createMemoryStore();
    const handler: Handler = createHandler({ store });
    const slow = createServer(handler.request);
    configureServer(slow, { headersTimeoutMs: 200 });
    await once(slow.listen(0, '127.0.0.1'), 'listening');
    const { port } = slow.address() as AddressInfo;
    for (const beginning of ['', 'GET /a HTTP/1.1\r\nHost: x\r\n']) {
      const socket = connect(port, '127.0.0.1');
      socket.write(beginning);
      expect(answersOf(await drain(socket))).toEqual(['408 REQUEST_TIMEOUT']);
    }
    await handler.close();
    slow.close();
    await store.close();
  }, 25_000);
});

describe('a body whose framing is wrong', () => {
  const chunked = (method: string, target: string, body: string) =>
    `${method} ${target} HTTP/1.1\r\nHost: x\r\n${TEXT}Transfer-Encoding: chunked\r\n\r\n${body}`;

  it.each(['PUT /new', 'POST /a', 'POST /a?verb=append', 'PUT /b?verb=append', 'POST /-/nowhere'])(
    'is told so: %s',
    async (line) => {
      await server.store.create('a', { contentType: 'text/plain' });
      const [method = '', target = ''] = line.split(' ');
      for (const body of ['zz\r\nhello\r\n', '5\r\nhelloXX\r\n0\r\n\r\n', '-1\r\n\r\n', '5;\n\r\n']) {
        expect((await send(chunked(method, target, body))).at(0)).toBe(
          target.startsWith('/-/') ? '404 NOT_FOUND' : '400 INVALID_REQUEST',
        );
      }
    },
  );

  it('is told so when its beginning is being read', async () => {
    await server.store.create('a', { contentType: 'text/plain' });
    for (const target of ['/a', '/a?verb=append']) {
      const socket = await dial(server);
      socket.write(chunked('POST', target, '5\r\nhello\r\n'));
      if (target !== '/a') await until(async () => (await server.store.stat('a')).tail === 5);
      else await new Promise((resolve) => setTimeout(resolve, 50));
      socket.write('nonsense\r\n');
      expect(answersOf(await drain(socket))).toEqual(['400 INVALID_REQUEST']);
    }
    // What an appender had sent stays, and the stream is free.
    await until(async () => !(await server.store.stat('a')).appender);
    expect((await server.store.stat('a')).tail).toBe(5);
  });

  it('also where the client goes on sending', async () => {
    const socket = await dial(server);
    socket.write(chunked('PUT', '/new', `zz\r\n${'x'.repeat(1_000_000)}`));
    expect(answersOf(await drain(socket))).toEqual(['400 INVALID_REQUEST']);
  });

  it('does not take the answer from the request before', async () => {
    const put = `PUT /c HTTP/1.1\r\nHost: x\r\n${TEXT}Content-Length: 2\r\n\r\nhi`;
    expect(await send(`${put}${chunked('POST', '/c', 'zz\r\n')}`)).toEqual(['201']);
    expect(await send(`${put}nonsense\r\n\r\n`)).toEqual(['200']);
  });
});

describe('Expect', () => {
  const ask = async (line: string, fields: string): Promise<Socket> => {
    const socket = await dial(server);
    socket.write(`${line} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n${fields}\r\n`);
    return socket;
  };

  it('is answered with 100 when the body is wanted', async () => {
    for (const line of ['PUT /a', 'POST /a', 'PUT /b?verb=append']) {
      const socket = await ask(line, `${TEXT}Connection: close\r\nContent-Length: 2\r\n`);
      const [first] = (await once(socket, 'data')) as [Buffer];
      expect([line, answersOf(first.toString())]).toEqual([line, ['100']]);
      socket.write('hi');
      expect(answersOf(await drain(socket))[0]).toMatch(/^20[14]$/);
    }
    expect((await server.store.stat('a')).tail).toBe(4);
  });

  it('is answered with what the headers alone lead to', async () => {
    await server.store.create('closed', { contentType: 'text/plain', closed: true });
    await server.store.create('taken', { contentType: 'text/plain' });
    const session = await server.store.acquire('taken');
    await server.store.create('json', { contentType: 'application/json' });
    for (const [line, fields, answer] of [
      ['PUT /big', 'Content-Length: 99999999\r\n', '413 BODY_TOO_LARGE'],
      ['POST /json', 'Content-Length: 99999999\r\n', '413 BODY_TOO_LARGE'],
      ['POST /missing', `${TEXT}Content-Length: 5\r\n`, '404 STREAM_NOT_FOUND'],
      ['POST /closed', `${TEXT}Content-Length: 5\r\n`, '409 STREAM_CLOSED'],
      ['POST /taken', `${TEXT}Content-Length: 5\r\n`, '409 APPENDER_ACTIVE'],
      ['POST /taken?verb=append', `${TEXT}Content-Length: 5\r\n`, '403 APPENDER_ACTIVE'],
      ['POST /json', `${TEXT}Content-Length: 5\r\n`, '409 CONTENT_TYPE_MISMATCH'],
      ['PUT /zip', 'Content-Encoding: gzip\r\nContent-Length: 5\r\n', '415 CONTENT_ENCODING_UNSUPPORTED'],
      ['PUT /a/../b', 'Content-Length: 5\r\n', '400 INVALID_PATH'],
      ['POST /-/publish?channel=a', 'Content-Length: 5\r\n', '404 NOT_FOUND'],
      ['POST /__ds/subscriptions/none/claim', 'Content-Length: 5\r\n', '404 SUBSCRIPTION_NOT_FOUND'],
    ] as const) {
      // Without its body, of which nobody knows whether it comes, the connection is of no more use.
      expect([line, answersOf(await drain(await ask(line, fields)))]).toEqual([line, [answer]]);
    }
    await session.release();
  });

  it('of anything else is refused', async () => {
    const socket = await dial(server);
    socket.write(`PUT /a HTTP/1.1\r\nHost: x\r\nExpect: the-spanish-inquisition\r\nContent-Length: 2\r\n\r\n`);
    expect(answersOf(await drain(socket))).toEqual(['417 EXPECTATION_FAILED']);
  });
});

describe('a body with a Content-Encoding', () => {
  it('is refused at every way in, and nothing is made or appended', async () => {
    await server.store.create('a', { contentType: 'text/plain' });
    for (const [method, path] of [
      ['PUT', '/new'],
      ['POST', '/a'],
      ['POST', '/a?verb=append'],
      ['PUT', '/new?verb=append'],
      ['PUT', '/__ds/subscriptions/s'],
      ['POST', '/__ds/subscriptions/s/claim'],
    ] as const) {
      for (const coding of ['gzip', 'br', 'identity, zstd', 'aws-chunked']) {
        const answer = await fetch(`${server.url}${path}`, {
          method,
          headers: { 'Content-Type': 'text/plain', 'Content-Encoding': coding },
          body: 'xyz',
        });
        const code = /"code":"(\w+)"/.exec(await answer.text())?.[1];
        expect([method, path, answer.status, code, answer.headers.get('accept-encoding')]).toEqual([
          method,
          path,
          415,
          'CONTENT_ENCODING_UNSUPPORTED',
          'identity',
        ]);
      }
    }
    expect((await server.store.list()).streams.map(({ path, tail }) => [path, tail])).toEqual([['a', 0]]);
  });

  it('that says nothing is taken', async () => {
    for (const coding of ['identity', 'Identity', '']) {
      const answer = await fetch(`${server.url}/a`, {
        method: 'PUT',
        headers: { 'Content-Type': 'text/plain', 'Content-Encoding': coding },
      });
      expect(answer.ok).toBe(true);
    }
  });

  it('is refused when it is published', async () => {
    const hub = createHub('memory:');
    const other = await serve({ hub });
    const headers = { 'Content-Encoding': 'gzip', 'Content-Type': 'application/octet-stream' };
    const answer = await fetch(`${other.url}/-/publish?channel=a`, { method: 'POST', headers, body: 'xyz' });
    expect([answer.status, answer.headers.get('accept-encoding')]).toEqual([415, 'identity']);
    await other.close();
    await hub.close();
  });
});
