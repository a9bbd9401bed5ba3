import { Buffer } from 'node:buffer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, dial, drain, problemOf, serve, type TestServer } from './test-server.js';
import { tryOpen } from './test-socket.js';

let server: TestServer;

beforeAll(async () => {
  server = await serve();
  await server.store.create('safe.txt', { data: Buffer.from('safe') });
});

// Whatever was asked: nothing else was made, and what was there is as it was.
afterAll(async () => {
  const { streams } = await server.store.list();
  expect(streams.map(({ path }) => path)).toEqual(['safe.txt']);
  expect((await ask(server, 'GET', '/safe.txt')).text).toBe('safe');
  await server.close();
});

/** Sends bytes as they are, and gives status line and body of the answer. */
async function send(text: string): Promise<{ status: number; body: string }> {
  const socket = await dial(server);
  socket.write(text);
  const answer = await drain(socket);
  return {
    status: Number(answer.split(' ', 2)[1]),
    body: answer.slice(answer.indexOf('\r\n\r\n') + 4),
  };
}

const HANDSHAKE = [
  'Host: x',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  '',
].join('\r\n');

describe('paths', () => {
  const bad = [
    '/../etc/passwd',
    '/a/../../b',
    '/a/..',
    '/%2e%2e/b',
    '/%2E%2e%2fb',
    '/..%2f..%2fb',
    '/a/%2e/b',
    '/a//b',
    '/a/',
    '/a%2f..%2fb',
    '/a%2F.',
    '/%2e%2e%2f',
    '/a%00b',
    '/a%0ab',
    '/a%5cb',
    '/a\\b',
    '/a%2f%5cb',
    '/a%zzb',
    '/a%',
    '/%ff%fe',
    '/%c0%ae%c0%ae/x',
    '/',
    `/${'x'.repeat(256)}`,
    `/${'%E2%82%AC'.repeat(90)}`,
    `/${'x/'.repeat(600)}x`,
  ];

  it.each(bad)('%s names no stream, for any method or verb', async (path) => {
    for (const [method, query] of [
      ['GET', ''],
      ['PUT', ''],
      ['POST', ''],
      ['PUT', '?verb=append'],
      ['GET', '?verb=follow'],
    ] as const) {
      const answer = await ask(server, method, path + query);
      expect([answer.status, problemOf(answer)]).toEqual([400, 'INVALID_PATH']);
      expect(answer.text).not.toContain('/work');
    }
    const upgrade = await send(`GET ${path}?verb=append HTTP/1.1\r\n${HANDSHAKE}\r\n`);
    expect([upgrade.status, JSON.parse(upgrade.body).code]).toEqual([400, 'INVALID_PATH']);
  });

  it('are too long at some length', async () => {
    const answer = await ask(server, 'GET', `/safe.txt?q=${'x'.repeat(9000)}`);
    expect([answer.status, problemOf(answer)]).toEqual([414, 'URL_TOO_LONG']);
  });
});

describe('verbs and methods', () => {
  it('that there are not are refused', async () => {
    for (const [method, path, headers, status, code] of [
      ['GET', '/safe.txt?verb=explode', {}, 400, 'UNKNOWN_VERB'],
      ['GET', '/safe.txt', { 'X-Verb': 'TAIL' }, 400, 'UNKNOWN_VERB'],
      ['PATCH', '/safe.txt', {}, 405, 'METHOD_NOT_ALLOWED'],
      ['TRACE', '/safe.txt', {}, 405, 'METHOD_NOT_ALLOWED'],
      ['DELETE', '/safe.txt?verb=append', {}, 405, 'METHOD_NOT_ALLOWED'],
      ['POST', '/safe.txt?verb=follow', {}, 405, 'METHOD_NOT_ALLOWED'],
      ['DELETE', '/safe.txt?verb=follow', {}, 405, 'METHOD_NOT_ALLOWED'],
      ['PUT', '/safe.txt', { 'X-Verb': 'FOLLOW' }, 405, 'METHOD_NOT_ALLOWED'],
      ['POST', '/-/health', {}, 405, 'METHOD_NOT_ALLOWED'],
      ['GET', '/-/nothing', {}, 404, 'NOT_FOUND'],
      ['GET', '/-/constructor', {}, 404, 'NOT_FOUND'],
      ['GET', '/safe.txt?live=tv&offset=-1', {}, 400, 'INVALID_REQUEST'],
      ['GET', '/safe.txt?verb=append', {}, 426, 'UPGRADE_REQUIRED'],
      ['GET', '/safe.txt?live=ws', {}, 426, 'UPGRADE_REQUIRED'],
      ['GET', '/-/streams?limit=0', {}, 400, 'INVALID_REQUEST'],
      ['GET', '/-/streams?limit=many', {}, 400, 'INVALID_REQUEST'],
    ] as const) {
      const answer = await ask(server, method, path, { headers });
      expect([method, path, answer.status, problemOf(answer)]).toEqual([method, path, status, code]);
    }
  });

  it('name the methods that work', async () => {
    expect((await ask(server, 'PATCH', '/safe.txt')).headers.allow).toContain('GET');
    expect((await ask(server, 'POST', '/-/health')).headers.allow).toContain('GET');
  });
});

describe('upgrades', () => {
  const upgrade = (headers: string) =>
    `GET /new.txt?verb=append HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n${headers}\r\n`;

  it('without the right headers are refused', async () => {
    for (const headers of [
      'Upgrade: websocket\r\n',
      'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n',
      'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n',
      'Upgrade: websocket\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n',
      'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: a,a\r\n',
      'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: (\r\n',
    ]) {
      const { status, body } = await send(upgrade(headers));
      expect([headers, status, JSON.parse(body).code]).toEqual([headers, 400, 'INVALID_HANDSHAKE']);
    }
  });

  it('with another method are refused', async () => {
    const { status, body } = await send(
      upgrade(
        'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n',
      ).replace('GET', 'POST'),
    );
    expect([status, JSON.parse(body).code]).toEqual([400, 'INVALID_HANDSHAKE']);
  });

  it('to something else are not taken up', async () => {
    const { status, body } = await send(
      'GET /safe.txt HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n',
    );
    expect([status, body]).toEqual([200, 'safe']);
  });

  it('where nothing listens are refused', async () => {
    for (const [path, status, code] of [
      ['/-/health', 404, 'NOT_FOUND'],
      ['/__ds/x', 404, 'NOT_FOUND'],
      ['/safe.txt?live=sse', 400, 'INVALID_REQUEST'],
      ['/safe.txt?verb=fly', 400, 'UNKNOWN_VERB'],
    ] as const) {
      const answer = await tryOpen(server, path);
      if (!('status' in answer)) throw new Error('It was upgraded.');
      expect([path, answer.status, problemOf(answer)]).toEqual([path, status, code]);
    }
  });

  it('whose client hangs up in the middle leave nothing behind', async () => {
    for (let i = 0; i < 20; i++) {
      const socket = await dial(server);
      socket.write(`GET /safe.txt?verb=append HTTP/1.1\r\n${HANDSHAKE}\r\n`);
      if (i % 2 === 0) socket.destroy();
      else socket.resetAndDestroy();
    }
    await expect.poll(async () => (await server.store.stat('safe.txt')).appender, { timeout: 5000 }).toBe(false);
  });
});

describe('headers and bodies', () => {
  it('of more than Node takes are refused by it', async () => {
    const { status } = await send(`GET /safe.txt HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`);
    expect(status).toBe(431);
  });

  it('that are no HTTP are refused by Node', async () => {
    expect((await send('HELLO\r\n\r\n')).status).toBe(400);
  });
});
