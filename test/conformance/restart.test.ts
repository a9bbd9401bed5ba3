import { afterEach, describe, expect, test } from 'vitest';
import { type ServeCommand, serve, stopAll, temporaryDirectory } from '../cli/commands.js';
import { Random } from '../property/random.js';

afterEach(stopAll);

type Headers = Record<string, string>;

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

const JSON_TYPE = { 'Content-Type': 'application/json' };
const TEXT = { 'Content-Type': 'text/plain' };

/** Of time, not of the stream. `Last-Modified` is never later than `Date`, so in its first second it still moves. */
const FLEETING = new Set(['date', 'connection', 'keep-alive', 'last-modified', 'stream-cursor', 'transfer-encoding']);

async function send(
  url: string,
  method: string,
  target: string,
  headers: Headers = {},
  body?: string,
): Promise<Answer> {
  const response = await fetch(url + target, { method, headers, ...(body === undefined ? {} : { body }) });
  return {
    status: response.status,
    headers: Object.fromEntries([...response.headers].filter(([name]) => !FLEETING.has(name))),
    body: await response.text(),
  };
}

async function kill(server: ServeCommand, root: string): Promise<ServeCommand> {
  server.command.kill('SIGKILL');
  await server.command.exit;
  return serve('--root', root, '--port', server.port);
}

const producer = (id: string, epoch: number, seq: number) => ({
  ...TEXT,
  'Producer-Id': id,
  'Producer-Epoch': String(epoch),
  'Producer-Seq': String(seq),
});

describe('a server that is killed', () => {
  test('gives every answer as before once it is back', async () => {
    const root = await temporaryDirectory();
    let server = await serve('--root', root);
    const { url } = server;
    const expiry = new Date(Date.now() + 3_600_000).toISOString();

    await send(url, 'PUT', '/text', TEXT, 'first ');
    await send(url, 'POST', '/text', { ...producer('p', 3, 0) }, 'second ');
    await send(url, 'POST', '/text', { ...producer('p', 3, 1), 'Stream-Seq': '007' }, 'third');
    await send(url, 'PUT', '/json', JSON_TYPE, '[{"n":1.0},{"n":2}]');
    await send(url, 'PUT', '/closed', { ...TEXT, 'Stream-Closed': 'true' }, 'all of it');
    await send(url, 'PUT', '/closed-by', TEXT);
    await send(url, 'POST', '/closed-by', { ...producer('p', 0, 0), 'Stream-Closed': 'true' }, 'the end');
    await send(url, 'PUT', '/ttl', { ...TEXT, 'Stream-TTL': '3600' });
    await send(url, 'PUT', '/expires', { ...TEXT, 'Stream-Expires-At': expiry });
    await send(url, 'PUT', '/source', TEXT, 'inherited, not inherited');
    const fork = { 'Stream-Forked-From': '/source', 'Stream-Fork-Offset': '0000000000000009' };
    await send(url, 'PUT', '/fork', fork);
    await send(url, 'POST', '/fork', TEXT, ' and own');
    await send(url, 'DELETE', '/source');
    await send(url, 'PUT', '/gone', TEXT, 'x');
    await send(url, 'DELETE', '/gone');
    await send(url, 'PUT', '/wake', JSON_TYPE, '[]');
    const subscription = { type: 'pull-wake', pattern: '*', wake_stream: 'wake', lease_ttl_ms: 600_000 };
    await send(url, 'PUT', '/__ds/subscriptions/s', JSON_TYPE, JSON.stringify(subscription));
    await send(url, 'POST', '/text', TEXT, '!');
    const claim = await send(url, 'POST', '/__ds/subscriptions/s/claim', JSON_TYPE, '{"worker":"w"}');
    const { etag } = (await send(url, 'GET', '/text?offset=-1')).headers;

    // What changes nothing, so that it can be asked again and again.
    const questions: [string, string, Headers?, string?][] = [
      ...['/text', '/json', '/closed', '/closed-by', '/ttl', '/expires', '/fork', '/source', '/gone'].flatMap(
        (path): [string, string][] => [
          ['HEAD', path],
          ['GET', path],
          ['GET', `${path}?offset=-1`],
          ['GET', `${path}?offset=0000000000000005`],
        ],
      ),
      ['GET', '/text?offset=-1', { 'If-None-Match': etag as string }],
      ['GET', '/closed?live=long-poll&offset=now'],
      ['GET', '/closed?live=sse&offset=-1'],
      ['GET', '/fork?live=long-poll&offset=0000000000000009'],
      ['POST', '/text', producer('p', 3, 1), 'again'],
      ['POST', '/text', producer('p', 3, 5), 'gap'],
      ['POST', '/text', producer('p', 2, 0), 'fenced'],
      ['POST', '/text', { ...TEXT, 'Stream-Seq': '007' }, 'regress'],
      ['POST', '/closed', TEXT, 'too late'],
      ['POST', '/closed-by', { ...producer('p', 0, 0), 'Stream-Closed': 'true' }, 'the end'],
      ['POST', '/closed-by', { ...producer('p', 0, 1), 'Stream-Closed': 'true' }],
      ['POST', '/source', TEXT, 'x'],
      ['PUT', '/source', TEXT],
      ['PUT', '/text', TEXT],
      ['PUT', '/text', JSON_TYPE],
      ['PUT', '/fork', fork],
      ['PUT', '/ttl', { ...TEXT, 'Stream-TTL': '3600' }],
      ['PUT', '/ttl', { ...TEXT, 'Stream-TTL': '3601' }],
      ['DELETE', '/source'],
      ['GET', '/wake'],
      ['GET', '/__ds/jwks.json'],
      ['GET', '/__ds/subscriptions/s'],
      ['PUT', '/__ds/subscriptions/s', JSON_TYPE, JSON.stringify(subscription)],
      ['POST', '/__ds/subscriptions/s/claim', JSON_TYPE, '{"worker":"other"}'],
    ];
    const askAll = async () => {
      const answers: Record<string, Answer> = {};
      for (const [method, target, headers, body] of questions) {
        answers[`${method} ${target} ${JSON.stringify(headers)} ${body ?? ''}`] = await send(
          url,
          method,
          target,
          headers,
          body,
        );
      }
      return answers;
    };
    const before = await askAll();
    const modified = async () =>
      Date.parse((await fetch(`${url}/text`, { method: 'HEAD' })).headers.get('last-modified') ?? '');
    const modifiedBefore = await modified();
    expect(claim.status).toBe(200);
    expect(before['HEAD /gone undefined ']?.status).toBe(404);
    expect(before['GET /fork undefined ']?.body).toBe('inherited and own');
    for (let i = 0; i < 2; i++) {
      server = await kill(server, root);
      expect(await askAll()).toEqual(before);
      // The journal has the moment in which the record was made, readers were told of the one in which they saw it.
      expect(Math.abs((await modified()) - modifiedBefore)).toBeLessThanOrEqual(1_000);
    }
    const { token, wake_id, generation } = JSON.parse(claim.body) as {
      token: string;
      wake_id: string;
      generation: number;
    };
    const done = await send(
      url,
      'POST',
      '/__ds/subscriptions/s/ack',
      { ...JSON_TYPE, Authorization: `Bearer ${token}` },
      JSON.stringify({ wake_id, generation, acks: [], done: false }),
    );
    expect(JSON.parse(done.body)).toEqual({ ok: true, next_wake: false });
  }, 60_000);

  test('at any moment, loses nothing that it has answered for and takes nothing twice', async () => {
    const seed = Number(process.env.MILLRACE_PROPERTY_SEED ?? Math.floor(Math.random() * 2 ** 31));
    const random = new Random(seed);
    const root = await temporaryDirectory();
    let server = await serve('--root', root);
    const { url } = server;
    await send(url, 'PUT', '/log', TEXT);
    const producers = 6;
    const appends = 40;
    const killsMax = 6;
    let stopped = false;

    /** Sends each of its appends until it is answered for: a lost connection says nothing about it. */
    const work = async (id: number) => {
      for (let seq = 0; seq < appends; seq++) {
        for (;;) {
          try {
            const answer = await send(url, 'POST', '/log', producer(`p${id}`, 0, seq), `<${id}:${seq}>`);
            if (answer.status === 200 || answer.status === 204) break;
            if (answer.status !== 503) throw new Error(`seed ${seed}: ${JSON.stringify(answer)}`);
          } catch (error) {
            if (!(error instanceof TypeError)) throw error;
          }
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        await new Promise((resolve) => setTimeout(resolve, random.upTo(10)));
      }
    };
    const interrupt = async () => {
      for (let kills = 0; kills < killsMax && !stopped; kills++) {
        await new Promise((resolve) => setTimeout(resolve, 100 + random.upTo(300)));
        if (!stopped) server = await kill(server, root);
      }
    };
    const interrupting = interrupt();
    await Promise.all(Array.from({ length: producers }, (_, id) => work(id)));
    stopped = true;
    await interrupting;
    const { body } = await send(url, 'GET', '/log?offset=-1');
    const got = [...body.matchAll(/<(\d+):(\d+)>/g)].map(([, id, seq]) => [Number(id), Number(seq)] as const);
    expect(got, `seed ${seed}`).toHaveLength(producers * appends);
    for (let id = 0; id < producers; id++) {
      const own = got.filter(([by]) => by === id).map(([, seq]) => seq);
      expect(own, `seed ${seed}, producer ${id}`).toEqual(Array.from({ length: appends }, (_, seq) => seq));
    }
  }, 120_000);
});
