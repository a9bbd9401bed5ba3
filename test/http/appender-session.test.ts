import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  createFileStore,
  createMemoryStore,
  type Store,
  type StoreChange,
  type StreamInfo,
} from '../../src/log/index.js';
import { ask, dial, serve, type TestServer, until } from './test-server.js';
import { open, type TestSocket } from './test-socket.js';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(store?: Store): Promise<TestServer> {
  const server = await serve({ limits: { heartbeatIntervalMs: 50 }, ...(store === undefined ? {} : { store }) });
  cleanups.push(() => server.close());
  return server;
}

/** An upload that is under way. */
function upload(server: TestServer, path: string, headers: Record<string, string> = {}) {
  const req = request({ port: server.port, host: '127.0.0.1', method: 'PUT', path, headers, agent: false });
  const status = new Promise<number | undefined>((resolve) => {
    req.on('response', (res) => resolve(res.resume().statusCode)).on('error', () => resolve(undefined));
  });
  req.flushHeaders();
  return { req, status };
}

const stores: Readonly<Record<string, () => Promise<Store>>> = {
  'the memory store': async () => createMemoryStore(),
  'the file store': async () => {
    const root = await mkdtemp(join(tmpdir(), 'millrace-birth-'));
    cleanups.push(() => rm(root, { recursive: true, force: true }));
    return createFileStore({ root });
  },
};

describe.each(Object.entries(stores))('a stream that an appender makes, on %s', (_, makeStore) => {
  const line = Buffer.from('the only line\n');
  const appenders: Readonly<Record<string, (server: TestServer) => Promise<() => Promise<void>>>> = {
    'a WebSocket': async (server) => {
      const ws = await open(server, '/new.txt?verb=append');
      return async () => {
        ws.ws.send(line);
        ws.ws.close(1000);
        await ws.closed;
      };
    },
    'a chunked upload': async (server) => {
      const { req, status } = upload(server, '/new.txt?verb=append');
      return async () => {
        req.end(line);
        expect(await status).toBe(204);
      };
    },
  };

  it.each(Object.entries(appenders))('is followed from its first moment on: %s', async (_name, appender) => {
    const server = await start(await makeStore());
    // At the very moment at which anybody can see the stream, before anything else can happen.
    const atFirst: Promise<StreamInfo>[] = [];
    const followed: Promise<Awaited<ReturnType<typeof ask>>>[] = [];
    const seen = new Promise<void>((resolve) => {
      const stop = server.store.observe((change: StoreChange) => {
        if (change.kind !== 'created') return;
        stop();
        atFirst.push(server.store.stat('new.txt'));
        followed.push(ask(server, 'GET', '/new.txt?verb=follow'));
        resolve();
      });
    });
    // And whoever polls until it is there.
    const poll = async () => {
      for (;;) {
        const answer = await ask(server, 'GET', '/new.txt?verb=follow');
        if (answer.status !== 404) return answer;
      }
    };
    followed.push(poll(), poll());
    const finish = await appender(server);
    await seen;
    expect(await atFirst[0]).toMatchObject({ appender: true, tail: 0 });
    await finish();
    for (const answer of await Promise.all(followed)) {
      expect([answer.status, answer.text]).toEqual([200, line.toString()]);
    }
  });
});

describe('the end of an appender', () => {
  const leave: Readonly<Record<string, (server: TestServer) => Promise<unknown>>> = {
    'a WebSocket closed with 1000': async (server) => (await appender(server)).ws.close(1000),
    'a WebSocket closed without a code': async (server) => (await appender(server)).ws.close(),
    'a whole upload': async (server) => {
      const { req, status } = upload(server, '/a.txt?verb=append');
      await until(() => hasAppender(server));
      req.end('x');
      expect(await status).toBe(204);
    },
    'the original client, which hangs up and says nothing': async (server) => {
      const socket = await dial(server);
      socket.write(
        'GET /a.txt HTTP/1.1\r\nHost: x\r\nX-Verb: APPEND\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
      );
      await until(() => hasAppender(server));
      socket.end();
    },
  };
  const lose: Readonly<Record<string, (server: TestServer) => Promise<unknown>>> = {
    'a WebSocket whose page went away (1001)': async (server) => (await appender(server)).ws.close(1001),
    'a WebSocket that broke': async (server) => (await appender(server)).ws.terminate(),
    'a WebSocket that stopped answering': async (server) => {
      const socket = await appender(server, { autoPong: false });
      // It has to answer once before its silence says anything.
      await until(() => socket.pings.length > 0);
      socket.ws.pong();
    },
    'a WebSocket that sent what is no frame': async (server) => {
      const { ws } = await appender(server);
      (ws as unknown as { _socket: { write(bytes: Uint8Array): void } })._socket.write(Buffer.from([0xff, 0xff]));
    },
    'an upload that broke': async (server) => {
      const { req } = upload(server, '/a.txt?verb=append');
      await until(() => hasAppender(server));
      req.destroy();
    },
    'an upload of lines with one that is none': async (server) => {
      await server.store.create('a.txt', { contentType: 'application/json' });
      const { req, status } = upload(server, '/a.txt?verb=append');
      await until(() => hasAppender(server));
      req.end('{"a":1}\nno JSON\n');
      expect(await status).toBe(400);
    },
    'a server that goes down, for it may not come back': async (server) => {
      await appender(server);
      void server.handler.close({ drainMs: 500 });
    },
  };

  async function appender(server: TestServer, options: Parameters<typeof open>[2] = {}): Promise<TestSocket> {
    const socket = await open(server, '/a.txt?verb=append', options);
    await until(() => hasAppender(server));
    return socket;
  }

  const hasAppender = (server: TestServer) =>
    server.store.stat('a.txt').then(
      ({ appender }) => appender,
      () => false,
    );

  async function ended(server: TestServer): Promise<string | undefined> {
    await until(async () => (await server.store.stat('a.txt')).lastAppender !== undefined);
    return (await server.store.stat('a.txt')).lastAppender;
  }

  it.each(Object.entries(leave))('is one that left: %s', async (_, act) => {
    const server = await start();
    await act(server);
    expect(await ended(server)).toBe('left');
  });

  it.each(Object.entries(lose))('is one that was lost: %s', async (_, act) => {
    const server = await start();
    await act(server);
    expect(await ended(server)).toBe('lost');
  });

  it('is one that was lost: a WebSocket whose client is gone before its handshake is answered', async () => {
    const store = createMemoryStore();
    let acquired = () => {};
    const isAcquired = new Promise<void>((resolve) => {
      acquired = resolve;
    });
    let goOn = () => {};
    const clientIsGone = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const slow = new Proxy(store, {
      get(target, name) {
        if (name !== 'acquire') {
          const value: unknown = Reflect.get(target, name);
          return typeof value === 'function' ? value.bind(target) : value;
        }
        return async (...args: Parameters<Store['acquire']>) => {
          const session = await target.acquire(...args);
          acquired();
          await clientIsGone;
          return session;
        };
      },
    });
    const server = await start(slow);
    const socket = await dial(server);
    const gone = new Promise<void>((resolve) => {
      server.server.on('upgrade', (_, served) => served.once('close', () => resolve()));
    });
    socket.write(
      'GET /a.txt?verb=append&producerId=p&producerEpoch=1&producerOnce=true HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n' +
        'Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
    );
    await isAcquired;
    socket.resetAndDestroy();
    await gone;
    goOn();
    expect(await ended(server)).toBe('lost');
    // It may come back, so its producer is remembered.
    await expect(store.acquire('a.txt', { producer: { id: 'p', epoch: 0 } })).rejects.toMatchObject({
      code: 'PRODUCER_FENCED',
    });
  });

  it('is none when the same producer takes over', async () => {
    const server = await start();
    const old = await open(server, '/a.txt?verb=append&producerId=p&producerEpoch=0');
    const newer = await open(server, '/a.txt?verb=append&producerId=p&producerEpoch=1');
    await old.closed;
    expect(await server.store.stat('a.txt')).toMatchObject({ appender: true });
    expect((await server.store.stat('a.txt')).lastAppender).toBeUndefined();
    newer.ws.close(1000);
    expect(await ended(server)).toBe('left');
  });
});
