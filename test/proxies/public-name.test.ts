import { afterEach, describe, expect, it } from 'vitest';
import { type ServeCommand, serve, stopAll } from '../cli/commands.js';
import { type Answer, ask, problemOf } from '../http/test-server.js';
import { open } from '../http/test-socket.js';
import { findProxy, type RunningProxy, startDocumentedHaproxy, startDocumentedNginx, startNginx } from './proxy.js';

const nginx = await findProxy('nginx');
const haproxy = await findProxy('haproxy');

let proxy: RunningProxy | undefined;

afterEach(async () => {
  await proxy?.stop();
  await stopAll();
});

const PUBLIC = { Host: 'streams.example' };
const OWN_PAGE = { ...PUBLIC, Origin: 'https://streams.example' };

/** `millrace serve` with a proxy before it. */
async function behind(start: (port: number) => Promise<RunningProxy>, ...args: string[]): Promise<ServeCommand> {
  const server = await serve('--memory', ...args);
  proxy = await start(Number(server.port));
  return server;
}

const get = (headers: Record<string, string>): Promise<Answer> =>
  ask(proxy as RunningProxy, 'GET', '/-/streams', { headers });

/** What is so wherever the proxy passes on under which name it was called. */
function knowsPublicName(start: (port: number) => Promise<RunningProxy>): void {
  it('a server that was not told its public name says what to do', async () => {
    await behind(start);
    const answer = await get(PUBLIC);
    expect([answer.status, problemOf(answer)]).toEqual([421, 'HOST_UNKNOWN']);
    expect(answer.text).toContain('--public-url');
  });

  it.each([
    ['--public-url', 'https://streams.example'],
    ['--host-name', 'streams.example'],
  ])('one that was is served there, and its own pages are no foreign ones: %s %s', async (...args) => {
    await behind(start, ...args);
    expect((await get(PUBLIC)).status).toBe(200);
    expect((await get(OWN_PAGE)).status).toBe(200);
    expect(problemOf(await get({ ...PUBLIC, Origin: 'https://evil.example' }))).toBe('ORIGIN_REFUSED');
    const appender = await open(proxy as RunningProxy, '/log.txt?verb=append', { headers: OWN_PAGE });
    appender.ws.close();
    await appender.closed;
  });
}

describe.runIf(haproxy !== undefined)('behind HAProxy, which passes the name on', () => {
  knowsPublicName((port) => startDocumentedHaproxy(haproxy as string, port));
});

describe.runIf(nginx !== undefined)('behind nginx that passes the name on', () => {
  knowsPublicName((port) => startDocumentedNginx(nginx as string, port));
});

describe.runIf(nginx !== undefined)('behind nginx as it comes, which names the upstream', () => {
  it('a server needs to know its name for its own pages alone', async () => {
    await behind((port) => startNginx(nginx as string, port));
    expect((await get(PUBLIC)).status).toBe(200);
    expect(problemOf(await get(OWN_PAGE))).toBe('ORIGIN_REFUSED');
  });

  it('and takes it from its public URL', async () => {
    await behind((port) => startNginx(nginx as string, port), '--public-url', 'https://streams.example');
    expect((await get(OWN_PAGE)).status).toBe(200);
  });
});
