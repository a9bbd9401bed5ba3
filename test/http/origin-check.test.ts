import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createHandler } from '../../src/http/index.js';
import { createHub, type Hub } from '../../src/hub/index.js';
import { createMemoryStore } from '../../src/log/index.js';
import { type Answer, ask, begin, dial, drain, problemOf, serve, type TestServer } from './test-server.js';
import { open, tryOpen } from './test-socket.js';

let server: TestServer;
let hub: Hub;

beforeEach(async () => {
  hub = createHub();
  server = await serve({
    hub,
    originCheck: {
      origins: ['https://App.example:443', 'chrome-extension://abc'],
      hostNames: ['streams.lan'],
      checkHost: true,
    },
  });
  await server.store.create('a.txt', { data: Buffer.from('text') });
});

afterEach(async () => {
  await server.close();
  await hub.close();
});

const from = (origin: string, headers: Record<string, string> = {}) => ({ headers: { Origin: origin, ...headers } });
const get = (headers: Record<string, string>, path = '/a.txt') => ask(server, 'GET', path, { headers });

const FOREIGN = [
  'https://evil.example',
  'null',
  'http://localhost.evil.example',
  'http://127.0.0.1.evil.example',
  'http://evil.example@localhost',
  'http://localhost@evil.example',
  'http://evil-localhost',
  'http://127.0.0.1evil.example',
  'http://128.0.0.1',
  'http://0.0.0.0',
  'http://[::2]',
  'http://[::1].evil.example',
  'https://app.example.evil.example',
  'http://app.example',
  'https://app.example:8443',
  'https://sub.app.example',
  'https://streams.lan.evil.example',
  'https://streams.lan',
  'ftp://localhost',
  'localhost',
  'http://localhost https://evil.example',
  'http://localhost, https://evil.example',
  'http://',
  '*',
  '',
];

const KNOWN = [
  'http://localhost',
  'http://localhost:3000',
  'https://localhost:3000',
  'http://LOCALHOST:3000',
  'http://localhost.:3000',
  'http://app.localhost:3000',
  'http://127.0.0.1:99',
  'http://127.8.9.10',
  'http://[::1]:99',
  'https://app.example',
  'chrome-extension://abc',
];

/** Whatever a page could ask for. */
const DOORS: [method: string, path: string, body?: string][] = [
  ['GET', '/a.txt'],
  ['HEAD', '/a.txt'],
  ['GET', '/a.txt?offset=-1'],
  ['GET', '/a.txt?offset=-1&live=long-poll'],
  ['GET', '/a.txt?offset=-1&live=sse'],
  ['GET', '/a.txt?live=raw'],
  ['GET', '/a.txt?verb=follow'],
  ['PUT', '/new.txt', 'forged'],
  ['POST', '/a.txt', 'forged'],
  ['POST', '/a.txt?verb=append', 'forged'],
  ['DELETE', '/a.txt'],
  ['PATCH', '/a.txt'],
  ['GET', '/none'],
  ['GET', '/a//b'],
  ['GET', '/-/streams'],
  ['GET', '/-/health'],
  ['GET', '/-/none'],
  ['GET', '/-/events?channel=a'],
  ['POST', '/-/publish?channel=a', '1'],
  ['GET', '/__ds/jwks.json'],
  ['PUT', '/__ds/subscriptions/a', '{"type":"pull-wake","pattern":"*","wake_stream":"w"}'],
];

const TEXT = { 'Content-Type': 'text/plain' };

describe('a page of a foreign origin', () => {
  it.each(DOORS)('cannot %s %s', async (method, path, body) => {
    const answer = await ask(server, method, path, {
      headers: { Origin: 'https://evil.example', ...TEXT },
      ...(body === undefined ? {} : { body }),
    });
    expect(answer.status).toBe(403);
    if (method !== 'HEAD') expect(problemOf(answer)).toBe('ORIGIN_REFUSED');
    expect(answer.headers['access-control-allow-origin']).toBeUndefined();
    expect(answer.headers.vary).toBe('Origin');
    // And nothing has come of it.
    const { streams } = await server.store.list({});
    expect(streams.map((info) => [info.path, info.tail, info.closed])).toEqual([['a.txt', 4, false]]);
  });

  it.each(['/a.txt?verb=append', '/a.txt?verb=follow', '/a.txt?live=ws', '/-/events?channel=a', '/-/events', '/none'])(
    'cannot open a WebSocket at %s',
    async (path) => {
      const answer = (await tryOpen(server, path, { headers: { Origin: 'https://evil.example' } })) as Answer;
      expect([answer.status, problemOf(answer)]).toEqual([403, 'ORIGIN_REFUSED']);
      expect((await server.store.stat('a.txt')).appender).toBe(false);
    },
  );

  it('cannot offer another upgrade and be heard', async () => {
    const answer = await ask(
      server,
      'GET',
      '/a.txt',
      from('https://evil.example', { Connection: 'Upgrade', Upgrade: 'h2c' }),
    );
    expect([answer.status, problemOf(answer)]).toEqual([403, 'ORIGIN_REFUSED']);
  });

  it('is told by the preflight that it may not ask, and is not refused', async () => {
    const answer = await ask(
      server,
      'OPTIONS',
      '/a.txt',
      from('https://evil.example', {
        'Access-Control-Request-Method': 'DELETE',
        'Access-Control-Request-Headers': 'if-none-match',
      }),
    );
    expect(answer.status).toBe(204);
    expect(answer.headers['access-control-allow-origin']).toBeUndefined();
    expect(answer.headers['access-control-allow-methods']).toContain('DELETE');
    expect(answer.headers['access-control-allow-headers']).toBe('if-none-match');
    expect(answer.headers.vary).toBe('Origin, Access-Control-Request-Headers');
  });

  it.each(FOREIGN)('is one of %j', async (origin) => {
    const answer = await get({ Origin: origin });
    expect([answer.status, problemOf(answer)]).toEqual([403, 'ORIGIN_REFUSED']);
    expect(answer.headers['access-control-allow-origin']).toBeUndefined();
  });

  it('cannot send a second Origin along', async () => {
    const socket = await dial(server);
    socket.write(
      'GET /a.txt HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: https://evil.example\r\nConnection: close\r\n\r\n',
    );
    expect(await drain(socket)).toMatch(/^HTTP\/1.1 403 /);
  });
});

describe('a page of an origin that is allowed', () => {
  it.each(KNOWN)('is one of %j, which the answer names to its browser', async (origin) => {
    const answer = await get({ Origin: origin });
    expect([answer.status, answer.text]).toEqual([200, 'text']);
    expect(answer.headers).toMatchObject({
      'access-control-allow-origin': origin,
      'access-control-expose-headers': expect.stringContaining('Stream-Next-Offset') as string,
      vary: 'Origin',
    });
    const preflight = await ask(server, 'OPTIONS', '/a.txt', from(origin));
    expect(preflight.headers['access-control-allow-origin']).toBe(origin);
  });

  it.each(DOORS)('may %s %s', async (method, path, body) => {
    const res = await begin(server, method, path, {
      Origin: 'https://app.example',
      ...TEXT,
      ...(body === undefined ? {} : { 'Content-Length': '0' }),
    });
    res.on('error', () => {}).destroy();
    expect([403, 421]).not.toContain(res.statusCode);
    expect(res.headers).toMatchObject({ 'access-control-allow-origin': 'https://app.example', vary: 'Origin' });
  });

  it('opens WebSockets', async () => {
    const headers = { Origin: 'http://localhost:3000' };
    const appender = await open(server, '/ws.txt?verb=append', { headers });
    const events = await open(server, '/-/events?channel=a', { headers });
    expect((await events.nextJson()).op).toBe('ok');
    appender.ws.close();
    events.ws.close();
    await Promise.all([appender.closed, events.closed]);
  });

  it('is the server itself, by a name that it was told, or an address', async () => {
    const own = (origin: string, host: string) => ask(server, 'GET', '/a.txt', from(origin, { Host: host }));
    expect((await own('https://streams.lan', 'streams.lan')).status).toBe(200);
    expect((await own('http://Streams.lan:81', 'streams.LAN:81')).status).toBe(200);
    expect((await own('http://streams.lan:82', 'streams.lan:81')).status).toBe(403);
    const open = await serve({ originCheck: {} });
    try {
      const at = (host: string) => ask(open, 'GET', '/-/health', from(`http://${host}`, { Host: host }));
      expect((await at('192.168.1.5:4437')).status).toBe(200);
      expect((await at('[fe80::1]:4437')).status).toBe(200);
      // A name that somebody else may have made to point here.
      expect((await at('rebound.example:4437')).status).toBe(403);
    } finally {
      await open.close();
    }
  });

  it('is that of the public URL', async () => {
    const behindProxy = await serve({ publicUrl: 'https://Streams.example/', originCheck: { checkHost: true } });
    try {
      const headers = { Origin: 'https://streams.example', Host: 'streams.example' };
      expect((await ask(behindProxy, 'GET', '/-/health', { headers })).status).toBe(200);
      expect((await ask(behindProxy, 'GET', '/-/health', { headers: { ...headers, Host: 'localhost' } })).status).toBe(
        200,
      );
    } finally {
      await behindProxy.close();
    }
  });

  it('is any, where all are', async () => {
    const open = await serve({ originCheck: { origins: ['*'], checkHost: true } });
    try {
      for (const origin of ['https://evil.example', 'null']) {
        const answer = await ask(open, 'GET', '/-/health', from(origin));
        expect(answer.status).toBe(200);
        expect(answer.headers['access-control-allow-origin']).toBe('*');
        expect(answer.headers.vary).toBeUndefined();
      }
      expect((await ask(open, 'GET', '/-/health', { headers: { Host: 'evil.example' } })).status).toBe(421);
    } finally {
      await open.close();
    }
  });
});

describe('without an Origin', () => {
  it('nobody is refused: that is no browser', async () => {
    const answer = await get({});
    expect(answer.status).toBe(200);
    // A cache must not give to a page what it got for somebody else.
    expect(answer.headers.vary).toBe('Origin');
    expect(answer.headers['access-control-allow-origin']).toBeUndefined();
    expect((await ask(server, 'POST', '/a.txt', { headers: TEXT, body: 'x' })).status).toBe(204);
  });

  it('a page of another site can make its browser load nothing, and send no form', async () => {
    const site = (mode: string, headers: Record<string, string> = {}) => ({
      headers: { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': mode, ...headers },
    });
    expect(problemOf(await ask(server, 'GET', '/a.txt', site('no-cors')))).toBe('ORIGIN_REFUSED');
    expect(problemOf(await ask(server, 'POST', '/a.txt', { ...site('navigate', TEXT), body: 'x' }))).toBe(
      'ORIGIN_REFUSED',
    );
    // To follow a link is the user's act, and the page that has it does not see where it leads.
    expect((await ask(server, 'GET', '/a.txt', site('navigate'))).status).toBe(200);
    for (const kind of ['same-origin', 'same-site', 'none']) {
      expect((await get({ 'Sec-Fetch-Site': kind, 'Sec-Fetch-Mode': 'no-cors' })).status).toBe(200);
    }
  });

  it('what is loaded all the same is kept from pages of other sites by the browser', async () => {
    expect((await get({})).headers['cross-origin-resource-policy']).toBe('same-site');
  });
});

describe('a Host', () => {
  const status = async (host: string) => (await get({ Host: host })).status;

  it.each([
    'localhost',
    'LOCALHOST:1',
    'localhost.',
    'localhost.:4437',
    'a.b.localhost',
    '127.0.0.1',
    '127.1.2.3:4',
    '[::1]',
    '[::1]:5',
    'streams.lan',
    'Streams.LAN:80',
    'streams.lan.',
  ])('is known: %s', async (host) => {
    expect(await status(host)).toBe(200);
  });

  it.each([
    'evil.example',
    'rebound.evil.example:80',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'evil@localhost',
    'localhost@evil.example',
    'localhost:80:90',
    'localhost, evil.example',
    'localhost..',
    '128.0.0.1',
    '0.0.0.0',
    '[::2]',
    '[::1',
    'xstreams.lan',
    'a.streams.lan',
    ':80',
    'local host',
  ])('is refused: %s', async (host) => {
    const answer = await get({ Host: host });
    expect([answer.status, problemOf(answer)]).toEqual([421, 'HOST_UNKNOWN']);
    expect(JSON.parse(answer.text).detail).toMatch(/--host-name.*--public-url/);
  });

  it('that is foreign opens no WebSocket and gets no preflight', async () => {
    const answer = (await tryOpen(server, '/a.txt?verb=append', { headers: { Host: 'rebound.example' } })) as Answer;
    expect([answer.status, problemOf(answer)]).toEqual([421, 'HOST_UNKNOWN']);
    expect((await ask(server, 'OPTIONS', '/a.txt', { headers: { Host: 'rebound.example' } })).status).toBe(421);
  });

  const raw = async (head: string) => {
    const socket = await dial(server);
    socket.write(`${head}\r\nConnection: close\r\n\r\n`);
    return (await drain(socket)).slice(0, 12);
  };

  it('is not there in a probe of HTTP/1.0, which is let in', async () => {
    expect(await raw('GET /-/health HTTP/1.0')).toBe('HTTP/1.1 200');
    expect(await raw('GET /-/health HTTP/1.1\r\nHost:')).toBe('HTTP/1.1 200');
  });

  it('does not count where the target is a whole URL, which has its own', async () => {
    expect(await raw('GET http://evil.example/a.txt HTTP/1.1\r\nHost: localhost')).toBe('HTTP/1.1 421');
    expect(await raw('GET http://localhost@evil.example/a.txt HTTP/1.1\r\nHost: localhost')).toBe('HTTP/1.1 421');
    expect(await raw('GET http:///a.txt HTTP/1.1\r\nHost: localhost')).toBe('HTTP/1.1 421');
    expect(await raw('GET HTTP://LocalHost:1/a.txt HTTP/1.1\r\nHost: localhost')).toBe('HTTP/1.1 200');
  });
});

describe('options that cannot be', () => {
  it.each([
    { origins: ['app.example'] },
    { origins: ['https://app.example/path'] },
    { origins: ['https://user@app.example'] },
    { origins: ['null'] },
    { origins: [''] },
    { hostNames: ['streams.lan:80'] },
    { hostNames: ['https://streams.lan'] },
    { hostNames: ['*'] },
    { hostNames: [''] },
  ])('are refused: %j', (originCheck) => {
    const store = createMemoryStore();
    expect(() => createHandler({ store, originCheck })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });

  it('are refused: a public URL that is none', () => {
    const options = { store: createMemoryStore(), originCheck: {}, publicUrl: 'streams.example' };
    expect(() => createHandler(options)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});
