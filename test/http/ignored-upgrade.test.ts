import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { promisify } from 'node:util';
import express from 'express';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configureServer, createHandler } from '../../src/http/index.js';
import { createMemoryStore } from '../../src/log/index.js';
import { ask, dial, drain, serve, type TestServer, until } from './test-server.js';

const run = promisify(execFile);

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

// `curl --http2` and Java's client ask for another protocol than WebSocket with any request, and are answered as if they
// had not (RFC 9110, section 7.8). By then Node has let go of the connection.
const H2C = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n';
const CLOSE = H2C.replace('Connection: ', 'Connection: close, ');
const TEXT = 'Content-Type: text/plain\r\n';

function statuses(answers: string): number[] {
  return [...answers.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status));
}

async function send(...pieces: (string | Buffer)[]): Promise<string> {
  const socket = await dial(server);
  for (const piece of pieces) {
    socket.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return drain(socket);
}

describe('a request that asks for an upgrade which is not spoken', () => {
  it.each(['h2c', 'foo', 'TLS/1.0, h2c'])('to %s is served as usual, with its body', async (protocol) => {
    const upgrade = CLOSE.replace('h2c', protocol);
    const made = await send(`PUT /a HTTP/1.1\r\nHost: x\r\n${TEXT}${upgrade}Content-Length: 5\r\n\r\nhello`);
    expect(statuses(made)).toEqual([201]);
    const posted = await send(`POST /a HTTP/1.1\r\nHost: x\r\n${TEXT}${upgrade}Content-Length: 1\r\n\r\n!`);
    expect(statuses(posted)).toEqual([204]);
    expect((await ask(server, 'GET', '/a')).text).toBe('hello!');
  });

  it('may have a large body, which comes in pieces', async () => {
    const body = Buffer.alloc(3_000_000, 'abcdefghij');
    const head = `PUT /a HTTP/1.1\r\nHost: x\r\n${TEXT}${CLOSE}Content-Length: ${body.length}\r\n\r\n`;
    expect(statuses(await send(head, body.subarray(0, 10), body.subarray(10)))).toEqual([201]);
    expect((await ask(server, 'GET', '/a')).body.equals(body)).toBe(true);
  });

  it('may have a chunked body, and come byte by byte', async () => {
    const text = `POST /a?verb=append HTTP/1.1\r\nHost: x\r\n${TEXT}${CLOSE}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n`;
    expect(statuses(await send(...text))).toEqual([204]);
    expect((await ask(server, 'GET', '/a')).text).toBe('abcde');
  });

  it('keeps its connection, also for the next one that asks', async () => {
    const socket = await dial(server);
    for (let i = 0; i < 20; i++) {
      socket.write(`PUT /a${i} HTTP/1.1\r\nHost: x\r\n${TEXT}${H2C}Content-Length: 1\r\n\r\n${i % 10}`);
      const [answer] = (await once(socket, 'data')) as [Buffer];
      expect(statuses(answer.toString())).toEqual([201]);
    }
    socket.destroy();
  });

  it('comes after those that it was pipelined behind, and before those behind it', async () => {
    await server.store.create('a', { contentType: 'text/plain' });
    const post = (fields: string, body: string) =>
      `POST /a HTTP/1.1\r\nHost: x\r\n${TEXT}${fields}Content-Length: ${body.length}\r\n\r\n${body}`;
    const answers = await send(post('', 'one ') + post(H2C, 'two ') + post('', 'three ') + post(CLOSE, 'four'));
    expect(statuses(answers)).toEqual([204, 204, 204, 204]);
    expect((await ask(server, 'GET', '/a')).text).toBe('one two three four');
  });

  it('has Expect: 100-continue answered', async () => {
    const socket = await dial(server);
    socket.write(`PUT /a HTTP/1.1\r\nHost: x\r\n${TEXT}${CLOSE}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
    const [first] = (await once(socket, 'data')) as [Buffer];
    expect(statuses(first.toString())).toEqual([100]);
    socket.write('hi');
    expect(statuses(await drain(socket))).toEqual([201]);
  });

  it('that follows is gone when its client is', async () => {
    await server.store.create('a', { contentType: 'text/plain' });
    const count = () => new Promise<number>((resolve) => server.server.getConnections((_, open) => resolve(open)));
    const sockets = await Promise.all(
      Array.from({ length: 3 }, async () => {
        const socket = await dial(server);
        socket.write(`GET /a?live=raw&offset=-1 HTTP/1.1\r\nHost: x\r\n${H2C}\r\n`);
        await once(socket, 'data');
        return socket;
      }),
    );
    expect(await count()).toBe(3);
    for (const socket of sockets) socket.end();
    await until(async () => (await count()) === 0);
  });

  it('is served by whatever the server has at its place', async () => {
    const store = createMemoryStore();
    const handler = createHandler({ store, prefix: '/streams' });
    const app = express();
    app.use(handler.request);
    app.post('/other', (_, res) => void res.send('other'));
    const mounted = createServer(app).on('upgrade', handler.upgrade);
    configureServer(mounted);
    await once(mounted.listen(0, '127.0.0.1'), 'listening');
    const { port } = mounted.address() as AddressInfo;
    const socket = connect(port, '127.0.0.1');
    socket.write(`PUT /streams/a HTTP/1.1\r\nHost: x\r\n${TEXT}${CLOSE}Content-Length: 2\r\n\r\nhi`);
    expect(statuses(await drain(socket))).toEqual([201]);
    await handler.close();
    mounted.closeAllConnections();
    mounted.close();
    await store.close();
  });
});

describe('a WebSocket handshake', () => {
  it('waits for the answers to the requests that it was pipelined behind', async () => {
    await server.store.create('a', { contentType: 'text/plain', data: Buffer.alloc(2_000_000, 'x') });
    const socket = await dial(server);
    socket.write(
      'GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /a?live=ws&offset=now HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    );
    let received = '';
    socket.on('data', (data: Buffer) => {
      received += data.toString('latin1');
    });
    await until(() => received.includes('HTTP/1.1 101'));
    expect(received.indexOf('HTTP/1.1 101')).toBe(received.indexOf('\r\n\r\n') + 4 + 2_000_000);
    socket.destroy();
  });
});

describe('curl --http2', () => {
  const curl = (...args: string[]) => run('curl', ['-sS', '--http2', '--max-time', '20', ...args]);

  it('makes, appends, uploads and reads', async () => {
    const url = `${server.url}/a`;
    await curl('-f', '-X', 'PUT', '-H', 'content-type: text/plain', '-d', 'one ', url);
    await curl('-f', '-X', 'POST', '-H', 'content-type: text/plain', '-d', 'two ', url);
    await curl('-f', '-T', 'package.json', `${server.url}/b?verb=append`);
    expect((await curl('-f', url)).stdout).toBe('one two ');
    expect((await curl('-f', `${server.url}/b`)).stdout).toContain('"name": "millrace"');
  });
});
