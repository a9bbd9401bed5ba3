import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask, problemOf, serve, type TestServer } from './test-server.js';
import { open, tryOpen } from './test-socket.js';

let server: TestServer;
beforeEach(async () => {
  server = await serve();
});
afterEach(() => server.close());

const DATE = '2099-01-01T00:00:00.000Z';

describe('a stream that an appender makes', () => {
  it('has the life time that the request names', async () => {
    for (const [path, headers, ttl, expires] of [
      ['/a?verb=append', { 'Stream-TTL': '60' }, '60', undefined],
      ['/b?verb=append', { 'Stream-Expires-At': DATE }, undefined, DATE],
      ['/c?verb=append&ttlSeconds=60', {}, '60', undefined],
      [`/d?verb=append&expiresAt=${DATE}`, {}, undefined, DATE],
      ['/e', { 'X-Verb': 'APPEND', 'Stream-TTL': '60' }, '60', undefined],
    ] as const) {
      expect((await ask(server, 'POST', path, { headers, body: 'x' })).status).toBe(204);
      const answer = await ask(server, 'HEAD', path.split('?', 1)[0] as string);
      expect([path, answer.headers['stream-ttl'], answer.headers['stream-expires-at']]).toEqual([path, ttl, expires]);
    }
  });

  it('has it over WebSocket too', async () => {
    for (const [path, headers] of [
      ['/a?verb=append&ttlSeconds=60', {}],
      ['/b?verb=append', { 'Stream-TTL': '60' }],
    ] as const) {
      const socket = await open(server, path, { headers });
      socket.ws.close();
      await socket.closed;
      expect((await server.store.stat(path[1] as string)).ttlSeconds).toBe(60);
    }
  });

  it('may be a fork', async () => {
    await server.store.create('a', { contentType: 'text/plain', data: Buffer.from('one ') });
    const headers = { 'Stream-Forked-From': '/a' };
    expect((await ask(server, 'POST', '/b?verb=append', { headers, body: 'two' })).status).toBe(204);
    expect((await ask(server, 'GET', '/b')).text).toBe('one two');
  });

  it('is closed behind the appender by Stream-Closed', async () => {
    const headers = { 'Stream-Closed': 'true' };
    const answer = await ask(server, 'POST', '/a?verb=append', { headers, body: 'x' });
    expect([answer.status, answer.headers['stream-closed']]).toEqual([204, 'true']);
  });
});

describe('a stream that is there', () => {
  beforeEach(async () => {
    await server.store.create('a', { contentType: 'text/plain', ttlSeconds: 60 });
  });

  it('takes an appender that names its own life time, or none', async () => {
    for (const headers of [{}, { 'Stream-TTL': '60' }] as Record<string, string>[]) {
      expect((await ask(server, 'POST', '/a?verb=append', { headers, body: 'x' })).status).toBe(204);
    }
  });

  it('refuses one that names another life time or origin, and is free', async () => {
    for (const headers of [
      { 'Stream-TTL': '61' },
      { 'Stream-Expires-At': DATE },
      { 'Stream-Forked-From': '/a' },
    ] as Record<string, string>[]) {
      const answer = await ask(server, 'POST', '/a?verb=append', { headers, body: 'x' });
      expect([answer.status, problemOf(answer)]).toEqual([409, 'STREAM_EXISTS']);
      expect(String(answer.body)).toContain('(text/plain, open, a TTL of 60 s)');
      const socket = await tryOpen(server, '/a?verb=append', { headers });
      expect('status' in socket && socket.status).toBe(409);
    }
    expect((await server.store.stat('a')).appender).toBe(false);
  });
});

it('what an appender cannot have is refused', async () => {
  for (const [query, headers, status, code] of [
    ['', { 'Stream-Seq': '1' }, 400, 'INVALID_HEADER'],
    ['', { 'Producer-Id': 'p' }, 400, 'INVALID_HEADER'],
    ['', { 'Stream-TTL': 'soon' }, 400, 'INVALID_HEADER'],
    ['', { 'Stream-TTL': '1', 'Stream-Expires-At': DATE }, 400, 'INVALID_HEADER'],
    ['&ttlSeconds=soon', {}, 400, 'INVALID_REQUEST'],
    [`&ttlSeconds=1&expiresAt=${DATE}`, {}, 400, 'INVALID_REQUEST'],
  ] as const) {
    const answer = await ask(server, 'POST', `/new?verb=append${query}`, { headers, body: 'x' });
    expect([query, answer.status, problemOf(answer)]).toEqual([query, status, code]);
  }
  expect((await server.store.list()).streams).toEqual([]);
});
