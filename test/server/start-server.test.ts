import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { append, follow } from '../../src/client/index.js';
import { type RunningServer, startServer } from '../../src/server/index.js';

let directory: string;
const running: RunningServer[] = [];

async function start(...options: Parameters<typeof startServer>): Promise<RunningServer> {
  const server = await startServer(...options);
  running.push(server);
  return server;
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'millrace-server-'));
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.close({ drainMs: 0 })));
  await rm(directory, { recursive: true, force: true });
});

describe('startServer', () => {
  it('serves a root: what is appended is there after a restart', async () => {
    const root = join(directory, 'streams');
    const first = await start({ root, port: 0 });
    expect(first.root).toBe(root);
    await append(`${first.url}/a.txt`, 'kept');
    await first.close();
    const second = await start({ root, port: 0 });
    expect(await (await fetch(`${second.url}/a.txt`)).text()).toBe('kept');
  });

  it('forgets everything with memory', async () => {
    const first = await start({ memory: true, port: 0 });
    expect(first.root).toBeUndefined();
    await append(`${first.url}/a.txt`, 'gone');
    await first.close();
    const second = await start({ memory: true, port: 0 });
    expect((await fetch(`${second.url}/a.txt`)).status).toBe(404);
  });

  it('takes 0 for a wait: then nothing is waited for', async () => {
    const server = await start({ root: directory, port: 0, limits: { drainMs: 0, resumeGraceMs: 0 } });
    await append(`${server.url}/a.txt`, 'x');
    await server.close();
  });

  it('gives up starting when its signal aborts, and frees the root', async () => {
    const silent = createServer();
    await once(silent.listen(0, '127.0.0.1'), 'listening');
    const hub = `redis://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const reason = new Error('never mind');
    const given = new AbortController();
    const started = startServer({ root: directory, port: 0, hub, signal: given.signal });
    started.catch(() => undefined);
    const [socket] = (await once(silent, 'connection')) as [Socket];
    given.abort(reason);
    await expect(started).rejects.toBe(reason);
    await expect(startServer({ root: directory, port: 0, signal: given.signal })).rejects.toBe(reason);
    await start({ root: directory, port: 0 });
    socket.destroy();
    silent.close();
  });

  it('gives up the root when it cannot listen', async () => {
    const taken = await start({ memory: true, port: 0 });
    const root = join(directory, 'streams');
    await expect(startServer({ root, port: Number(new URL(taken.url).port) })).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      details: { host: '127.0.0.1' },
    });
    await start({ root, port: 0 });
  });

  it('does not make the directories above the root: a disk that is not mounted is not an empty one', async () => {
    await expect(startServer({ root: join(directory, 'disk', 'streams'), port: 0 })).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
    });
  });

  it('refuses a root that another server has', async () => {
    await start({ root: directory, port: 0 });
    await expect(startServer({ root: directory, port: 0 })).rejects.toMatchObject({ code: 'STORE_LOCKED' });
  });

  it('closes once, however often it is asked, and ends its followers', async () => {
    const server = await start({ memory: true, port: 0 });
    await append(`${server.url}/a.txt`, 'x');
    const chunks = follow(`${server.url}/a.txt`, { live: true, retryMs: 0 })[Symbol.asyncIterator]();
    await chunks.next();
    const next = chunks.next().catch((error: unknown) => error);
    await Promise.all([server.close(), server.close()]);
    expect(await next).toMatchObject({ code: 'RESUME_FAILED' });
    await expect(fetch(`${server.url}/a.txt`)).rejects.toThrow();
  });

  it('names an address that a program on this machine can reach', async () => {
    const server = await start({ memory: true, host: '0.0.0.0', port: 0 });
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect((await fetch(`${server.url}/-/health`)).ok).toBe(true);
  });
});
