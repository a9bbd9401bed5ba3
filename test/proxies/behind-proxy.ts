import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { EventSource } from 'eventsource';
import { beforeEach, expect, it } from 'vitest';
import { createHub } from '../../src/hub/index.js';
import { ask, begin, serve, type TestServer, until } from '../http/test-server.js';
import { open } from '../http/test-socket.js';
import { type RunningProxy, times } from './proxy.js';

/** A server with a proxy before it, both of them anew for each test. */
export interface Behind {
  readonly server: TestServer;
  readonly proxy: RunningProxy;
}

/** Sets up a server and a proxy before each test. The server's limits are the defaults, in the times of the tests. */
export function behind(startProxy: (upstreamPort: number) => Promise<RunningProxy>): Behind {
  let server: TestServer;
  let proxy: RunningProxy;
  beforeEach(async () => {
    server = await serve({
      hub: createHub('memory:'),
      limits: {
        heartbeatIntervalMs: times(10_000),
        longPollTimeoutMs: times(20_000),
        // Longer than any time-out of a proxy: what lasts lasts because of what is sent.
        sseConnectionMs: 3_600_000,
      },
    });
    proxy = await startProxy(server.port);
    return async () => {
      await proxy.stop();
      await server.close();
    };
  });
  return {
    get server() {
      return server;
    },
    get proxy() {
      return proxy;
    },
  };
}

/** A body as it comes. */
export interface Body {
  readonly text: string;
  /** Whether it ended as it should, or was cut off; undefined while it lasts. */
  readonly end: 'complete' | 'cut' | undefined;
}

/** Follows a response. */
export function watch(res: IncomingMessage): Body {
  let text = '';
  let end: Body['end'];
  res.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  res
    .on('error', () => undefined)
    .once('close', () => {
      end = res.complete ? 'complete' : 'cut';
    });
  return {
    get text() {
      return text;
    },
    get end() {
      return end;
    },
  };
}

/** Begins an upload of unknown length. */
export function upload(
  proxy: RunningProxy,
  path: string,
): { readonly req: ClientRequest; readonly answer: Promise<IncomingMessage> } {
  const req = request({ host: '127.0.0.1', port: proxy.port, method: 'POST', path, agent: false });
  const answer = once(req, 'response').then(([res]) => res as IncomingMessage);
  answer.catch(() => undefined);
  req.on('error', () => undefined);
  return { req, answer };
}

/** A time in which a proxy with the given time-out would cut a connection on which nothing comes. */
export function longerThan(timeoutMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2 * times(timeoutMs)));
}

/** What every proxy passes on as it comes. */
export function passesOn(at: Behind, timeoutMs: number): void {
  const sources = [
    ['SSE of a stream', '/log.txt?offset=-1&live=sse'],
    ['the hub', '/-/events?channel=a'],
  ] as const;

  it.each(sources)('%s: events arrive at once, also after a silence longer than its time-out', async (_, path) => {
    await at.server.store.create('log.txt', { data: Buffer.from('first') });
    const body = watch(await begin(at.proxy, 'GET', path));
    await until(() => body.text.includes(path.includes('log') ? 'data:first' : ':subscribed'));
    await longerThan(timeoutMs);
    expect(body.end).toBeUndefined();
    if (path.includes('log')) await at.server.store.append('log.txt', { data: Buffer.from('second') });
    else await ask(at.proxy, 'POST', '/-/publish?channel=a', { body: '"second"' });
    await until(() => /data: ?"?second/.test(body.text));
    expect(body.end).toBeUndefined();
  });

  it('an EventSource reads a stream once, over a cut of its connection, and stops at its end', async () => {
    await at.server.store.create('log.txt', { data: Buffer.from('one ') });
    const source = new EventSource(`${at.proxy.url}/log.txt?live=sse`);
    const data: string[] = [];
    source.addEventListener('data', (event) => data.push(event.data as string));
    try {
      await until(() => data.length === 1);
      at.server.server.closeAllConnections();
      await at.server.store.append('log.txt', { data: Buffer.from('two'), close: true });
      await until(() => source.readyState === 2);
      expect(data.join('')).toBe('one two');
    } finally {
      source.close();
    }
  });

  it('a long-poll is answered before its time-out', async () => {
    await at.server.store.create('log.txt');
    const answer = await ask(at.proxy, 'GET', '/log.txt?offset=now&live=long-poll');
    expect(answer.status).toBe(204);
    expect(answer.headers['stream-cursor']).toMatch(/^\d+$/);
  });

  it.each(['verb=follow', 'live=raw'])('%s: bytes arrive at once, to a proper end', async (query) => {
    const session = await at.server.store.acquire('log.txt', { create: {} });
    await session.append(Buffer.from('so far '));
    const body = watch(await begin(at.proxy, 'GET', `/log.txt?${query}`));
    await until(() => body.text === 'so far ');
    await session.append(Buffer.from('and now'));
    await until(() => body.text === 'so far and now');
    expect(body.end).toBeUndefined();
    await session.append(Buffer.alloc(0), { close: true });
    await until(() => body.end === 'complete');
  });

  it('a raw body on which nothing comes is cut by the proxy, and lacks its end', async () => {
    await at.server.store.create('log.txt', { data: Buffer.from('quiet') });
    const body = watch(await begin(at.proxy, 'GET', '/log.txt?live=raw'));
    await until(() => body.end !== undefined, 4 * times(timeoutMs) + 10_000);
    expect(body).toMatchObject({ text: 'quiet', end: 'cut' });
  });

  it('a whole body is appended', async () => {
    await at.server.store.create('log.txt');
    const headers = { 'Content-Type': 'text/plain' };
    expect((await ask(at.proxy, 'POST', '/log.txt', { headers, body: 'x'.repeat(900_000) })).status).toBe(204);
    expect((await ask(at.proxy, 'HEAD', '/log.txt')).headers['stream-next-offset']).toContain('900000');
  });
}

/** What takes WebSockets to pass. */
export function passesWebSockets(at: Behind, timeoutMs: number): void {
  it('WebSockets append and follow, also after a silence longer than its time-out', async () => {
    const appender = await open(at.proxy, '/log.txt?verb=append');
    const follower = await open(at.proxy, '/log.txt?verb=follow');
    const live = await open(at.proxy, '/log.txt?live=ws');
    await longerThan(timeoutMs);
    appender.ws.send('still here');
    await follower.has(10);
    appender.ws.close(1000);
    expect(await follower.closed).toMatchObject({ code: 1000 });
    await at.server.store.append('log.txt', { close: true });
    expect(await live.closed).toMatchObject({ code: 1000 });
    expect(live.text).toContain('still here');
  });
}

/** What an append over a request body needs. */
export function passesUploads(at: Behind): void {
  it('an append over a request body arrives as it is sent, and is followed', async () => {
    const { req, answer } = upload(at.proxy, '/log.txt?verb=append');
    req.write('first ');
    await until(() =>
      at.server.store.stat('log.txt').then(
        ({ tail }) => tail === 6,
        () => false,
      ),
    );
    const body = watch(await begin(at.proxy, 'GET', '/log.txt?verb=follow'));
    req.write(Buffer.alloc(2_000_000, '.'));
    await until(() => body.text.length === 2_000_006);
    req.end('last');
    expect((await answer).statusCode).toBe(204);
    await until(() => body.end === 'complete');
    expect(body.text.endsWith('.last')).toBe(true);
  });
}
