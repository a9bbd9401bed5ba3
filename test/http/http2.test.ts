import { Buffer } from 'node:buffer';
import { type ClientHttp2Session, connect, createServer, type Http2Server, type IncomingHttpHeaders } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createHandler, type Handler } from '../../src/http/index.js';
import { createMemoryStore, type Store } from '../../src/log/index.js';

let store: Store;
let handler: Handler;
let server: Http2Server;
let client: ClientHttp2Session;

beforeEach(async () => {
  store = createMemoryStore();
  handler = createHandler({ store, originCheck: { checkHost: true } });
  // Node's compatibility layer: requests and responses look like those of HTTP/1.
  server = createServer(handler.request as (req: unknown, res: unknown) => void);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});

afterEach(async () => {
  await new Promise<void>((resolve) => client.close(resolve));
  await handler.close({ drainMs: 500 });
  await new Promise((resolve) => server.close(resolve));
  await store.close();
});

interface Answer {
  readonly headers: IncomingHttpHeaders & { readonly ':status'?: number };
  readonly text: string;
}

async function ask(method: string, path: string, body?: string, headers: IncomingHttpHeaders = {}): Promise<Answer> {
  const stream = client.request({ ':method': method, ':path': path, ...headers }, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  const answered = new Promise<Answer['headers']>((resolve) => stream.once('response', resolve));
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(piece as Buffer);
  return { headers: await answered, text: Buffer.concat(pieces).toString() };
}

describe('over HTTP/2', () => {
  it('appends and reads', async () => {
    expect((await ask('PUT', '/foo.txt?verb=append', 'a body')).headers[':status']).toBe(204);
    expect(await ask('GET', '/foo.txt')).toMatchObject({ headers: { ':status': 200 }, text: 'a body' });
  });

  it('follows', async () => {
    await store.create('foo.txt', { data: Buffer.from('so far ') });
    const answer = ask('GET', '/foo.txt?live=raw');
    await store.append('foo.txt', { data: Buffer.from('and now'), close: true });
    expect((await answer).text).toBe('so far and now');
  });

  it('knows pages of foreign origins, and names that are not its own', async () => {
    await store.create('foo.txt', {});
    const statusOf = async (headers: IncomingHttpHeaders) =>
      (await ask('GET', '/foo.txt', undefined, headers)).headers[':status'];
    expect(await statusOf({ origin: 'http://localhost:3000' })).toBe(200);
    expect(await statusOf({ origin: 'https://evil.example' })).toBe(403);
    expect(await statusOf({ ':authority': 'evil.example' })).toBe(421);
    expect(await statusOf({ ':authority': 'evil.example', host: 'localhost' })).toBe(421);
  });

  it('explains that there are no upgrades', async () => {
    await store.create('foo.txt', {});
    const answer = await ask('GET', '/foo.txt?live=ws');
    expect(answer.headers[':status']).toBe(426);
    expect(JSON.parse(answer.text)).toMatchObject({ code: 'UPGRADE_REQUIRED' });
  });
});
