import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { configureServer, createHandler, type Handler, sendEvents } from '../../src/http/index.js';
import { createHub, type Hub } from '../../src/hub/index.js';
import { createMemoryStore, type Store } from '../../src/log/index.js';
import { begin } from './test-server.js';

let store: Store;
let hub: Hub;
let handler: Handler;
let server: Server;
/** What the application in front does with a response before it comes to the handler. */
let before: (res: ServerResponse) => void;

beforeEach(async () => {
  store = createMemoryStore();
  hub = createHub();
  handler = createHandler({ store, hub });
  before = () => {};
  server = createServer((req, res) => {
    before(res);
    if (req.url === '/own-events') void sendEvents(req, res, hub, 'a');
    else handler.request(req, res);
  });
  configureServer(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  await store.create('a.txt', { data: Buffer.from('text') });
  await store.create('a.json', { contentType: 'application/json', data: Buffer.from('1\n') });
  await store.create('closed', { closed: true });
});

afterEach(async () => {
  await handler.close({ drainMs: 0 });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await hub.close();
  await store.close();
});

const ORIGIN = 'https://app.example';

/** The head of the answer; its body may never end. */
async function headOf(method: string, path: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  const res = await begin({ port: (server.address() as AddressInfo).port }, method, path, {
    Origin: ORIGIN,
    ...headers,
  });
  res.on('error', () => {});
  res.destroy();
  return res;
}

const TEXT = { 'Content-Type': 'text/plain' };

/** A request for each kind of response. */
type Kind = [what: string, status: number, method: string, path: string, headers?: Record<string, string>];
const kinds: Kind[] = [
  ['a whole stream', 200, 'GET', '/a.txt'],
  ['a part', 206, 'GET', '/a.txt', { Range: 'bytes=0-1' }],
  ['no such part', 416, 'GET', '/a.txt', { Range: 'bytes=9-' }],
  ['what has not changed', 304, 'GET', '/a.txt', { 'If-None-Match': '*' }],
  ['a read from an offset', 200, 'GET', '/a.txt?offset=-1'],
  ['a read from an offset that has not changed', 304, 'GET', '/a.txt?offset=-1', { 'If-None-Match': '*' }],
  ['a read from the tail', 200, 'GET', '/a.txt?offset=now'],
  ['messages', 200, 'GET', '/a.json'],
  ['a long-poll', 200, 'GET', '/a.txt?offset=-1&live=long-poll'],
  ['a long-poll for nothing', 204, 'GET', '/closed?offset=-1&live=long-poll'],
  ['server-sent events', 200, 'GET', '/a.txt?offset=-1&live=sse'],
  ['live bytes', 200, 'GET', '/a.txt?live=raw'],
  ['a follower', 200, 'GET', '/a.txt?verb=follow'],
  ['HEAD', 200, 'HEAD', '/a.txt'],
  ['a creation', 201, 'PUT', '/new', TEXT],
  ['an append', 400, 'POST', '/a.txt', TEXT],
  ['a close', 204, 'POST', '/a.txt', { 'Stream-Closed': 'true' }],
  ['an appender', 204, 'PUT', '/a.txt?verb=append'],
  [
    'a conflict',
    409,
    'POST',
    '/closed',
    { 'Stream-Closed': 'true', 'Producer-Id': 'p', 'Producer-Epoch': '0', 'Producer-Seq': '0' },
  ],
  ['a deletion', 204, 'DELETE', '/a.txt'],
  ['no stream', 404, 'GET', '/none'],
  ['no path', 400, 'GET', '/a//b'],
  ['no method', 405, 'PATCH', '/a.txt'],
  ['a WebSocket alone', 426, 'GET', '/a.txt?live=ws'],
  ['health', 200, 'GET', '/-/health'],
  ['a listing', 200, 'GET', '/-/streams'],
  ['events of a hub', 200, 'GET', '/-/events?channel=a'],
  ['no channels', 400, 'GET', '/-/events'],
  ['a message that is none', 400, 'POST', '/-/publish?channel=a'],
  ['published', 204, 'POST', '/-/publish?channel=a', { 'Content-Type': 'application/octet-stream' }],
  ['keys', 200, 'GET', '/__ds/jwks.json'],
  ['no subscription', 404, 'GET', '/__ds/subscriptions/none'],
  ["an application's own events", 200, 'GET', '/own-events'],
  ['a preflight', 204, 'OPTIONS', '/a.txt', { 'Access-Control-Request-Method': 'PUT' }],
];

describe('every response', () => {
  it.each(kinds)('%s (%i): pages of all origins may read it', async (_, status, method, path, headers) => {
    const res = await headOf(method, path, headers);
    expect(res.statusCode).toBe(status);
    expect(res.headers).toMatchObject({
      'access-control-allow-origin': '*',
      'access-control-expose-headers': expect.stringContaining('Stream-Next-Offset') as string,
      'cross-origin-resource-policy': 'cross-origin',
      'x-content-type-options': 'nosniff',
    });
  });

  it.each(kinds)('%s (%i): what the application said to browsers stays', async (_, status, method, path, headers) => {
    const own = {
      'access-control-allow-origin': ORIGIN,
      'access-control-allow-credentials': 'true',
      'access-control-expose-headers': 'X-Own',
      'access-control-allow-methods': 'PUT, PATCH',
      'access-control-allow-headers': 'x-own',
      'access-control-max-age': '7',
      'cross-origin-resource-policy': 'same-site',
    };
    before = (res) => {
      for (const [name, value] of Object.entries({ ...own, vary: 'Origin' })) res.setHeader(name, value);
    };
    const res = await headOf(method, path, headers);
    expect(res.statusCode).toBe(status);
    expect(res.headers).toMatchObject({ ...own, 'x-content-type-options': 'nosniff' });
    expect(res.headers.vary).toContain('Origin');
  });
});

describe('an application in front', () => {
  it('that allows one origin need not know which of our headers there are', async () => {
    before = (res) => res.setHeader('Access-Control-Allow-Origin', ORIGIN);
    const { headers } = await headOf('GET', '/a.txt');
    expect(headers['access-control-allow-origin']).toBe(ORIGIN);
    expect(headers['access-control-expose-headers']).toContain('Stream-Next-Offset');
  });

  it('that answers by origin, and has not allowed this one, is not corrected', async () => {
    before = (res) => res.setHeader('Vary', ['Accept-Encoding', 'origin']);
    const { headers } = await headOf('GET', '/a.txt');
    expect(headers['access-control-allow-origin']).toBeUndefined();
    expect(headers.vary).toBe('Accept-Encoding, origin');
  });

  it('that decides nothing about origins changes nothing', async () => {
    before = (res) => res.setHeader('X-Powered-By', 'Express').setHeader('Vary', 'Accept-Encoding');
    const { headers } = await headOf('GET', '/a.txt');
    expect(headers).toMatchObject({
      'x-powered-by': 'Express',
      vary: 'Accept-Encoding',
      'access-control-allow-origin': '*',
    });
  });
});

describe('a preflight', () => {
  const grants = async (asked: string) =>
    (await headOf('OPTIONS', '/a.txt', { 'Access-Control-Request-Headers': asked })).headers;

  it.each(['last-event-id', 'cache-control,if-range', 'traceparent, tracestate,x-my-own'])(
    'is granted %s',
    async (asked) => {
      const headers = await grants(asked);
      expect(headers['access-control-allow-headers']).toBe(asked);
      expect(headers.vary).toBe('Access-Control-Request-Headers');
    },
  );

  it('is told what there is when it asks for nothing', async () => {
    const { headers } = await headOf('OPTIONS', '/a.txt');
    for (const name of ['Last-Event-ID', 'Stream-Seq', 'If-Range']) {
      expect(headers['access-control-allow-headers']).toContain(name);
    }
    expect(headers['access-control-allow-methods']).toContain('DELETE');
  });

  it.each([
    ['no list of names', 'x-a; <script>'],
    ['too long', 'x'.repeat(4097)],
  ])('is not echoed what is %s', async (_, asked) => {
    expect((await grants(asked))['access-control-allow-headers']).toContain('Stream-Seq');
  });

  it('varies by what the application varies by, too', async () => {
    before = (res) => res.setHeader('Vary', 'Accept-Encoding');
    expect((await grants('x-a')).vary).toBe('Accept-Encoding, Access-Control-Request-Headers');
  });
});
