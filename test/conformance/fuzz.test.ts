import { connect } from 'node:net';
import { expect, test } from 'vitest';
import { createMemoryStore } from '../../src/log/index.js';
import { Random } from '../property/random.js';
import { serve } from './serve.js';

/** More with MILLRACE_PROPERTY_STEPS; the same again with the MILLRACE_PROPERTY_SEED that a failure names. */
const STEPS = Number(process.env.MILLRACE_PROPERTY_STEPS ?? 3000);
const SEED = Number(process.env.MILLRACE_PROPERTY_SEED ?? Math.floor(Math.random() * 2 ** 31));
const PARALLEL = 16;
const ANSWER_MS_MAX = 10_000;

const METHODS = ['PUT', 'POST', 'GET', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'PROPFIND', 'get'];
const PATHS = [
  '/a',
  '/b.json',
  '/c/d',
  '/closed',
  '/__ds/subscriptions/s',
  '/__ds/jwks.json',
  '/x/__ds/subscriptions/s/claim',
];
const ODD_PATHS = [
  '/',
  '//',
  '/a/',
  '/../a',
  '/%2e%2e/a',
  '/a%2fb',
  '/a%00',
  '/%',
  '/%ff',
  '/.millrace/x',
  '/-/',
  '/-/streams',
  `/${'x'.repeat(300)}`,
  '/__ds',
  '/__ds/',
  '/%5F%5Fds/keys',
  '*',
  'http://elsewhere/a',
  '/a?',
  '/ä',
];
const NUMBERS = [
  '0',
  '1',
  '-1',
  '+1',
  '01',
  '1.5',
  '1e3',
  '',
  ' ',
  'NaN',
  'Infinity',
  '9007199254740991',
  '9007199254740992',
  '99999999999999999999',
  '٣',
  '0x1',
  'now',
  '0000000000000003',
  '0000000000000003_sabcdefg',
  '0000000000000003_abcdefg',
  '0000000000000000_0000000000000000',
  '9999999999999999',
];
const TEXTS = [
  '',
  'true',
  'TRUE',
  'false',
  'x',
  'a, b',
  '"',
  'ü',
  '\t',
  'x'.repeat(500),
  '__proto__',
  'constructor',
  '{}',
  '%00',
  "'; --",
];
const TYPES = [
  'text/plain',
  'application/json',
  'application/octet-stream',
  'APPLICATION/JSON;charset=utf-8',
  'text',
  '/',
  'a/b/c',
  'text/plain; charset="',
  '',
  'application/json, text/plain',
  'multipart/form-data',
];
const DATES = [
  '2030-01-01T00:00:00Z',
  '2030-02-30T00:00:00Z',
  '1969-12-31T23:59:59Z',
  '9999-12-31T23:59:59.999999999+23:59',
  '+275760-09-13T00:00:00Z',
  'tomorrow',
  '0000-00-00T00:00:00Z',
];
const JSON_BODIES = [
  '{}',
  '[]',
  '[1]',
  '[[]]',
  '{',
  '"',
  'null',
  '1e999',
  '"\\ud800"',
  '[1,]',
  '{"__proto__":{"x":1}}',
  '['.repeat(5000),
  `${'['.repeat(1500)}${']'.repeat(1500)}`,
  '\ufeff{}',
  '{"type":"webhook","pattern":"*","webhook":{"url":"http://127.0.0.1:1/"}}',
  '{"type":"pull-wake","streams":["a"],"wake_stream":"wake"}',
  '{"type":"webhook","streams":[[]],"webhook":null}',
  '{"worker":{}}',
  '{"worker":"w"}',
  '{"wake_id":1,"generation":"x","acks":[null]}',
  '[]',
];
const QUERIES: readonly (readonly [string, readonly string[]])[] = [
  ['offset', NUMBERS],
  ['live', ['long-poll', 'sse', 'raw', 'ws', 'true', '', 'LONG-POLL']],
  ['cursor', NUMBERS],
  ['verb', ['append', 'follow', 'APPEND', 'explode', '']],
  ['contentType', TYPES],
  ['producerId', TEXTS],
  ['producerEpoch', NUMBERS],
];
const HEADERS: readonly (readonly [string, readonly string[]])[] = [
  ['Content-Type', TYPES],
  ['Stream-TTL', NUMBERS],
  ['Stream-Expires-At', DATES],
  ['Stream-Closed', TEXTS],
  ['Stream-Seq', TEXTS],
  ['Producer-Id', TEXTS],
  ['Producer-Epoch', NUMBERS],
  ['Producer-Seq', NUMBERS],
  ['Stream-Forked-From', [...PATHS, ...ODD_PATHS]],
  ['Stream-Fork-Offset', NUMBERS],
  ['Stream-Fork-Sub-Offset', NUMBERS],
  ['If-None-Match', ['*', '"x"', 'W/"x"', ',,,', '"']],
  ['Range', ['bytes=0-', 'bytes=5-1', 'bytes=-1', 'bytes=0-0,2-3', 'lines=1-2', 'bytes=99999999999999999999-']],
  ['X-Verb', ['APPEND', 'FOLLOW', 'x', '']],
  [
    'Authorization',
    ['Bearer x', 'Bearer a.b.c', 'Bearer', 'Basic eA==', 'Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.x'],
  ],
  ['Upgrade', ['websocket', 'h2c']],
  ['Connection', ['Upgrade', 'close', 'keep-alive, Upgrade']],
  ['Host', ['127.0.0.1', 'a b', '', '[::1', 'x/y']],
  ['Expect', ['100-continue', '200-ok']],
  ['Origin', ['https://a.example', 'null']],
];

/** One request as it goes over the wire. */
function randomRequest(random: Random): string {
  // Of the others hardly one gets as far as to be in conflict with what is there.
  if (random.chance(0.02)) {
    const type = random.pick(['text/plain', 'application/json']);
    return `PUT /twice HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${type}\r\nContent-Length: 0\r\n\r\n`;
  }
  const method = random.pick(METHODS);
  const path = random.chance(0.8) ? random.pick(PATHS) : random.pick(ODD_PATHS);
  const query = pickSome(random, QUERIES, 0.15).map(([name, value]) => `${name}=${encodeSometimes(random, value)}`);
  // Followers that would wait for ever are another test's subject.
  const target = `${path}${query.length > 0 ? `${path.includes('?') ? '&' : '?'}${query.join('&')}` : ''}`;
  const headers = pickSome(random, HEADERS, 0.15).map(([name, value]) => `${name}: ${value}`);
  if (!headers.some((line) => line.startsWith('Host:'))) headers.push('Host: 127.0.0.1');
  const body = random.chance(0.6) ? random.pick([...JSON_BODIES, ...TEXTS, 'x'.repeat(70_000)]) : '';
  const bytes = Buffer.from(body).toString('latin1');
  if (random.chance(0.3)) {
    headers.push('Transfer-Encoding: chunked');
    return `${method} ${target} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${chunks(random, bytes)}`;
  }
  headers.push(`Content-Length: ${bytes.length}`);
  return `${method} ${target} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${bytes}`;
}

function pickSome(
  random: Random,
  options: readonly (readonly [string, readonly string[]])[],
  chance: number,
): [string, string][] {
  return options.filter(() => random.chance(chance)).map(([name, values]) => [name, random.pick(values)]);
}

function encodeSometimes(random: Random, value: string): string {
  return random.chance(0.8) ? encodeURIComponent(value) : value.replace(/[\s\u0080-\uffff]/g, '%');
}

function chunks(random: Random, bytes: string): string {
  let out = '';
  let rest = bytes;
  while (rest !== '') {
    const size = 1 + random.upTo(Math.min(rest.length, 5000) - 1);
    out += `${size.toString(16)}${random.chance(0.1) ? ';ext=1' : ''}\r\n${rest.slice(0, size)}\r\n`;
    rest = rest.slice(size);
  }
  return random.chance(0.03) ? `${out}zz\r\n` : `${out}0\r\n\r\n`;
}

/** The status of the answer; undefined where the server hung up, or has begun an answer that does not end. */
function statusOf(port: number, request: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error('no answer'));
    }, ANSWER_MS_MAX);
    const finish = (status: number | undefined) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(status);
    };
    let head = '';
    socket.on('data', (data) => {
      head += data.toString('latin1');
      // A promise of an answer is not one.
      const promised = /^HTTP\/1\.1 100 .*?\r\n\r\n/s.exec(head);
      if (promised !== null) head = head.slice(promised[0].length);
      const answer = /^HTTP\/1\.1 (\d{3})[^\n]*\n/.exec(head);
      if (answer !== null && answer[1] !== '100') finish(Number(answer[1]));
    });
    socket.on('close', () => finish(undefined));
    socket.on('error', () => finish(undefined));
    socket.write(Buffer.from(request, 'latin1'));
  });
}

test(`nothing that is sent makes the server fail, seed ${SEED}`, async () => {
  const failures: unknown[] = [];
  const log = { debug() {}, info() {}, warn() {}, error: (fields: object) => failures.push(fields) };
  const store = createMemoryStore();
  const served = await serve({ store, log, limits: { longPollTimeoutMs: 50, bodyBytesMax: 64 * 1024 } });
  const port = Number(new URL(served.url).port);
  const random = new Random(SEED);
  await store.create('closed', { closed: true, data: Buffer.from('all'), contentType: 'text/plain' });
  const seen = new Map<number | undefined, number>();
  try {
    for (let step = 0; step < STEPS; step += PARALLEL) {
      const requests = Array.from({ length: PARALLEL }, () => randomRequest(random));
      const statuses = await Promise.all(
        requests.map((request) =>
          statusOf(port, request).catch((error: Error) => {
            throw new Error(`seed ${SEED}: ${error.message} to ${JSON.stringify(request.slice(0, 2000))}`);
          }),
        ),
      );
      for (const [i, status] of statuses.entries()) {
        seen.set(status, (seen.get(status) ?? 0) + 1);
        const told = JSON.stringify(requests[i]?.slice(0, 2000));
        if (status !== undefined && status >= 500 && status !== 501) {
          throw new Error(`seed ${SEED}: ${status} to ${told} ${JSON.stringify(failures.at(-1))}`);
        }
      }
    }
    expect(failures, `seed ${SEED}`).toEqual([]);
    // It has really been asked all kinds of things, and still answers.
    for (const status of [200, 201, 204, 400, 404, 409])
      expect(seen.get(status), `status ${status}`).toBeGreaterThan(0);
    expect((await fetch(`${served.url}/-/health`)).status).toBe(200);
  } finally {
    await served.close();
    await store.close();
  }
}, 120_000);
