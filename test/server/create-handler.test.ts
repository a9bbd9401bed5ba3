import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { follow, openAppend } from '../../src/client/index.js';
import { configureServer } from '../../src/http/index.js';
import { createHandler, type RootHandler } from '../../src/server/index.js';

describe('a handler over a root', () => {
  let folder: string;
  let handler: RootHandler;
  let server: Server;
  let url: string;

  const serve = async (options: { readonly root: string; readonly prefix?: string; readonly originCheck?: object }) => {
    handler = createHandler(options);
    server = createServer((req, res) => {
      if (!handler.request(req, res)) res.end('something else');
    }).on('upgrade', handler.upgrade);
    configureServer(server);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-handler-'));
  });

  afterEach(async () => {
    await handler.close({ drainMs: 0 });
    server.close();
    server.closeAllConnections();
    await rm(folder, { recursive: true, force: true });
  });

  it('makes the root, and serves requests that come before it is open', async () => {
    await serve({ root: join(folder, 'data') });
    const writer = (await openAppend(`${url}/log.txt`)).getWriter();
    await writer.write('hello');
    await writer.close();
    let text = '';
    for await (const part of follow(`${url}/log.txt`).text()) text += part;
    expect(text).toBe('hello');
    expect(await readFile(join(folder, 'data/log.txt'), 'utf8')).toBe('hello');
  });

  it('leaves everything outside its prefix alone, open or not', async () => {
    await serve({ root: folder, prefix: '/streams' });
    expect(await (await fetch(`${url}/other`)).text()).toBe('something else');
    await handler.ready;
    expect(await (await fetch(`${url}/other`)).text()).toBe('something else');
    expect((await fetch(`${url}/streams/none`)).status).toBe(404);
  });

  it('refuses every request where the root cannot be opened, and says why', async () => {
    const first = createHandler({ root: folder });
    await first.ready;
    await serve({ root: folder });
    await expect(handler.ready).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    const answer = await fetch(`${url}/log.txt`);
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    expect(answer.status).toBeGreaterThanOrEqual(500);
    await first.close();
  });

  it('tells pages that may not ask nothing of it', async () => {
    const first = createHandler({ root: folder });
    await first.ready;
    await serve({ root: folder, originCheck: {} });
    const answer = await fetch(`${url}/log.txt`, { headers: { Origin: 'https://evil.example' } });
    expect([answer.status, answer.headers.get('access-control-allow-origin')]).toEqual([403, null]);
    expect(await answer.text()).not.toContain(folder);
    await first.close();
  });

  it('throws at once for options that cannot be, and does not open the root for them', async () => {
    const root = join(folder, 'data');
    for (const wrong of [
      { root, prefix: '/streams/' },
      { root, limits: { followersMax: 0 } },
      { root, originCheck: { origins: ['nonsense'] } },
      { root, follow: { windowBytes: -1 } },
    ]) {
      expect(() => createHandler(wrong)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    }
    await serve({ root: folder });
    await handler.ready;
    expect(await readdir(folder)).toEqual(['.millrace', '.millrace.lock']);
  });

  it('frees the root when it is closed', async () => {
    await serve({ root: folder });
    await handler.ready;
    await handler.close();
    const next = createHandler({ root: folder });
    await next.ready;
    await next.close();
  });

  it.each([
    ['garbage', 'not http at all\r\n\r\n', 400, 'INVALID_REQUEST'],
    [
      'headers beyond the limit',
      `GET /x HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`,
      431,
      'HEADERS_TOO_LARGE',
    ],
  ])('answers %s with a problem', async (_, bytes, status, code) => {
    await serve({ root: folder });
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    socket.write(bytes);
    let answer = '';
    for await (const part of socket.setEncoding('utf8')) answer += part;
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(answer).toContain('application/problem+json');
    expect(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))).code).toBe(code);
  });
});
