import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createMemoryStore, type Store } from '../../src/log/index.js';
import { SLICE_BYTES, TURN_BYTES_MAX } from '../../src/turn-budget.js';
import { type Served, serve } from '../conformance/serve.js';
import { token } from '../token.js';
import { ask } from './test-server.js';

interface Wake {
  subscription_id: string;
  wake_id: string;
  generation: number;
  callback_url: string;
  callback_token: string;
  streams: { path: string; link_type: string; acked_offset: string; tail_offset: string; has_pending: boolean }[];
}

interface Description {
  status: string;
  streams: { path: string; link_type: string; acked_offset: string }[];
  webhook: { url: string } | null;
}

/** A webhook that answers as it is told and keeps what it got. */
async function receiver(
  respond: (wake: Wake, count: number) => { status?: number; body?: object; location?: string; after?: Promise<void> },
) {
  const wakes: Wake[] = [];
  const waiting: (() => void)[] = [];
  const server = createServer(async (req, res) => {
    const wake = JSON.parse(await text(req)) as Wake;
    wakes.push(wake);
    const { status = 200, body = {}, location, after } = respond(wake, wakes.length);
    for (const wakeUp of waiting.splice(0)) wakeUp();
    await after;
    res.writeHead(status, {
      'Content-Type': 'application/json',
      ...(location === undefined ? {} : { Location: location }),
    });
    res.end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    wakes,
    /** Resolves once there were so many. */
    async received(count: number): Promise<Wake> {
      while (wakes.length < count) await new Promise<void>((resolve) => waiting.push(resolve));
      return wakes[count - 1] as Wake;
    },
  };
}

async function text(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

const eventually = <T>(check: () => Promise<T>) => vi.waitFor(check, { timeout: 20_000, interval: 20 });

const cleanups: (() => Promise<void>)[] = [];
let store: Store;
let served: Served;

/** Quick to try again, so that tests need not wait. */
const options = { allowLoopback: true, retryDelayMs: 50, retryDelayMsMax: 100 };

beforeEach(async () => {
  store = createMemoryStore();
  served = await serve({ store, subscriptions: options });
});

afterEach(async () => {
  await served.close();
  for (const cleanup of cleanups.splice(0)) await cleanup();
  await store.close();
});

/** The same store under a new handler: what a restart leaves. */
async function restart(): Promise<void> {
  await served.close();
  served = await serve({ store, subscriptions: options });
}

const api = (path: string, method = 'GET', body?: object, token?: string) =>
  fetch(`${served.url}/__ds/subscriptions/${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    headers: {
      'Content-Type': 'application/json',
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
    },
  });
const describeOf = async (id: string) => (await (await api(id)).json()) as Description;
const errorOf = async (response: Response) => ((await response.json()) as { error: { code: string } }).error.code;
const put = (path: string, body: string) =>
  fetch(`${served.url}/${path}`, { method: 'PUT', headers: { 'Content-Type': 'text/plain' }, body });
const post = (path: string, body: string) =>
  fetch(`${served.url}/${path}`, { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body });
const webhook = (url: string, more: object = {}) => ({
  type: 'webhook',
  pattern: 'events/*',
  webhook: { url },
  ...more,
});

/** Claims a wake as soon as there is one that nobody has. */
const claim = (id: string, worker: string) =>
  eventually(async () => {
    const response = await api(`${id}/claim`, 'POST', { worker });
    expect(response.status).toBe(200);
    return (await response.json()) as { token: string; wake_id: string; generation: number };
  });

/** The request that makes a subscription, from a client that calls the server as it likes. */
const putAs = (host: string, id: string, body: object) =>
  ask({ port: Number(new URL(served.url).port) }, 'PUT', `/__ds/subscriptions/${id}`, {
    headers: { 'Content-Type': 'application/json', Host: host },
    body: JSON.stringify(body),
  });

describe('where a webhook is told to call back', () => {
  const callbackOf = (wake: Wake) => new URL(wake.callback_url).host;

  test('is where the subscription was made, whoever confirms it under another name', async () => {
    const hook = await receiver(() => ({ body: { done: true } }));
    expect((await putAs('streams.example', 's', webhook(hook.url))).status).toBe(201);
    const confirmed = await putAs('evil.example', 's', webhook(hook.url));
    expect(confirmed.status).toBe(200);
    expect(confirmed.text).not.toContain('evil.example');
    await put('events/a', 'x');
    expect(callbackOf(await hook.received(1))).toBe('streams.example');
  });

  test('is the public URL of a server that knows it, from the next confirmation on', async () => {
    const hook = await receiver(() => ({ body: { done: true } }));
    await putAs('streams.example', 's', webhook(hook.url));
    await served.close();
    served = await serve({ store, subscriptions: options, publicUrl: 'https://public.example' });
    await putAs('evil.example', 's', webhook(hook.url));
    await putAs('evil.example', 't', webhook(hook.url));
    await put('events/a', 'x');
    await hook.received(2);
    expect(hook.wakes.map(callbackOf)).toEqual(['public.example', 'public.example']);
  });
});

describe('webhook subscriptions', () => {
  test('do not replay what was there before, and wake for what comes', async () => {
    await put('events/old', 'before');
    const hook = await receiver(() => ({ body: { done: true } }));
    expect((await api('s', 'PUT', webhook(hook.url))).status).toBe(201);
    await put('events/new', 'x');
    const wake = await hook.received(1);
    expect(wake.streams.map(({ path, has_pending }) => [path, has_pending])).toEqual([
      ['events/old', false],
      ['events/new', true],
    ]);
    expect(wake.generation).toBe(1);
  });

  test('wake again, with a new generation, for what came after the snapshot', async () => {
    const hook = await receiver((_, count) => {
      // While the first is being answered another append comes in.
      if (count === 1) void post('events/a', 'more');
      return { body: { done: true } };
    });
    await api('s', 'PUT', webhook(hook.url));
    await put('events/a', 'x');
    const second = await hook.received(2);
    expect(second.generation).toBeGreaterThan(1);
    await eventually(async () => {
      expect((await describeOf('s')).streams[0]?.acked_offset).toEqual(token(5));
    });
  });

  test('leave alone what took the place of a stream that they did', async () => {
    let answer = () => {};
    const replaced = new Promise<void>((resolve) => {
      answer = resolve;
    });
    // While the first is being answered its stream goes, and another comes to its place.
    const hook = await receiver(() => ({ body: { done: true }, after: replaced }));
    await api('s', 'PUT', webhook(hook.url));
    await put('events/a', 'x'.repeat(100));
    await hook.received(1);
    await fetch(`${served.url}/events/a`, { method: 'DELETE' });
    await put('events/a', 'new data');
    answer();
    const second = await hook.received(2);
    expect(second.streams).toMatchObject([{ acked_offset: token(0), tail_offset: token(8) }]);
    await eventually(async () => {
      expect((await describeOf('s')).streams[0]?.acked_offset).toEqual(token(8));
    });
  });

  test('have done all that they were told of, also what came after the wake', async () => {
    const hook = await receiver((_, count) => (count === 1 ? { status: 500 } : { body: { done: true } }));
    await api('s', 'PUT', webhook(hook.url));
    await put('events/a', '12345');
    await hook.received(1);
    await post('events/a', '67890');
    const second = await hook.received(2);
    expect(second.streams[0]?.tail_offset).toEqual(token(10));
    await eventually(async () => {
      expect((await describeOf('s')).streams[0]?.acked_offset).toEqual(token(10));
    });
    expect(hook.wakes).toHaveLength(2);
  });

  test('are tried again after failures, redirects included, with the same wake', async () => {
    let answer = () => {};
    const seen = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const hook = await receiver((_, count) => {
      if (count === 1) return { status: 500 };
      if (count === 2) return { status: 302, location: 'http://127.0.0.1:9/elsewhere' };
      return { body: { done: true }, after: seen };
    });
    await api('s', 'PUT', webhook(hook.url));
    await put('events/a', 'x');
    await hook.received(1);
    await eventually(async () => expect((await describeOf('s')).status).toBe('failed'));
    const third = await hook.received(3);
    answer();
    expect(third.wake_id).toBe(hook.wakes[0]?.wake_id);
    await eventually(async () => expect((await describeOf('s')).status).toBe('active'));
  });

  test('end with their lease, and what is left wakes again', async () => {
    const hook = await receiver(() => ({}));
    await api('s', 'PUT', webhook(hook.url, { lease_ttl_ms: 1000 }));
    await put('events/a', 'x');
    const first = await hook.received(1);
    const second = await hook.received(2);
    expect(second.generation).toBe(first.generation + 1);
    const late = await api('s/callback', 'POST', { ...first, done: true }, first.callback_token);
    expect([late.status, await errorOf(late)]).toEqual([409, 'FENCED']);
  });

  test('callbacks need their token, and acks that can be', async () => {
    const hook = await receiver(() => ({}));
    await api('s', 'PUT', webhook(hook.url));
    await put('events/a', 'abc');
    const { wake_id, generation, callback_token: bearer } = await hook.received(1);
    const report = (acks: object[], with_token?: string) =>
      api('s/callback', 'POST', { wake_id, generation, acks }, with_token);
    expect((await report([])).status).toBe(401);
    expect(await errorOf(await report([], 'nonsense'))).toBe('TOKEN_INVALID');
    const ack = (offset: string, stream = 'events/a') => report([{ stream, offset }], bearer);
    expect(await errorOf(await ack('0000000000000004'))).toBe('INVALID_ACK');
    expect(await errorOf(await ack('0000000000000001', 'events/b'))).toBe('INVALID_ACK');
    expect(await errorOf(await ack('-1'))).toBe('INVALID_OFFSET');
    expect((await ack('0000000000000002')).status).toBe(200);
    expect(await errorOf(await ack('0000000000000001'))).toBe('INVALID_ACK');
    expect((await describeOf('s')).streams[0]?.acked_offset).toEqual(token(2));
  });

  test('are gone when deleted: nothing that was under way counts', async () => {
    const hook = await receiver(() => ({}));
    await api('s', 'PUT', webhook(hook.url));
    await put('events/a', 'abc');
    const wake = await hook.received(1);
    expect((await api('s', 'DELETE')).status).toBe(204);
    expect((await api('s/callback', 'POST', { ...wake, done: true }, wake.callback_token)).status).toBe(404);
    expect((await api('s')).status).toBe(404);
  });

  test('of a server that does not allow this machine are refused', async () => {
    const strict = await serve({ store: createMemoryStore(), subscriptions: {} });
    cleanups.push(() => strict.close());
    const response = await fetch(`${strict.url}/__ds/subscriptions/s`, {
      method: 'PUT',
      body: JSON.stringify(webhook('http://127.0.0.1:1/')),
    });
    expect([response.status, await errorOf(response)]).toEqual([400, 'WEBHOOK_URL_REJECTED']);
  });
});

describe('after a restart', () => {
  test('a subscription has its configuration, cursors and signing key', async () => {
    const hook = await receiver(() => ({ body: { done: true } }));
    await api('s', 'PUT', webhook(hook.url, { streams: ['manual/a'] }));
    await put('events/a', 'abc');
    await hook.received(1);
    await eventually(async () => expect((await describeOf('s')).streams[1]?.acked_offset).toEqual(token(3)));
    const before = await describeOf('s');
    const keys = await (await fetch(`${served.url}/__ds/jwks.json`)).text();
    await restart();
    const after = await describeOf('s');
    expect({ ...after, webhook: null }).toEqual({ ...before, webhook: null });
    expect(await (await fetch(`${served.url}/__ds/jwks.json`)).text()).toBe(keys);
    expect((await api('s', 'PUT', webhook(hook.url, { streams: ['manual/a'] }))).status).toBe(200);
  });

  test('work that nobody was told of wakes somebody', async () => {
    const hook = await receiver(() => ({ body: { done: true } }));
    await api('s', 'PUT', webhook(hook.url));
    await served.close();
    await store.create('events/unseen', { contentType: 'text/plain', data: Buffer.from('x') });
    served = await serve({ store, subscriptions: options });
    const wake = await hook.received(1);
    expect(wake.streams).toMatchObject([{ path: 'events/unseen', has_pending: true }]);
  });

  test('a wake goes on: its token is good, its retry is made when it was due', async () => {
    const hook = await receiver((_, count) => (count === 1 ? { status: 503 } : {}));
    await api('s', 'PUT', webhook(hook.url));
    await put('events/a', 'abc');
    const first = await hook.received(1);
    await eventually(async () => expect((await describeOf('s')).status).toBe('failed'));
    await restart();
    const again = await hook.received(2);
    expect(again.wake_id).toBe(first.wake_id);
    const done = await api(
      's/callback',
      'POST',
      {
        wake_id: first.wake_id,
        generation: first.generation,
        acks: [{ stream: 'events/a', offset: '0000000000000003' }],
        done: true,
      },
      first.callback_token,
    );
    expect(await done.json()).toEqual({ ok: true, next_wake: false });
  });

  test('a claim holds until its lease ends', async () => {
    await put('wake', '');
    await api('p', 'PUT', { type: 'pull-wake', pattern: 'events/*', wake_stream: 'wake', lease_ttl_ms: 600_000 });
    await put('events/a', 'abc');
    const { token, wake_id, generation } = await claim('p', 'one');
    await restart();
    expect(await errorOf(await api('p/claim', 'POST', { worker: 'two' }))).toBe('ALREADY_CLAIMED');
    expect((await api('p/ack', 'POST', { wake_id, generation }, token)).status).toBe(200);
    expect(await errorOf(await api('p/claim', 'POST', { worker: 'two' }))).toBe('ALREADY_CLAIMED');
  });

  test('a long history takes no more room than the state', async () => {
    await put('wake', '');
    await put('events/a', '');
    await api('p', 'PUT', { type: 'pull-wake', streams: ['events/a'], wake_stream: 'wake' });
    for (let i = 0; i < 270; i++) {
      await post('events/a', 'x');
      const claim = (await (await api('p/claim', 'POST', { worker: 'one' })).json()) as { token: string };
      const offset = String(i + 1).padStart(16, '0');
      await api('p/ack', 'POST', { ...claim, acks: [{ stream: 'events/a', offset }], done: true }, claim.token);
    }
    const { streams } = await store.list({ prefix: '__ds/subscriptions/' });
    expect(streams).toHaveLength(1);
    expect(streams[0]?.path).not.toBe('__ds/subscriptions/0000000001');
    await restart();
    expect((await describeOf('p')).streams).toMatchObject([{ path: 'events/a', acked_offset: token(270) }]);
  });
});

describe('a lease', () => {
  const HOUR_MS = 3_600_000;

  beforeEach(async () => {
    await put('wake', '');
    await api('p', 'PUT', { type: 'pull-wake', pattern: 'events/*', wake_stream: 'wake', lease_ttl_ms: 1000 });
    await put('events/a', 'abc');
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  /** Somebody sets the clock. */
  const setClock = (byMs: number) => {
    const now = Date.now() + byMs;
    vi.useFakeTimers({ toFake: ['Date'] });
    vi.setSystemTime(now);
  };

  test('ends, and what is left may be claimed by another', async () => {
    const { token, wake_id, generation } = await claim('p', 'one');
    await claim('p', 'two');
    expect(await errorOf(await api('p/ack', 'POST', { wake_id, generation }, token))).toBe('FENCED');
  });

  test('ends in time, although the clock went back', async () => {
    await claim('p', 'one');
    setClock(-27 * HOUR_MS);
    await claim('p', 'two');
  });

  test('ends in time after a restart, although the clock went back meanwhile', async () => {
    await claim('p', 'one');
    setClock(-27 * HOUR_MS);
    await restart();
    await claim('p', 'two');
  });

  test('does not end early, nor does its token, when the clock is ahead for a while', async () => {
    await fetch(`${served.url}/__ds/subscriptions/p`, { method: 'DELETE' });
    await api('p', 'PUT', { type: 'pull-wake', pattern: 'events/*', wake_stream: 'wake', lease_ttl_ms: 600_000 });
    await post('events/a', 'more');
    const { token, wake_id, generation } = await claim('p', 'one');
    setClock(27 * HOUR_MS);
    expect(await errorOf(await api('p/claim', 'POST', { worker: 'two' }))).toBe('ALREADY_CLAIMED');
    expect((await api('p/ack', 'POST', { wake_id, generation }, token)).status).toBe(200);
  });
});

describe('pull-wake subscriptions', () => {
  test('announce again once the wake stream is there', async () => {
    await api('p', 'PUT', { type: 'pull-wake', pattern: 'events/*', wake_stream: 'wake' });
    await put('events/a', 'abc');
    await eventually(async () => expect((await describeOf('p')).status).toBe('failed'));
    await fetch(`${served.url}/wake`, { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: '[]' });
    await eventually(async () => {
      const events = (await (await fetch(`${served.url}/wake`)).json()) as object[];
      expect(events[0]).toMatchObject({ type: 'wake', subscription_id: 'p', stream: 'events/a', generation: 1 });
    });
    await eventually(async () => expect((await describeOf('p')).status).toBe('active'));
  });

  test('announce again on a wake stream that took the place of the one that they used', async () => {
    await put('wake', '');
    await api('p', 'PUT', { type: 'pull-wake', pattern: 'events/*', wake_stream: 'wake' });
    await put('events/a', 'abc');
    const announced = () =>
      eventually(async () => expect(await (await fetch(`${served.url}/wake`)).text()).toContain('"type":"wake"'));
    await announced();
    await fetch(`${served.url}/wake`, { method: 'DELETE' });
    await put('wake', '');
    await announced();
  });

  test('cannot follow their own wake stream by name', async () => {
    const config = { type: 'pull-wake', streams: ['wake'], wake_stream: 'wake' };
    expect((await api('p', 'PUT', config)).status).toBe(400);
    await api('p', 'PUT', { ...config, streams: ['jobs'] });
    expect((await api('p/streams', 'POST', { streams: ['wake'] })).status).toBe(400);
  });

  test('of one id are made once, also when two ask at the same time', async () => {
    const ask = (stream: string) =>
      api('p', 'PUT', { type: 'pull-wake', streams: [stream], wake_stream: 'wake' }).then(({ status }) => status);
    await restart();
    expect((await Promise.all([ask('one'), ask('two')])).sort()).toEqual([201, 409]);
  });

  test('are not woken by their own wake stream', async () => {
    await put('wake', '');
    await api('p', 'PUT', { type: 'pull-wake', pattern: '**', wake_stream: 'wake' });
    await put('events/a', 'abc');
    await eventually(async () => expect((await describeOf('p')).streams.map(({ path }) => path)).toEqual(['events/a']));
    expect((await (await fetch(`${served.url}/wake`)).text()).split('\n')).toHaveLength(2);
  });

  test('have nothing to claim when all is acked', async () => {
    await put('wake', '');
    await api('p', 'PUT', { type: 'pull-wake', pattern: 'events/*', wake_stream: 'wake' });
    expect(await errorOf(await api('p/claim', 'POST', { worker: 'one' }))).toBe('NO_PENDING_WORK');
    expect(await errorOf(await api('p/callback', 'POST', { wake_id: 'w', generation: 1 }, 'x'))).toBe(
      'INVALID_REQUEST',
    );
  });

  test('follow a stream by name through its deletion', async () => {
    await put('wake', '');
    await api('p', 'PUT', { type: 'pull-wake', streams: ['jobs'], wake_stream: 'wake' });
    await put('jobs', 'abc');
    await eventually(async () =>
      expect((await (await fetch(`${served.url}/wake`)).text()).split('\n')).toHaveLength(2),
    );
    await fetch(`${served.url}/jobs`, { method: 'DELETE' });
    await put('jobs', 'de');
    const claim = await eventually(async () => {
      const response = await api('p/claim', 'POST', { worker: 'one' });
      expect(response.status).toBe(200);
      return (await response.json()) as Wake;
    });
    expect(claim.streams).toMatchObject([{ path: 'jobs', acked_offset: token(0), tail_offset: token(2) }]);
  });
});

describe('the API', () => {
  test('refuses what cannot be, with a code', async () => {
    const hook = { webhook: { url: 'http://127.0.0.1:1/' } };
    const wrong: object[] = [
      {},
      { type: 'push' },
      { type: 'webhook', pattern: 'a' },
      { type: 'webhook', ...hook },
      { type: 'pull-wake', pattern: 'a' },
      { type: 'webhook', pattern: '', ...hook },
      { type: 'webhook', pattern: 5, ...hook },
      { type: 'webhook', streams: 'a', ...hook },
      { type: 'webhook', streams: [1], ...hook },
      { type: 'webhook', streams: ['a'], lease_ttl_ms: 999, ...hook },
      { type: 'webhook', streams: ['a'], lease_ttl_ms: 600_001, ...hook },
      { type: 'webhook', streams: ['a'], lease_ttl_ms: '1000', ...hook },
      { type: 'webhook', streams: ['a'], description: {}, ...hook },
    ];
    for (const body of wrong) {
      const response = await api('x', 'PUT', body);
      expect([response.status, await errorOf(response)], JSON.stringify(body)).toEqual([400, 'INVALID_REQUEST']);
    }
    const outside = await api('x', 'PUT', { type: 'webhook', streams: ['../a'], ...hook });
    expect([outside.status, await errorOf(outside)]).toEqual([400, 'INVALID_PATH']);
    expect((await fetch(`${served.url}/__ds/subscriptions/x`, { method: 'PUT', body: '{' })).status).toBe(400);
    expect((await fetch(`${served.url}/__ds/subscriptions/x`, { method: 'PUT', body: '[]' })).status).toBe(400);
    const deep = `{"type":"pull-wake","streams":${'['.repeat(17)}${']'.repeat(17)}}`;
    const tooDeep = await fetch(`${served.url}/__ds/subscriptions/x`, { method: 'PUT', body: deep });
    expect([tooDeep.status, await errorOf(tooDeep)]).toEqual([400, 'INVALID_JSON']);
    expect((await api('x/claim', 'GET')).status).toBe(405);
    expect((await api('x/fly', 'POST', {})).status).toBe(404);
    expect((await fetch(`${served.url}/__ds/other`)).status).toBe(404);
    expect((await api(`${'x'.repeat(300)}`)).status).toBe(400);
  });

  test('leaves turns to others while it looks up thousands of streams', async () => {
    let asked = 0;
    const stat = store.stat.bind(store);
    store.stat = (path) => {
      asked++;
      return stat(path);
    };
    let most = 0;
    let made = false;
    const watching = (async () => {
      while (!made) {
        asked = 0;
        await new Promise(setImmediate);
        most = Math.max(most, asked);
      }
    })();
    const streams = Array.from({ length: 5000 }, (_, index) => `s${index}`);
    const response = await api('many', 'PUT', { type: 'pull-wake', wake_stream: 'wake', streams });
    made = true;
    await watching;
    expect(response.status).toBe(201);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual((TURN_BYTES_MAX / SLICE_BYTES + 2) * 32);
  });

  test('keeps subscriptions of different stream roots apart', async () => {
    const body = { type: 'pull-wake', pattern: '*', wake_stream: 'wake' };
    const at = (root: string) =>
      fetch(`${served.url}${root}/__ds/subscriptions/s`, { method: 'PUT', body: JSON.stringify(body) });
    expect((await at('/one')).status).toBe(201);
    expect((await at('/two')).status).toBe(201);
    await put('one/a', 'x');
    const streams = async (root: string) =>
      ((await (await fetch(`${served.url}${root}/__ds/subscriptions/s`)).json()) as Description).streams;
    await eventually(async () => expect(await streams('/one')).toMatchObject([{ path: 'a' }]));
    expect(await streams('/two')).toEqual([]);
  });

  test('keeps its own streams to itself', async () => {
    await api('s', 'PUT', { type: 'pull-wake', pattern: '**', wake_stream: 'wake' });
    await fetch(`${served.url}/__ds/jwks.json`);
    for (const path of ['__ds/keys', '__ds/subscriptions/0000000001', '%5F%5Fds/keys']) {
      const response = await fetch(`${served.url}/${path}`);
      expect(response.status, path).toBeGreaterThanOrEqual(400);
      expect(await response.text()).not.toContain('tokenSecret');
    }
    const fork = await fetch(`${served.url}/fork`, {
      method: 'PUT',
      headers: { 'Stream-Forked-From': '/%5F_ds/keys' },
    });
    expect(fork.status).toBe(400);
    const into = await api('t', 'PUT', { type: 'pull-wake', pattern: '**', wake_stream: '__ds/keys' });
    expect(into.status).toBe(400);
  });
});
