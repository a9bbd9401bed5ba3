import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dial, drain, serve, type TestServer } from './test-server.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

/** Sends all requests in one write, and gives the status of each answer. */
async function pipeline(...requests: (readonly [method: string, path: string, headers?: string, body?: string])[]) {
  const socket = await dial(server);
  socket.write(
    requests
      .map(([method, path, headers = '', body = ''], at) => {
        const last = at === requests.length - 1 ? 'Connection: close\r\n' : '';
        return `${method} ${path} HTTP/1.1\r\nHost: x\r\n${headers}${last}Content-Length: ${body.length}\r\n\r\n${body}`;
      })
      .join(''),
  );
  const answers = await drain(socket);
  return { statuses: [...answers.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status)), answers };
}

const JSON_TYPE = 'Content-Type: application/json\r\n';
const TEXT = 'Content-Type: text/plain\r\n';

describe('pipelined requests', () => {
  it('find what those before them made', async () => {
    const { statuses } = await pipeline(['PUT', '/a', JSON_TYPE], ['POST', '/a', JSON_TYPE, '{"a":1}'], ['GET', '/a']);
    expect(statuses).toEqual([201, 204, 200]);
  });

  it('do not close a stream before what was to come first', async () => {
    await server.store.create('a', { contentType: 'application/json' });
    const { statuses } = await pipeline(
      ['POST', '/a', JSON_TYPE, '{"a":2}'],
      ['POST', '/a', 'Stream-Closed: true\r\n'],
      ['GET', '/a'],
    );
    expect(statuses).toEqual([204, 204, 200]);
  });

  it('keep the order of many appends', async () => {
    await server.store.create('a', { contentType: 'text/plain' });
    const letters = [...'abcdefghijklmnopqrstuvwxyz'];
    const { statuses, answers } = await pipeline(...letters.map((letter) => ['POST', '/a', TEXT, letter] as const), [
      'GET',
      '/a',
    ]);
    expect(statuses).toEqual([...letters.map(() => 204), 200]);
    expect(answers.endsWith(letters.join(''))).toBe(true);
  });
});
