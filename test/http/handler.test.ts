import { Buffer } from 'node:buffer';
import { createServer, request } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configureServer, createHandler, DEFAULT_SERVER_TIMEOUTS } from '../../src/http/index.js';
import { createHub } from '../../src/hub/index.js';
import { createMemoryStore } from '../../src/log/index.js';
import { ask, begin, collect, dial, problemOf, serve, type TestServer, until } from './test-server.js';
import { open, tryOpen } from './test-socket.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

describe('/-/health', () => {
  it('is 200 while all is well', async () => {
    const answer = await ask(server, 'GET', '/-/health');
    expect([answer.status, JSON.parse(answer.text)]).toEqual([200, { status: 'ok' }]);
  });

  it('is 503 when the store takes no more writes', async () => {
    await server.store.close();
    const answer = await ask(server, 'GET', '/-/health');
    expect([answer.status, JSON.parse(answer.text)]).toEqual([503, { status: 'failed' }]);
  });
});

describe('/-/health with a hub', () => {
  it('tells how the connection to the broker fares', async () => {
    const hub = createHub();
    const withHub = await serve({ hub });
    try {
      const hubOf = async () => JSON.parse((await ask(withHub, 'GET', '/-/health')).text).hub;
      expect(await hubOf()).toBe('idle');
      await hub.connect();
      expect(await hubOf()).toBe('connected');
      await hub.close();
      const answer = await ask(withHub, 'GET', '/-/health');
      expect([answer.status, JSON.parse(answer.text)]).toEqual([200, { status: 'ok', hub: 'closed' }]);
    } finally {
      await withHub.close();
    }
  });
});

describe('/-/streams', () => {
  beforeEach(async () => {
    for (const path of ['b/2', 'a', 'b/1', 'c']) await server.store.create(path, { data: Buffer.from(path) });
  });

  const list = async (query: string) =>
    JSON.parse((await ask(server, 'GET', `/-/streams${query}`)).text) as {
      streams: { path: string; bytes: number }[];
      next: string | null;
    };

  it('lists the streams in order, with what is known of them', async () => {
    const { streams, next } = await list('');
    expect(streams.map(({ path, bytes }) => [path, bytes])).toEqual([
      ['a', 1],
      ['b/1', 3],
      ['b/2', 3],
      ['c', 1],
    ]);
    expect(next).toBeNull();
  });

  it('lists those below a prefix', async () => {
    expect((await list('?prefix=b/')).streams.map(({ path }) => path)).toEqual(['b/1', 'b/2']);
  });

  it('goes on page by page', async () => {
    const seen: string[] = [];
    let next: string | null = '';
    do {
      const page = await list(`?limit=1&after=${encodeURIComponent(next)}`);
      seen.push(...page.streams.map(({ path }) => path));
      next = page.next;
    } while (next !== null);
    expect(seen).toEqual(['a', 'b/1', 'b/2', 'c']);
  });

  it("says nothing of the server's own streams, at any size of a page", async () => {
    for (const path of ['__ds/keys', '__ds/subscriptions/1', 'Z', '-/x', 'd/__ds/x']) await server.store.create(path);
    for (const limit of [1, 2, 3, 4, 100]) {
      const seen: string[][] = [];
      let next: string | null = '';
      do {
        const answer = await ask(server, 'GET', `/-/streams?limit=${limit}&after=${encodeURIComponent(next)}`);
        expect(answer.text).not.toMatch(/__ds|-\/x/);
        const page = JSON.parse(answer.text) as Awaited<ReturnType<typeof list>>;
        seen.push(page.streams.map(({ path }) => path));
        next = page.next;
      } while (next !== null);
      expect(seen.flat()).toEqual(['Z', 'a', 'b/1', 'b/2', 'c']);
      // None is short because of what was left out.
      for (const paths of seen.slice(0, -1)) expect(paths).toHaveLength(limit);
    }
    expect(await list('?prefix=__ds/')).toEqual({ streams: [], next: null });
  });
});

describe('browsers of other origins', () => {
  it('may ask for anything, also after a preflight', async () => {
    const answer = await ask(server, 'OPTIONS', '/foo', {
      headers: { Origin: 'https://other.example', 'Access-Control-Request-Method': 'PUT' },
    });
    expect(answer.status).toBe(204);
    expect(answer.headers['access-control-allow-origin']).toBe('*');
    expect(answer.headers['access-control-allow-methods']).toContain('PUT');
    expect(answer.headers['access-control-allow-headers']).toContain('Stream-Seq');
  });

  it('may read problems and where they stand', async () => {
    const answer = await ask(server, 'GET', '/none');
    expect(answer.headers['access-control-allow-origin']).toBe('*');
    expect(answer.headers['access-control-expose-headers']).toContain('Stream-Next-Offset');
    expect(answer.headers['x-content-type-options']).toBe('nosniff');
  });
});

describe('errors that nobody foresaw', () => {
  it('are logged, and tell the client nothing', async () => {
    const logged: object[] = [];
    const log = { debug() {}, info() {}, warn() {}, error: (fields: object) => logged.push(fields) };
    const store = createMemoryStore();
    const cause = new Error('secret at /etc/passwd');
    const broken = new Proxy(store, {
      get(target, name) {
        if (name === 'stat') return () => Promise.reject(cause);
        const value = Reflect.get(target, name) as unknown;
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const other = await serve({ store: broken, log });
    const answer = await ask(other, 'GET', '/foo');
    expect([answer.status, problemOf(answer)]).toEqual([500, 'INTERNAL']);
    expect(answer.text).not.toContain('secret');
    expect(logged).toEqual([{ err: cause }]);
    await other.close();
  });
});

describe('a prefix', () => {
  it('that cannot be one is refused', () => {
    const store = createMemoryStore();
    for (const prefix of ['streams', '/streams/', '/', '/a?b', '/%61']) {
      expect(() => createHandler({ store, prefix })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    }
  });
});

describe('limits', () => {
  it('that cannot be are refused', async () => {
    const store = createMemoryStore();
    for (const limits of [{ frameBytesMax: 0 }, { heartbeatIntervalMs: Number.NaN }, { drainMs: 1.5 }]) {
      expect(() => createHandler({ store, limits })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    }
    expect(() => createHandler({ store, follow: { windowBytes: -1 } })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
    await store.close();
  });
});

describe('closing', () => {
  it('commits what appenders sent, tells everyone, and takes no new work', async () => {
    const appender = await open(server, '/foo.txt?verb=append', { protocols: ['millrace.append.v1'] });
    await appender.nextJson();
    const follower = await open(server, '/foo.txt?verb=follow');
    const live = collect(await begin(server, 'GET', '/foo.txt?live=raw'));
    live.catch(() => {});
    const upload = request({
      host: '127.0.0.1',
      port: server.port,
      method: 'PUT',
      path: '/up.txt?verb=append',
      agent: false,
    });
    const uploaded = new Promise<Awaited<ReturnType<typeof collect>>>((resolve, reject) => {
      upload.on('response', (res) => resolve(collect(res))).on('error', reject);
    });
    upload.write('arrived');
    await until(async () => (await server.store.stat('up.txt').catch(() => ({ tail: 0 }))).tail === 7);
    appender.ws.send(Buffer.from('last words'));
    await appender.nextJson();

    const closing = server.handler.close({ drainMs: 5000 });
    expect((await appender.closed).code).toBe(1001);
    expect((await follower.closed).code).toBe(1001);
    expect(follower.text).toBe('last words');
    // A plain body that simply ended would be taken for the end of the stream.
    await expect(live).rejects.toThrow('aborted');
    const refused = await uploaded;
    expect([refused.status, problemOf(refused)]).toEqual([503, 'SHUTTING_DOWN']);
    upload.destroy();
    await closing;

    for (const path of ['/foo.txt', '/foo.txt?verb=follow']) {
      const answer = await ask(server, 'GET', path);
      expect([answer.status, problemOf(answer), answer.headers.connection]).toEqual([503, 'SHUTTING_DOWN', 'close']);
    }
    expect(await tryOpen(server, '/foo.txt?verb=append')).toMatchObject({ status: 503 });
    expect(JSON.parse((await ask(server, 'GET', '/-/health')).text)).toEqual({ status: 'draining' });
    expect((await server.store.stat('foo.txt')).tail).toBe(10);
    expect((await server.store.stat('foo.txt')).appender).toBe(false);
    expect((await server.store.stat('up.txt')).tail).toBe(7);
  });

  it('lets a download that is under way come to its end', async () => {
    const data = Buffer.alloc(32 * 1024 * 1024, 'x');
    for (let i = 0; i < 4; i++) {
      if (i === 0) await server.store.create('big.bin', {});
      await server.store.append('big.bin', { data: data.subarray(0, 8 * 1024 * 1024) });
    }
    const res = await begin(server, 'GET', '/big.bin');
    const closing = server.handler.close({ drainMs: 10_000 });
    let bytes = 0;
    for await (const piece of res) bytes += (piece as Buffer).length;
    expect(bytes).toBe(data.length);
    await closing;
  });

  it('is bounded: who does not go is cut off', async () => {
    const data = Buffer.alloc(64 * 1024 * 1024, 'x');
    await server.store.create('big.bin', {});
    for (let i = 0; i < 8; i++) await server.store.append('big.bin', { data: data.subarray(0, 8 * 1024 * 1024) });
    const stuck = await begin(server, 'GET', '/big.bin');
    stuck.pause();
    stuck.on('error', () => {});
    const from = Date.now();
    await server.handler.close({ drainMs: 100 });
    expect(Date.now() - from).toBeLessThan(5000);
  });

  it('resolves at once where there is nobody', async () => {
    await server.handler.close({ drainMs: 60_000 });
  });
});

describe('configureServer', () => {
  it('lifts the limit on whole requests, and sets its own on idle ones', () => {
    const other = createServer();
    configureServer(other, { idleTimeoutMs: 1234 });
    expect([other.requestTimeout, other.headersTimeout, other.timeout, other.keepAliveTimeout]).toEqual([
      0,
      DEFAULT_SERVER_TIMEOUTS.headersTimeoutMs,
      1234,
      DEFAULT_SERVER_TIMEOUTS.keepAliveTimeoutMs,
    ]);
  });

  it('is missed, in the log, by a long append on a server without it', async () => {
    const warnings: string[] = [];
    const log = { debug() {}, info() {}, warn: (_: object, message: string) => warnings.push(message), error() {} };
    const other = await serve({ log });
    await ask(other, 'PUT', '/foo?verb=append', { body: 'x' });
    expect(warnings).toEqual([]);
    other.server.requestTimeout = 300_000;
    for (let i = 0; i < 2; i++) await ask(other, 'PUT', '/foo?verb=append', { body: 'x' });
    expect(warnings).toEqual([expect.stringContaining('configureServer')]);
    await other.close();
  });

  it('cuts off a body that does not come, but no appender and no follower', async () => {
    configureServer(server.server, { idleTimeoutMs: 1000 });
    await server.store.create('foo.txt', {});
    const upload = request({
      host: '127.0.0.1',
      port: server.port,
      method: 'PUT',
      path: '/up.txt?verb=append',
      agent: false,
    });
    const uploaded = new Promise<number | undefined>((resolve, reject) => {
      upload.on('response', (res) => resolve(res.statusCode)).on('error', reject);
    });
    upload.write('one ');
    const live = collect(await begin(server, 'GET', '/foo.txt?live=raw'));
    const socket = await open(server, '/ws.txt?verb=append');
    await until(async () => (await server.store.stat('up.txt').catch(() => ({ tail: 0 }))).tail === 4);
    // Whoever was there before the first of them is idle for twice as long when the second is cut off.
    for (let times = 0; times < 2; times++) {
      const stuck = await dial(server);
      const cut = new Promise((resolve) => stuck.once('close', resolve));
      stuck.on('error', () => {});
      stuck.write('POST /foo.txt HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nhalf');
      stuck.resume();
      await cut;
    }
    upload.end('two');
    expect(await uploaded).toBe(204);
    expect(socket.ws.readyState).toBe(socket.ws.OPEN);
    await server.store.append('foo.txt', { data: Buffer.from('late'), close: true });
    expect((await live).text).toBe('late');
  });
});
