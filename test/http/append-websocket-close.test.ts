import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { MillraceError } from '../../src/errors.js';
import { createMemoryStore, type Store } from '../../src/log/index.js';
import { ask, serve, type TestServer, until } from './test-server.js';

let server: TestServer;
afterEach(() => server.close());

async function appender(path: string, headers = {}): Promise<WebSocket> {
  const ws = new WebSocket(`${server.url.replace('http', 'ws')}${path}`, { headers });
  await once(ws, 'open');
  return ws;
}

/** A store whose appends are acknowledged when they are let go, or fail. */
function slowStore(): { readonly store: Store; readonly pending: (() => void)[]; failure: MillraceError | undefined } {
  const inner = createMemoryStore();
  const slow = { pending: [] as (() => void)[], failure: undefined as MillraceError | undefined };
  const store = new Proxy(inner, {
    get(target, name) {
      if (name !== 'acquire') {
        const value = Reflect.get(target, name) as unknown;
        return typeof value === 'function' ? value.bind(target) : value;
      }
      return async (...args: Parameters<Store['acquire']>) => {
        const session = await target.acquire(...args);
        return new Proxy(session, {
          get(real, key) {
            const value = Reflect.get(real, key) as unknown;
            if (key !== 'append') return typeof value === 'function' ? value.bind(real) : value;
            return async (...data: Parameters<typeof session.append>) => {
              const appending = real.append(...data);
              await new Promise<void>((resolve) => slow.pending.push(resolve));
              if (slow.failure !== undefined) throw slow.failure;
              return appending;
            };
          },
        });
      };
    },
  });
  return Object.assign(slow, { store });
}

describe('the close of an appender without acknowledgements', () => {
  it.each([
    ['bytes', 'application/octet-stream', '?verb=append', {}],
    ['messages', 'application/json', '?verb=append', {}],
    ['bytes of the original client', 'text/plain', '', { 'X-Verb': 'APPEND' }],
  ])('is answered once all is committed: %s', async (_, contentType, query, headers) => {
    const slow = slowStore();
    server = await serve({ store: slow.store });
    await server.store.create('a', { contentType });
    const ws = await appender(`/a${query}`, headers);
    const closed = once(ws, 'close').then(([code]) => code as number);
    ws.send('1');
    ws.close();
    await until(() => slow.pending.length > 0);
    await ask(server, 'GET', '/a');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(ws.readyState).toBe(WebSocket.CLOSING);
    for (const resolve of slow.pending) resolve();
    expect(await closed).toBe(1005);
    expect((await ask(server, 'GET', '/a')).text).toContain('1');
    expect((await server.store.stat('a')).appender).toBe(false);
  });

  it('leaves nothing to wait for, also right after many messages', async () => {
    server = await serve();
    for (let round = 0; round < 20; round++) {
      const path = `/a${round}`;
      const ws = await appender(`${path}?verb=append&close=true`);
      for (let i = 0; i < 200; i++) ws.send(Buffer.alloc(100, 'x'));
      ws.close(1000);
      await once(ws, 'close');
      const { body, headers } = await ask(server, 'GET', path);
      expect([body.length, headers['stream-closed']]).toEqual([20_000, 'true']);
    }
  });

  it('says so where not all could be committed', async () => {
    const slow = slowStore();
    server = await serve({ store: slow.store });
    const ws = await appender('/a?verb=append');
    const closed = once(ws, 'close').then(([code]) => code as number);
    ws.send('1');
    ws.close(1000);
    await until(() => slow.pending.length > 0);
    slow.failure = new MillraceError('STORE_FULL', 'full');
    for (const resolve of slow.pending) resolve();
    expect(await closed).toBe(4500);
  });
});
