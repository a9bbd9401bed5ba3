import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask, begin, serve, type TestServer } from './test-server.js';
import { tryOpen } from './test-socket.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

const PAGE = '<script>alert(1)</script>';

async function policyOf(method: string, path: string, headers: Record<string, string> = {}) {
  const res = await begin(server, method, path, headers);
  res.on('error', () => {}).destroy();
  return [res.statusCode, res.headers['content-security-policy']];
}

describe('a stream that a browser would run as a page', () => {
  beforeEach(() => server.store.create('page', { contentType: 'text/html', data: Buffer.from(PAGE) }).then(() => {}));

  it.each([
    ['GET', '/page', 200],
    ['HEAD', '/page', 200],
    ['GET', '/page?offset=-1', 200],
    ['GET', '/page?offset=now', 200],
    ['GET', '/page?offset=-1&live=long-poll', 200],
    ['GET', '/page?live=raw', 200],
    ['GET', '/page?verb=follow', 200],
    ['HEAD', '/page?verb=follow', 200],
  ])('is sandboxed: %s %s', async (method, path, status) => {
    expect(await policyOf(method, path)).toEqual([status, 'sandbox']);
  });

  it('is sandboxed in parts, and where a cache only asks whether it is still the same', async () => {
    expect(await policyOf('GET', '/page', { Range: 'bytes=0-3' })).toEqual([206, 'sandbox']);
    for (const path of ['/page', '/page?offset=-1']) {
      expect(await policyOf('GET', path, { 'If-None-Match': '*' })).toEqual([304, 'sandbox']);
    }
  });

  it('is sandboxed while it is followed, and when it is too long for one piece', async () => {
    const session = await server.store.acquire('live.html', { create: {} });
    await session.append(Buffer.alloc(2 * 1024 * 1024, 'x'));
    for (const path of ['/live.html?verb=follow', '/live.html?live=raw', '/live.html?offset=-1']) {
      expect(await policyOf('GET', path)).toEqual([200, 'sandbox']);
    }
    await session.release();
  });

  it('is sandboxed where a WebSocket follower gets it as a plain answer', async () => {
    const answer = await tryOpen(server, '/page?verb=follow');
    expect('status' in answer && [answer.status, answer.headers['content-security-policy'], answer.text]).toEqual([
      200,
      'sandbox',
      PAGE,
    ]);
  });

  it('is sandboxed in addition to what the application demands', async () => {
    const front = createServer((req, res) => {
      res.setHeader('Content-Security-Policy', "default-src 'self'");
      server.handler.request(req, res);
    });
    await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
    try {
      const answer = await ask(front.address() as AddressInfo, 'GET', '/page');
      expect(answer.headers['content-security-policy']).toBe("default-src 'self', sandbox");
    } finally {
      await new Promise((resolve) => front.close(resolve));
    }
  });
});

describe('the types that browsers run', () => {
  const typed = async (contentType: string) => {
    await server.store.create(contentType.replaceAll(/\W/g, '-'), { contentType });
    return (await policyOf('GET', `/${contentType.replaceAll(/\W/g, '-')}`))[1];
  };

  it.each([
    'text/html',
    'TEXT/HTML; charset=utf-8',
    'application/xhtml+xml',
    'image/svg+xml',
    'text/xml',
    'application/xml',
    'application/atom+xml',
    'text/xsl',
    'text/javascript',
    'application/ecmascript',
    'multipart/x-mixed-replace; boundary=x',
    'message/rfc822',
    // Browsers take the last of several.
    'text/plain; a=b, text/html',
  ])('%s', async (contentType) => {
    expect(await typed(contentType)).toBe('sandbox');
  });

  it.each(['text/plain', 'text/csv', 'image/png', 'video/mp4', 'application/pdf', 'application/octet-stream'])(
    'not %s',
    async (contentType) => {
      expect(await typed(contentType)).toBeUndefined();
    },
  );

  it('not messages, whatever they hold', async () => {
    await server.store.create('json', {
      contentType: 'application/json',
      data: Buffer.from(`${JSON.stringify(PAGE)}\n`),
    });
    expect(await policyOf('GET', '/json')).toEqual([200, undefined]);
  });
});
