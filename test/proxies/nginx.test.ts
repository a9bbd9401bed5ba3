import { Buffer } from 'node:buffer';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { serve, stopAll } from '../cli/commands.js';
import { ask, begin, until } from '../http/test-server.js';
import { tryOpen } from '../http/test-socket.js';
import { behind, passesOn, passesUploads, passesWebSockets, upload, watch } from './behind-proxy.js';
import { findProxy, type RunningProxy, startDocumentedNginx, startNginx, TIMES_DIVIDED_BY, times } from './proxy.js';

const nginx = await findProxy('nginx');
/** Its `proxy_read_timeout`. */
const TIMEOUT_MS = 60_000;

if (TIMES_DIVIDED_BY === 1) vi.setConfig({ testTimeout: 10 * TIMEOUT_MS });

describe.runIf(nginx !== undefined)('behind nginx as it comes', () => {
  const at = behind((port) => startNginx(nginx as string, port));
  passesOn(at, TIMEOUT_MS);

  it('a WebSocket is refused with what to do: nginx does not pass the upgrade on', async () => {
    const refused = await tryOpen(at.proxy, '/log.txt?verb=append');
    expect(refused).toMatchObject({ status: 426 });
  });

  it('an append over a request body is collected first', async () => {
    const { req, answer } = upload(at.proxy, '/log.txt?verb=append');
    req.write('first ');
    await new Promise((resolve) => setTimeout(resolve, times(TIMEOUT_MS) / 3));
    await expect(at.server.store.stat('log.txt')).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
    req.end('last');
    expect((await answer).statusCode).toBe(204);
    expect((await ask(at.proxy, 'GET', '/log.txt')).text).toBe('first last');
  });
});

describe.runIf(nginx !== undefined)('behind nginx as docs/proxies.md says', () => {
  const at = behind((port) => startDocumentedNginx(nginx as string, port));
  passesWebSockets(at, TIMEOUT_MS);
  passesUploads(at);

  it('a raw body on which nothing comes lasts', async () => {
    const session = await at.server.store.acquire('log.txt', { create: {} });
    const body = watch(await begin(at.proxy, 'GET', '/log.txt?verb=follow'));
    await new Promise((resolve) => setTimeout(resolve, 2 * times(TIMEOUT_MS)));
    await session.append(Buffer.from('after all'));
    await until(() => body.text === 'after all');
    await session.release();
    await until(() => body.end === 'complete');
  });
});

describe.runIf(nginx !== undefined)('a server that is killed behind nginx', () => {
  let proxy: RunningProxy | undefined;

  afterEach(async () => {
    await proxy?.stop();
    await stopAll();
  });

  /** A raw follower of a server that is then killed. */
  async function followKilled(start: (port: number) => Promise<RunningProxy>) {
    const { command, url, port } = await serve('--memory');
    proxy = await start(Number(port));
    await fetch(`${url}/log.txt`, { method: 'PUT', body: 'all', headers: { 'Content-Type': 'text/plain' } });
    const res = await begin(proxy, 'GET', '/log.txt?live=raw');
    const body = watch(res);
    await until(() => body.text === 'all');
    command.kill('SIGKILL');
    await until(() => body.end !== undefined);
    return { end: body.end, marked: res.headers['stream-end'] };
  }

  it('is seen over HTTP/1.1', async () => {
    const seen = await followKilled((port) => startDocumentedNginx(nginx as string, port));
    expect(seen).toEqual({ end: 'cut', marked: undefined });
  });

  it('cannot be seen over HTTP/1.0, which is what nginx speaks as it comes: the header fields say so', async () => {
    const seen = await followKilled((port) => startNginx(nginx as string, port));
    expect(seen).toEqual({ end: 'complete', marked: 'unmarked' });
  });
});
