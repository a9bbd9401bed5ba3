import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { append, follow } from '../../src/client/index.js';
import { type RunningServer, startServer } from '../../src/server/index.js';
import { ask, problemOf } from '../http/test-server.js';

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

describe('startServer, which nobody has told who may come', () => {
  const get = (server: RunningServer, headers: Record<string, string>) =>
    ask({ port: Number(new URL(server.url).port) }, 'GET', '/-/streams', { headers });

  it('keeps out pages of foreign origins, wherever it listens', async () => {
    for (const host of ['127.0.0.1', '0.0.0.0', 'localhost']) {
      const server = await start({ memory: true, port: 0, host });
      expect((await get(server, {})).status).toBe(200);
      expect((await get(server, { Origin: 'http://localhost:3000' })).status).toBe(200);
      expect(problemOf(await get(server, { Origin: 'https://evil.example' }))).toBe('ORIGIN_REFUSED');
    }
  });

  it('keeps out pages of names that somebody made to point to this machine', async () => {
    for (const host of ['127.0.0.1', 'localhost', '::1', '127.0.0.2']) {
      if (host === '::1' && !hasIpv6()) continue;
      const server = await start({ memory: true, port: 0, host });
      const { hostname, port } = new URL(server.url);
      const answer = (Host: string) =>
        ask({ port: Number(port), host: hostname.replace(/^\[|\]$/g, '') }, 'GET', '/-/health', { headers: { Host } });
      expect(problemOf(await answer('rebound.example'))).toBe('HOST_UNKNOWN');
      expect((await answer(`localhost:${port}`)).status).toBe(200);
      expect((await fetch(`${server.url}/-/health`)).status).toBe(200);
    }
  });

  it('does not know its names where it listens for other machines', async () => {
    const server = await start({ memory: true, port: 0, host: '0.0.0.0' });
    expect((await get(server, { Host: 'build.lan:4437' })).status).toBe(200);
  });

  it('takes its names and its pages from the configuration', async () => {
    const server = await start({
      memory: true,
      port: 0,
      publicUrl: 'https://streams.example',
      hostNames: ['build.lan'],
      origins: ['https://app.example'],
    });
    for (const Host of ['streams.example', 'build.lan:4437']) expect((await get(server, { Host })).status).toBe(200);
    for (const Origin of ['https://streams.example', 'https://app.example']) {
      const answer = await get(server, { Origin });
      expect([answer.status, answer.headers['access-control-allow-origin']]).toEqual([200, Origin]);
    }
    expect((await get(server, { Origin: 'https://other.example' })).status).toBe(403);
  });

  it('says what is wrong with them before anything else is done', async () => {
    const root = join(directory, 'never');
    await expect(startServer({ root, origins: ['nonsense'] })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(existsSync(root)).toBe(false);
  });
});

function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'));
}
