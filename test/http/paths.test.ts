import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFileStore, createMemoryStore } from '../../src/log/index.js';
import { ask, problemOf, serve, type TestServer } from './test-server.js';
import { open } from './test-socket.js';

/** Which stream a URL names, at every door. */

const TEXT = { 'Content-Type': 'text/plain' };
const BYTES = { 'Content-Type': 'application/octet-stream' };
const JSON_TYPE = { 'Content-Type': 'application/json' };

describe.each(['memory', 'file'])('paths over a %s store', (kind) => {
  let root: string;
  let server: TestServer;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'millrace-paths-'));
    server = await serve({ store: kind === 'memory' ? createMemoryStore() : await createFileStore({ root }) });
  });

  afterEach(async () => {
    await server.close();
    await rm(root, { recursive: true });
  });

  const put = async (path: string, body = '', headers: Record<string, string> = TEXT) =>
    (await ask(server, 'PUT', path, { headers, body })).status;
  const text = async (path: string) => (await ask(server, 'GET', path)).text;

  it('keep an escaped slash, which is none, and every other name apart', async () => {
    const urls = ['/a/b', '/a%2Fb', '/a%252Fb', '/a%252fb', '/.a', '/%252Ea', '/.millrace', '/.millrace/lock', '/a/.b'];
    for (const url of urls) expect(await put(url, url), url).toBe(201);
    for (const url of urls) expect(await text(url), url).toBe(url);
    // The same name, however it is encoded.
    expect(await text('/a%2fb')).toBe('/a%2Fb');
    expect(await text('/%2ea')).toBe('/.a');
    expect(await text('/%2Emillrace/%6cock')).toBe('/.millrace/lock');
    expect((await ask(server, 'DELETE', '/a%2Fb')).status).toBe(204);
    expect(await text('/a/b')).toBe('/a/b');
  });

  it('never reach what is hidden below the root', async () => {
    const hidden = async () => (kind === 'file' ? (await readdir(join(root, '.millrace'))).sort() : []);
    const before = await hidden();
    const paths = ['/.millrace/lock', '/%2emillrace/lock', '/.millrace%2Flock', '/.millrace/journal'];
    for (const path of paths) {
      expect((await ask(server, 'GET', path)).status, path).toBe(404);
      expect((await ask(server, 'DELETE', path)).status, path).toBe(404);
    }
    for (const path of paths) expect(await put(path, 'x'), path).toBeLessThan(300);
    expect(await hidden()).toEqual(before);
    if (kind === 'memory') return;
    expect((await readdir(root)).filter((name) => !name.startsWith('.')).sort()).toEqual([
      '%2Emillrace',
      '%2Emillrace%2Flock',
    ]);
  });

  it('are the same over WebSocket, chunked uploads, and in Location', async () => {
    const made = await ask(server, 'PUT', '/docs/x%2Fy/.updates?verb=append', { body: 'one ' });
    expect(made.status).toBe(204);
    const socket = await open(server, '/docs/x%2Fy/.updates?verb=append&close=true');
    socket.ws.send('two');
    socket.ws.close(1000);
    await socket.closed;
    const follower = await ask(server, 'GET', '/docs/x%2Fy/.updates?live=raw&offset=-1');
    expect(follower.text).toBe('one two');
    const { headers } = await ask(server, 'PUT', '/runs%2Frun1/.log', { headers: TEXT });
    expect(headers.location).toBe(`${server.url}/runs%2Frun1/.log`);
  });

  it('name a fork’s source as its URL does', async () => {
    await put('/a/b', 'two segments');
    await put('/a%2Fb', 'one segment');
    await put('/.a', 'dot');
    for (const [fork, from] of [
      ['/f1', '/a/b'],
      ['/f2', '/a%2Fb'],
      ['/f3', '/%2Ea'],
    ] as const) {
      expect(await put(fork, '', { ...TEXT, 'Stream-Forked-From': from })).toBe(201);
      expect(await text(fork)).toBe(await text(from));
    }
    for (const from of ['/..%2Fa', '/a%2F..%2Fb', '/.millrace%00']) {
      const answer = await ask(server, 'PUT', '/f4', { headers: { ...TEXT, 'Stream-Forked-From': from } });
      expect(problemOf(answer), from).toBe('INVALID_PATH');
    }
  });

  it('keep what is reserved reserved, and only that', async () => {
    for (const path of ['/%2D/x', '/%5F_ds/keys', '/a/%5F%5Fds/x']) {
      expect(problemOf(await ask(server, 'PUT', path, { headers: TEXT })), path).toBe('INVALID_PATH');
    }
    // Names of one segment that only contain such a one.
    for (const path of ['/-%2Fhealth', '/__ds%2Fkeys', '/a%2F__ds%2Fb', '/.__ds/x']) {
      expect(await put(path, path), path).toBe(201);
      expect(await text(path)).toBe(path);
    }
  });

  it('stand in a listing as paths, in order, and as URLs to ask for', async () => {
    const urls = ['/.a', '/100%25', '/a%20b', '/a%252Fb', '/a%2Fb', '/a/b', '/a/.b', '/%C3%B6/x'];
    for (const url of urls) expect(await put(url, url)).toBe(201);
    const entries: { path: string; url: string }[] = [];
    for (let after: string | null = ''; after !== null; ) {
      const page = JSON.parse(await text(`/-/streams?limit=3&after=${encodeURIComponent(after)}`));
      entries.push(...page.streams);
      after = page.next;
    }
    const paths = entries.map(({ path }) => path);
    expect(paths).toEqual(['.a', '100%', 'a b', 'a%252Fb', 'a%2Fb', 'a/.b', 'a/b', 'ö/x']);
    for (const { url } of entries) expect(await text(url)).toBe(url);
    const below = async (prefix: string) =>
      JSON.parse(await text(`/-/streams?prefix=${encodeURIComponent(prefix)}`)).streams.map(
        ({ url }: { url: string }) => url,
      );
    expect(await below('a/')).toEqual(['/a/.b', '/a/b']);
    expect(await below('a/.')).toEqual(['/a/.b']);
    expect(await below('a%2F')).toEqual(['/a%2Fb']);
  });

  it('are paths in subscriptions: what they link, match, wake and ack', async () => {
    const api = (path: string, method: string, body?: object, token?: string) =>
      ask(server, method, `/docs/__ds/subscriptions/s${path}`, {
        headers: { ...JSON_TYPE, ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    await put('/docs/.wakes', '', JSON_TYPE);
    const config = { type: 'pull-wake', pattern: '*/.updates', streams: ['a%2Fb', '/.x'], wake_stream: '.wakes' };
    expect((await api('', 'PUT', config)).status).toBe(201);
    await put('/docs/n/.updates', 'matches');
    await put('/docs/n%2F.updates', 'one segment does not');
    await put('/docs/a%2Fb', 'linked');
    await put('/docs/a/b', 'not linked');
    let wake: string | undefined;
    while (wake === undefined) {
      const woken = await ask(server, 'GET', '/docs/.wakes?offset=-1');
      wake = JSON.parse(woken.text).length > 0 ? woken.text : undefined;
    }
    type Claim = {
      wake_id: string;
      generation: number;
      token: string;
      streams: { path: string; tail_offset: string }[];
    };
    const seen = new Map<string, string>();
    for (let more = true; more; ) {
      const { wake_id, generation, token, streams } = JSON.parse(
        (await api('/claim', 'POST', { worker: 'w' })).text,
      ) as Claim;
      for (const { path, tail_offset } of streams) seen.set(path, tail_offset);
      const acks = streams.map(({ path, tail_offset }) => ({ stream: path, offset: tail_offset }));
      const answer = await api('/ack', 'POST', { wake_id, generation, acks, done: true }, token);
      expect(answer.status, answer.text).toBe(200);
      more = JSON.parse(answer.text).next_wake === true || seen.get('n/.updates') === undefined;
    }
    expect([...seen.keys()].sort()).toEqual(['.x', 'a%2Fb', 'n/.updates']);
    // The path is encoded as a whole, as the protocol's own suite does.
    expect((await api(`/streams/${encodeURIComponent('a%2Fb')}`, 'DELETE')).status).toBe(204);
    expect((await api('/streams/.x', 'DELETE')).status).toBe(204);
    const left = JSON.parse((await api('', 'GET')).text) as Claim;
    expect(left.streams.map(({ path }) => path)).toEqual(['n/.updates']);
    for (const path of ['../x', 'a%2F../b', '__ds/keys']) {
      expect((await api('/streams', 'POST', { streams: [path] })).status, path).toBe(400);
    }
  });

  it('take the requests of y-durable-streams and of TanStack AI', async () => {
    const doc = '/v1/stream/yjs/service/docs/a/b';
    expect(await put(`${doc}/.updates`, '', BYTES)).toBe(201);
    expect(await put(`${doc}/.awareness/default`, '', { ...BYTES, 'Stream-TTL': '3600' })).toBe(201);
    const update = { ...BYTES, 'Producer-Id': 'p', 'Producer-Epoch': '0', 'Producer-Seq': '0' };
    expect((await ask(server, 'POST', `${doc}/.updates`, { headers: update, body: 'update' })).status).toBe(200);
    expect((await ask(server, 'HEAD', `${doc}/.updates`)).status).toBe(200);
    const { headers, text: updates } = await ask(server, 'GET', `${doc}/.updates?offset=-1`);
    expect(updates).toBe('update');
    const snapshot = `${doc}/.snapshots/${headers['stream-next-offset']}_snapshot`;
    expect(await put(snapshot, '', BYTES)).toBe(201);
    expect((await ask(server, 'POST', snapshot, { headers: BYTES, body: 'snapshot' })).status).toBe(204);
    for (const index of ['/.index', '/.awareness/.index']) {
      expect(await put(doc + index, '', JSON_TYPE)).toBe(201);
      expect((await ask(server, 'POST', doc + index, { headers: JSON_TYPE, body: '[{"n":1}]' })).status).toBe(204);
      expect(await text(`${doc}${index}?offset=-1`)).toBe('[{"n":1}]');
    }
    expect((await ask(server, 'DELETE', `${doc}/.updates`)).status).toBe(204);
    expect(await text(snapshot)).toBe('snapshot');

    expect(await put('/streams/runs%2Frun1', '', JSON_TYPE)).toBe(201);
    expect(
      (await ask(server, 'POST', '/streams/runs%2Frun1', { headers: JSON_TYPE, body: '{"type":"done"}' })).status,
    ).toBe(204);
    expect(await text('/streams/runs%2Frun1?offset=-1')).toBe('[{"type":"done"}]');
    expect((await ask(server, 'GET', '/streams/runs/run1')).status).toBe(404);
  });
});
