import { Buffer } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createHub } from '../../src/hub/index.js';
import { begin, collect, dial, serve, type TestServer, until } from './test-server.js';

const INTERVAL_MS = 20;

let server: TestServer;

beforeEach(async () => {
  server = await serve({ hub: createHub('memory:'), limits: { heartbeatIntervalMs: INTERVAL_MS } });
  await server.store.create('a.txt', { data: Buffer.from('so far') });
});

afterEach(() => server.close());

/** All responses that last: their readers see the same things of the way that the bytes take. */
const LIVE = ['/a.txt?live=sse&offset=-1', '/a.txt?live=raw', '/a.txt?verb=follow&resume=true', '/-/events?channel=a'];
const WITH_COMMENTS = LIVE.filter((path) => !path.includes('raw') && !path.includes('follow'));
const RAW = LIVE.filter((path) => !WITH_COMMENTS.includes(path));

/** The body so far, as it comes. */
function watch(res: IncomingMessage): () => string {
  let text = '';
  res.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  return () => text;
}

describe.each(LIVE)('%s', (path) => {
  it('asks everything in between to pass it on at once, as it is, and to keep nothing', async () => {
    const res = await begin(server, 'GET', path);
    res.destroy();
    expect(res.headers['x-accel-buffering']).toBe('no');
    for (const directive of ['no-cache', 'no-store', 'no-transform']) {
      expect(res.headers['cache-control']).toContain(directive);
    }
    expect(res.headers['x-content-type-options']).toBe('nosniff');
  });

  it('has its headers before there is anything to send', async () => {
    await server.store.create('empty.txt');
    const res = await begin(server, 'GET', path.replace('a.txt', 'empty.txt'));
    expect(res.statusCode).toBe(200);
    res.destroy();
  });

  it('is watched over by TCP keepalive', async () => {
    let keepAlive: unknown[] = [];
    server.server.prependListener('request', (req) => {
      const set = req.socket.setKeepAlive.bind(req.socket);
      req.socket.setKeepAlive = (...given) => {
        keepAlive = given;
        return set(...given);
      };
    });
    (await begin(server, 'GET', path)).destroy();
    expect(keepAlive).toEqual([true, INTERVAL_MS]);
  });
});

describe.each(WITH_COMMENTS)('%s, idle,', (path) => {
  it('gets a comment each interval', async () => {
    const res = await begin(server, 'GET', path);
    const text = watch(res);
    await until(() => text().split(':heartbeat signal\n\n').length > 4);
    res.destroy();
  });

  it('gets it over HTTP/1.0 too, where there are no chunks', async () => {
    const socket = await dial(server);
    socket.write(`GET ${path} HTTP/1.0\r\n\r\n`);
    let text = '';
    socket.on('data', (piece) => {
      text += piece.toString();
    });
    await until(() => text.split('\n\n:heartbeat signal\n\n').length > 2);
    socket.destroy();
  });
});

describe.each(RAW)('%s, idle,', (path) => {
  it('gets nothing but its bytes', async () => {
    const res = await begin(server, 'GET', path);
    const text = watch(res);
    const witness = watch(await begin(server, 'GET', WITH_COMMENTS[0] as string));
    await until(() => witness().split(':heartbeat signal').length > 4);
    expect(text()).toBe('so far');
    res.destroy();
  });
});

describe('a reader that does not read', () => {
  it('is sent no comments, and what it gets in the end is whole', async () => {
    const line = `${'x'.repeat(999)}\n`;
    await server.store.create('long.txt', { data: Buffer.from(line.repeat(16_000)) });
    let connection: Socket | undefined;
    server.server.once('request', (req) => {
      connection = req.socket;
    });
    // Nobody takes what comes until somebody listens.
    const res = await begin(server, 'GET', '/long.txt?live=sse&offset=-1');
    const queued = () => connection?.writableLength ?? 0;
    await until(() => queued() > 0);
    const before = queued();
    const witness = watch(await begin(server, 'GET', WITH_COMMENTS[0] as string));
    await until(() => witness().split(':heartbeat signal').length > 6);
    expect(queued()).toBe(before);
    await server.store.append('long.txt', { close: true });
    const blocks = (await collect(res)).text.split('\n\n');
    const data = blocks
      .filter((block) => block.includes('event: data'))
      .map((block) => [...block.matchAll(/^data:(.*)$/gm)].map(([, text]) => text).join('\n'));
    expect(data.join('') === line.repeat(16_000)).toBe(true);
    // Between events, never within one.
    for (const block of blocks)
      expect(block).toMatch(/^(:heartbeat signal|retry: \d+|id: [\s\S]*|event: control[\s\S]*|)$/);
  });
});
