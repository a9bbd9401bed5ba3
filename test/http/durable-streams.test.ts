import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { createHandler } from '../../src/http/index.js';
import { createMemoryStore, type Store } from '../../src/log/index.js';
import { type Served, serve } from '../conformance/serve.js';
import { HttpClient } from '../property/http-client.js';
import { token } from '../token.js';

/** What the conformance suite leaves open, or cannot see. */

let store: Store;
let served: Served;
let http: HttpClient;

const TEXT = { 'Content-Type': 'text/plain' };
const JSON_TYPE = { 'Content-Type': 'application/json' };
const LIMITS = { bodyBytesMax: 1000, readBytesMax: 100 };

async function restartWith(options: Omit<Parameters<typeof createHandler>[0], 'store'>): Promise<void> {
  http?.close();
  await served?.close();
  served = await serve({ store, limits: LIMITS, ...options });
  http = new HttpClient(served.url);
}

beforeEach(async () => {
  store = createMemoryStore();
  await restartWith({});
});

afterEach(async () => {
  http.close();
  await served.close();
  await store.close();
});

const codeOf = (answer: { body: string }) => (JSON.parse(answer.body) as { code: string }).code;
const dataOf = (events: string) =>
  events
    .split('\n\n')
    .filter((event) => /^event: data$/m.test(event))
    .map((event) =>
      [...event.matchAll(/^data:(.*)$/gm)].map(([, line]) => (line as string).replace(/^ /, '')).join('\n'),
    );

/** Lets a request that waits be received before what comes next: others that come after it are answered. */
async function others(): Promise<void> {
  await http.send('HEAD', '/a');
  await http.send('GET', '/a?offset=now');
}

describe('POST without a body', () => {
  test('does not care about its type', async () => {
    await http.send('PUT', '/a', TEXT);
    expect((await http.send('POST', '/a', { 'Stream-Closed': 'true', 'Content-Type': 'garbage' })).status).toBe(204);
    // An appender session is told how it stands with the stream, too.
    const { status, headers } = await http.send('POST', '/a?verb=append', TEXT, 'x');
    expect([status, headers['stream-closed']]).toEqual([409, 'true']);
  });
});

describe('Stream-Seq', () => {
  test('in conflict says so in the words that clients look for', async () => {
    await http.send('PUT', '/a', TEXT);
    await http.send('POST', '/a', { ...TEXT, 'Stream-Seq': 'b' }, 'x');
    const answer = await http.send('POST', '/a', { ...TEXT, 'Stream-Seq': 'a' }, 'y');
    expect([answer.status, codeOf(answer)]).toEqual([409, 'STREAM_SEQ_CONFLICT']);
    expect(answer.body).toContain('sequence conflict');
  });
});

describe('PUT', () => {
  test('gives the public URL as the location', async () => {
    await restartWith({ publicUrl: 'https://streams.example/', prefix: '/v1' });
    const { headers } = await http.send('PUT', '/v1/a%20b?x=1', TEXT);
    expect(headers.location).toBe('https://streams.example/v1/a%20b');
  });

  test('does not take a Host that is none for one', async () => {
    const { headers } = await http.send('PUT', '/a', { ...TEXT, Host: 'evil"><script>' });
    expect(headers.location).toMatch(/^http:\/\/localhost:\d+\/a$/);
  });

  test('forks only from below the prefix', async () => {
    await restartWith({ prefix: '/v1' });
    await http.send('PUT', '/v1/a', TEXT, 'abc');
    const from = (path: string) => http.send('PUT', '/v1/fork', { 'Stream-Forked-From': path });
    expect(codeOf(await from('/a'))).toBe('FORK_SOURCE_NOT_FOUND');
    expect(codeOf(await from('/v1/../a'))).toBe('INVALID_PATH');
    expect((await from('/v1/a')).status).toBe(201);
  });

  test('takes the body of a fork of a JSON stream for JSON', async () => {
    await http.send('PUT', '/a', JSON_TYPE, '[1]');
    expect((await http.send('PUT', '/b', { 'Stream-Forked-From': '/a' }, '[2, 3]')).status).toBe(201);
    expect((await http.send('GET', '/b')).body).toBe('[1,2,3]');
    expect(codeOf(await http.send('PUT', '/c', { 'Stream-Forked-From': '/a' }, '{'))).toBe('INVALID_JSON');
  });
});

describe('POST', () => {
  test('keeps the text of numbers, and drops whitespace between tokens', async () => {
    await http.send('PUT', '/a', JSON_TYPE);
    await http.send('POST', '/a', JSON_TYPE, '{ "n": 1.0,\n "big": 123456789012345678901234567890 }');
    expect((await http.send('GET', '/a')).body).toBe('[{"n":1.0,"big":123456789012345678901234567890}]');
  });

  test('gives the reason of the stream before that of the body', async () => {
    await http.send('PUT', '/text', TEXT);
    await http.send('PUT', '/closed', { ...JSON_TYPE, 'Stream-Closed': 'true' });
    const post = (path: string) => http.send('POST', path, JSON_TYPE, '{');
    expect((await post('/none')).status).toBe(404);
    expect(codeOf(await post('/text'))).toBe('CONTENT_TYPE_MISMATCH');
    expect((await post('/closed')).headers['stream-closed']).toBe('true');
  });

  test('needs a content type for a body, but not to close', async () => {
    await http.send('PUT', '/a', TEXT);
    expect(codeOf(await http.send('POST', '/a', {}, 'x'))).toBe('INVALID_HEADER');
    expect((await http.send('POST', '/a', { 'Stream-Closed': 'TRUE' })).status).toBe(204);
  });

  test('refuses bodies that are too large, said so or not', async () => {
    await http.send('PUT', '/a', TEXT);
    const declared = await http.send('POST', '/a', { ...TEXT, 'Content-Length': '1001' }, 'x'.repeat(1001));
    const streamed = await http.send('POST', '/a', TEXT, ['x'.repeat(600), 'x'.repeat(600)]);
    for (const answer of [declared, streamed]) expect([answer.status, codeOf(answer)]).toEqual([413, 'BODY_TOO_LARGE']);
    expect((await http.send('POST', '/a', { ...TEXT, 'Content-Length': '1000' }, 'x'.repeat(1000))).status).toBe(204);
    expect((await http.send('HEAD', '/a')).headers['stream-next-offset']).toEqual(token(1000));
  });

  test('answers with CORS fields where a page asks, and is short otherwise', async () => {
    await http.send('PUT', '/a', TEXT);
    const plain = await http.send('POST', '/a', TEXT, 'x');
    expect(plain.headers['access-control-allow-origin']).toBeUndefined();
    const page = await http.send('POST', '/a', { ...TEXT, Origin: 'https://page.example' }, 'x');
    expect(page.headers['access-control-allow-origin']).toBe('*');
    expect(page.headers['access-control-expose-headers']).toContain('Stream-Next-Offset');
  });

  test('an append whose client goes away in the middle leaves nothing', async () => {
    await http.send('PUT', '/a', TEXT);
    const { connect } = await import('node:net');
    const socket = connect(Number(new URL(served.url).port), '127.0.0.1');
    socket.write('POST /a HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nhalf');
    await new Promise((resolve) => socket.once('connect', resolve));
    await http.send('HEAD', '/a');
    socket.destroy();
    expect((await http.send('POST', '/a', TEXT, 'x')).headers['stream-next-offset']).toEqual(token(1));
  });
});

describe('GET', () => {
  test('may be cached as long as the stream lives, and by whom the request allows', async () => {
    await http.send('PUT', '/a', TEXT, 'abc');
    const endMs = Date.now() + 20_500;
    await http.send('PUT', '/ends', { ...TEXT, 'Stream-Expires-At': new Date(endMs).toISOString() }, 'abc');
    await http.send('PUT', '/ttl', { ...TEXT, 'Stream-TTL': '5' }, 'abc');
    const cache = async (target: string, headers = {}) =>
      (await http.send('GET', target, headers)).headers['cache-control'];
    expect(await cache('/a?offset=-1')).toBe('public, max-age=60, stale-while-revalidate=300');
    expect(await cache('/a?offset=-1', { Authorization: 'x' })).toBe('private, max-age=60, stale-while-revalidate=300');
    expect(await cache('/a?offset=-1', { Cookie: 'x=y' })).toContain('private');
    const age = (await cache('/ends?offset=-1'))?.match(/^public, max-age=(\d+)$/)?.[1];
    expect(Number(age)).toBeLessThanOrEqual(20);
    expect(Number(age)).toBeGreaterThanOrEqual(Math.floor((endMs - Date.now()) / 1000));
    expect(await cache('/ttl?offset=-1')).toBe('public, max-age=5');
    expect(await cache('/a?offset=0000000000000003')).toBe('no-cache');
    expect(await cache('/a?offset=now')).toBe('no-store');
    await http.send('POST', '/a', { 'Stream-Closed': 'true' });
    expect(await cache('/a?offset=0000000000000003')).toContain('max-age=60');
  });

  test('has an entity tag that changes with the end, and with the stream', async () => {
    const tag = async () => (await http.send('GET', '/a?offset=-1')).headers.etag ?? '';
    await http.send('PUT', '/a', TEXT, 'abc');
    const first = await tag();
    expect(await tag()).toBe(first);
    const same = await http.send('GET', '/a?offset=-1', { 'If-None-Match': first });
    expect([same.status, same.body, same.headers['stream-next-offset']]).toEqual([304, '', token(3)]);
    await http.send('POST', '/a', { 'Stream-Closed': 'true' });
    const closed = await tag();
    expect(closed).not.toBe(first);
    expect(closed).toMatch(/:c"$/);
    await http.send('DELETE', '/a');
    await http.send('PUT', '/a', TEXT, 'xyz');
    expect((await http.send('GET', '/a?offset=-1', { 'If-None-Match': first })).status).toBe(200);
  });

  test('sends what is larger than a piece as one body', async () => {
    await http.send('PUT', '/a', TEXT);
    await http.send('PUT', '/b', JSON_TYPE);
    const text = 'x'.repeat(950);
    const messages = Array.from({ length: 100 }, (_, i) => ({ i }));
    await http.send('POST', '/a', TEXT, text);
    await http.send('POST', '/b', JSON_TYPE, JSON.stringify(messages.slice(0, 50)));
    await http.send('POST', '/b', JSON_TYPE, JSON.stringify(messages.slice(50)));
    const bytes = await http.send('GET', '/a?offset=0000000000000010');
    expect(bytes.body).toBe(text.slice(10));
    expect(bytes.headers['content-length']).toBe('940');
    const json = await http.send('GET', '/b?offset=-1');
    expect(JSON.parse(json.body)).toEqual(messages);
    expect(json.headers['stream-up-to-date']).toBe('true');
  });

  test('refuses an offset beyond the end, in every mode', async () => {
    await http.send('PUT', '/a', TEXT, 'abc');
    for (const live of ['', '&live=long-poll', '&live=sse', '&live=raw']) {
      const answer = await http.send('GET', `/a?offset=0000000000000004${live}`);
      expect([answer.status, codeOf(answer)], live).toEqual([400, 'OFFSET_OUT_OF_RANGE']);
    }
  });
});

describe('long-poll', () => {
  const poll = (offset: string, more = '') => http.send('GET', `/a?live=long-poll&offset=${offset}${more}`);

  beforeEach(async () => {
    await http.send('PUT', '/a', TEXT);
  });

  test('without news is over after the time that is set', async () => {
    await restartWith({ limits: { ...LIMITS, longPollTimeoutMs: 300 } });
    const since = performance.now();
    const { status, headers } = await poll('now');
    expect(status).toBe(204);
    expect(performance.now() - since).toBeGreaterThan(250);
    expect(headers).toMatchObject({
      'stream-next-offset': token(0),
      'stream-up-to-date': 'true',
      'cache-control': 'no-store',
    });
    expect(headers['stream-cursor']).toMatch(/^\d+$/);
  });

  test('is answered by the closure that it waits for', async () => {
    const waiting = poll('now');
    await others();
    await http.send('POST', '/a', { 'Stream-Closed': 'true' });
    const { status, headers } = await waiting;
    expect([status, headers['stream-closed'], headers['stream-cursor']]).toEqual([204, 'true', undefined]);
  });

  test('is answered by the last append and closure in one', async () => {
    const waiting = poll('now');
    await others();
    await http.send('POST', '/a', { ...TEXT, 'Stream-Closed': 'true' }, 'last');
    const { status, headers, body } = await waiting;
    expect([status, headers['stream-closed'], body]).toEqual([200, 'true', 'last']);
  });

  test('is told that the stream is gone', async () => {
    const waiting = poll('now');
    await others();
    await http.send('DELETE', '/a');
    const answer = await waiting;
    expect([answer.status, codeOf(answer)]).toEqual([404, 'STREAM_NOT_FOUND']);
  });

  test('is answered when the server goes down', async () => {
    const waiting = poll('now');
    await others();
    await served.close();
    expect((await waiting).status).toBe(204);
  });

  test('is given no more than one piece, and told that there is more', async () => {
    await http.send('POST', '/a', TEXT, 'x'.repeat(250));
    const { body, headers } = await poll('-1');
    expect(body).toHaveLength(100);
    expect(headers['stream-next-offset']).toEqual(token(100));
    expect(headers['stream-up-to-date']).toBeUndefined();
  });

  test('counts as a follower', async () => {
    await restartWith({ limits: { ...LIMITS, followersMax: 1 } });
    const waiting = poll('now');
    await others();
    const answer = await poll('now');
    expect([answer.status, codeOf(answer)]).toEqual([503, 'TOO_MANY_FOLLOWERS']);
    await http.send('POST', '/a', TEXT, 'x');
    expect((await waiting).status).toBe(200);
  });

  test('needs an offset', async () => {
    for (const live of ['long-poll', 'sse']) {
      expect(codeOf(await http.send('GET', `/a?live=${live}`))).toBe('INVALID_REQUEST');
    }
  });
});

describe('server-sent events', () => {
  const until = (mark: string, target = '/a?live=sse&offset=-1') =>
    http.readUntil(target, (text) => text.includes(mark));

  test('never split a character, however it was appended', async () => {
    await http.send('PUT', '/a', TEXT);
    const reading = until('"streamClosed":true');
    for (const byte of Buffer.from('a€🙂b')) await store.append('a', { data: Uint8Array.of(byte) });
    await http.send('POST', '/a', { 'Stream-Closed': 'true' });
    expect(dataOf(await reading).join('')).toBe('a€🙂b');
  });

  test('never make two line breaks of one, wherever it is cut', async () => {
    await http.send('PUT', '/a', TEXT);
    const reading = until('"streamClosed":true');
    await others();
    for (const part of ['a\r', '\nb\r', 'c', `${'x'.repeat(99)}\r\n`, '\r']) {
      await store.append('a', { data: Buffer.from(part) });
      await others();
    }
    await http.send('POST', '/a', { 'Stream-Closed': 'true' });
    const all = `a\nb\nc${'x'.repeat(99)}\n\n`;
    expect(dataOf(await reading).join('')).toBe(all);
    expect(dataOf(await until('"streamClosed":true')).join('')).toBe(all);
  });

  test('give an offset before a character that is not whole yet, and all of it to who comes back there', async () => {
    await http.send('PUT', '/a', TEXT);
    await store.append('a', { data: Buffer.from('a€').subarray(0, 3) });
    const first = await until('"upToDate":true');
    expect(dataOf(first)).toEqual(['a']);
    const offset = /"streamNextOffset":"([^"]+)"/.exec(first)?.[1];
    expect(offset).toEqual(token(1));
    await store.append('a', { data: Buffer.from('€').subarray(2) });
    expect(dataOf(await until('"upToDate":true', `/a?live=sse&offset=${offset}`))).toEqual(['€']);
  });

  test('end properly after their time, with an offset to come back to', async () => {
    await restartWith({ limits: { ...LIMITS, sseConnectionMs: 400 } });
    await http.send('PUT', '/a', TEXT, 'x');
    const { status, body } = await http.send('GET', '/a?live=sse&offset=-1');
    expect(status).toBe(200);
    expect(body).toMatch(/"streamNextOffset":"0000000000000001_/);
  });

  test('end when the stream is deleted', async () => {
    await http.send('PUT', '/a', TEXT, 'x');
    const reading = http.send('GET', '/a?live=sse&offset=-1');
    await others();
    await http.send('DELETE', '/a');
    expect((await reading).body).toContain('event: control');
  });

  test('of a JSON file that nobody made a stream of messages are its text', async () => {
    await store.create('config.json', { data: Buffer.from('{\n  "a": 1\n}\n') });
    const text = await until('"upToDate":true', '/config.json?live=sse&offset=-1');
    expect(dataOf(text)).toEqual(['{\n  "a": 1\n}\n']);
  });
});
