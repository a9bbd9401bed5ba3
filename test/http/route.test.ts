import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask, dial, drain, serve, type TestServer } from './test-server.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
  await server.store.create('a', { contentType: 'text/plain' });
});

afterEach(() => server.close());

async function send(...lines: string[]): Promise<string> {
  const socket = await dial(server);
  socket.write([...lines, 'Connection: close', '', ''].join('\r\n'));
  return drain(socket);
}

describe('a request that may mean two things', () => {
  it.each([
    ['Host', 'localhost', 'evil.example'],
    ['Host', 'localhost', 'localhost'],
    ['host', 'localhost', 'localhost'],
    ['Content-Type', 'text/plain', 'text/html'],
  ])('is refused: two fields %s', async (name, one, other) => {
    const host = name.toLowerCase() === 'host' ? [] : ['Host: localhost'];
    const answer = await send('POST /a HTTP/1.1', ...host, `${name}: ${one}`, `${name.toUpperCase()}: ${other}`);
    expect(answer).toMatch(/^HTTP\/1.1 400 [\s\S]*INVALID_REQUEST/);
    expect((await server.store.stat('a')).tail).toBe(0);
  });

  it('has more than one Authorization, as the official Rust client may send: that matters only where a token is asked for', async () => {
    const twice = (token: string) => [`Authorization: Bearer ${token}`, `authorization: Bearer ${token}`];
    const served = await send(
      'POST /a HTTP/1.1',
      'Host: localhost',
      ...twice('x'),
      'Content-Type: text/plain',
      'Stream-Closed: true',
    );
    expect(served).toMatch(/^HTTP\/1.1 204 /);
    const json = { 'content-type': 'application/json' };
    const subscription = { type: 'pull-wake', streams: ['a'], wake_stream: 'wake' };
    await ask(server, 'PUT', '/__ds/subscriptions/s', { headers: json, body: JSON.stringify(subscription) });
    await ask(server, 'PUT', '/b', { headers: json });
    await ask(server, 'POST', '/__ds/subscriptions/s/streams', { headers: json, body: '{"streams":["b"]}' });
    await ask(server, 'POST', '/b', { headers: json, body: '1' });
    const claim = await ask(server, 'POST', '/__ds/subscriptions/s/claim', { headers: json, body: '{"worker":"w"}' });
    const { token, wake_id, generation } = JSON.parse(claim.text) as {
      token: string;
      wake_id: string;
      generation: number;
    };
    const body = JSON.stringify({ wake_id, generation });
    const release = (fields: readonly string[]) =>
      send(
        'POST /__ds/subscriptions/s/release HTTP/1.1',
        'Host: localhost',
        ...fields,
        `Content-Length: ${body.length}`,
        'Connection: close',
        '',
        body,
      );
    expect(await release(twice(token))).toMatch(/^HTTP\/1.1 401 [\s\S]*TOKEN_INVALID/);
    expect(await release([`Authorization: Bearer ${token}`])).toMatch(/^HTTP\/1.1 204 /);
  });

  it('is refused, too, where it asks for a WebSocket', async () => {
    const answer = await send(
      'GET /a?verb=append HTTP/1.1',
      'Host: localhost',
      'Host: evil.example',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    );
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect((await server.store.stat('a')).appender).toBe(false);
  });

  it.each([
    ['two lengths', 'Content-Length: 1', 'Content-Length: 2'],
    ['two lengths in one', 'Content-Length: 1, 2'],
    ['a length and chunks', 'Content-Length: 1', 'Transfer-Encoding: chunked'],
    ['chunks that are not the last coding', 'Transfer-Encoding: chunked, gzip'],
    ['a coding besides chunks', 'Transfer-Encoding: gzip, chunked'],
    ['a space before the colon', 'Content-Length : 1'],
    ['no Host'],
  ])('is refused: %s', async (what, ...lines) => {
    const host = what === 'no Host' ? [] : ['Host: localhost'];
    const answer = await send('POST /a HTTP/1.1', ...host, 'Content-Type: text/plain', ...lines);
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect((await server.store.stat('a')).tail).toBe(0);
  });
});

describe('chunks', () => {
  it('are none of HTTP/1.0', async () => {
    const answer = await send('POST /a HTTP/1.0', 'Content-Type: text/plain', 'Transfer-Encoding: chunked');
    expect(answer).toMatch(/^HTTP\/1.1 400 [\s\S]*INVALID_REQUEST/);
  });

  it('are so in any case', async () => {
    const socket = await dial(server);
    socket.write(
      'POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n',
    );
    socket.write('1\r\nx\r\n0\r\n\r\n');
    expect(await drain(socket)).toMatch(/^HTTP\/1.1 204 /);
  });
});

describe('OPTIONS', () => {
  it('of * is answered for the server as a whole', async () => {
    const answer = await send('OPTIONS * HTTP/1.1', 'Host: localhost');
    expect(answer).toMatch(/^HTTP\/1.1 204 /);
    expect(answer).toContain('Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS\r\n');
    expect(await send('OPTIONS http://localhost HTTP/1.1', 'Host: localhost')).toMatch(/^HTTP\/1.1 204 /);
  });

  it('of a stream says what can be done with it', async () => {
    expect(await send('OPTIONS /a HTTP/1.1', 'Host: localhost')).toContain(
      'Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS\r\n',
    );
  });

  it('alone may be asked of *', async () => {
    expect(await send('GET * HTTP/1.1', 'Host: localhost')).toMatch(/^HTTP\/1.1 400 [\s\S]*INVALID_PATH/);
  });
});
