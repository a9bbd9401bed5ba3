import { setImmediate } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { createHub, EncodedMessage } from '../../src/hub/index.js';
import { TURN_BYTES_MAX } from '../../src/turn-budget.js';
import { FakeDriver } from '../hub/fake-driver.js';
import { ask, begin, serve, until } from './test-server.js';
import { open } from './test-socket.js';

const MIB = 1024 * 1024;
const cleanups: (() => Promise<unknown> | undefined)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serveHub(hub = createHub(), limits = {}) {
  const server = await serve({ hub, limits: { heartbeatIntervalMs: 5, ...limits } });
  cleanups.push(() => hub.close());
  cleanups.push(() => server.close());
  return { hub, server };
}

/** The body of `/-/events` as it grows, without the comments that may stand between events. */
async function follow(server: Awaited<ReturnType<typeof serve>>, query = 'channel=a') {
  const response = await begin(server, 'GET', `/-/events?${query}`);
  let text = '';
  response.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  cleanups.push(async () => response.destroy());
  await until(() => text.includes(':subscribed\n\n'));
  const events = () =>
    text
      .replace(/^:.*\n\n/gm, '')
      .split('\n\n')
      .slice(0, -1);
  return {
    response,
    async event(at = 0): Promise<string> {
      await until(() => events().length > at);
      return events()[at] as string;
    },
  };
}

const odd = `${'é'.repeat(30_000)}\r\n${'\n'.repeat(40_000)}${'x\r'.repeat(40_000)}end`;
const lines = odd.split(/\r\n|\r|\n/);
const binary = Uint8Array.from({ length: 200_001 }, (_, at) => (at * 7) & 0xff);
const json = `{"id":3791411052119578828,"pad":"${'ü'.repeat(100_000)}",\n"far":1e400}`;

describe('large messages', () => {
  it.each([
    ['JSON on one line', 'application/json', Buffer.from(json), `data: ${json.replace('\n', ' ')}`],
    ['text line by line', 'text/plain', Buffer.from(odd), lines.map((line) => `data: ${line}`).join('\n')],
    [
      'bytes in base64',
      'image/png',
      Buffer.from(binary),
      `event: base64\ndata: ${Buffer.from(binary).toString('base64')}`,
    ],
  ])('go out in pieces by server-sent events: %s', async (_, type, body, expected) => {
    const { server } = await serveHub();
    const readers = [await follow(server), await follow(server)];
    const answer = await ask(server, 'POST', '/-/publish?channel=a', { headers: { 'Content-Type': type }, body });
    expect(answer.status).toBe(204);
    for (const reader of readers) expect((await reader.event()) === `id: a@\n${expected}`).toBe(true);
    // And the next one is not disturbed.
    await ask(server, 'POST', '/-/publish?channel=a', { body: '1' });
    for (const reader of readers) expect(await reader.event(1)).toBe('id: a@\ndata: 1');
  });

  it('go out in pieces over WebSocket, with nothing in between but pings', async () => {
    const { hub, server } = await serveHub();
    const client = await open(server, '/-/events?channel=a&channel=b');
    expect(await client.nextJson()).toEqual({ op: 'ok' });
    void hub.publish('a', EncodedMessage.json(json));
    void hub.publish('b', 'between');
    void hub.publish('a', binary);
    client.ws.send('{"op":"publish","channels":["c"],"message":1,"ref":12345678901234567890}');
    await until(() => client.messages.length === 5);
    const texts = client.messages.map(({ data }) => data.toString());
    expect(texts).toContain(`{"op":"message","channel":"a","message":${json}}`);
    expect(texts).toContain(`{"op":"message","channel":"a","base64":"${Buffer.from(binary).toString('base64')}"}`);
    expect(texts).toContain('{"op":"message","channel":"b","message":"between"}');
    expect(texts).toContain('{"op":"ok","ref":12345678901234567890}');
    client.ws.terminate();
  });

  it.each([
    ['JSON', json, `{"op":"message","channel":"a","message":${json}}`, `data: ${json.replace('\n', ' ')}`],
    [
      'text',
      odd,
      `{"op":"message","channel":"a","base64":"${Buffer.from(odd).toString('base64')}"}`,
      lines.map((line) => `data: ${line}`).join('\n'),
    ],
    [
      'JSON that breaks off',
      json.slice(0, -1),
      `{"op":"message","channel":"a","base64":"${Buffer.from(json.slice(0, -1)).toString('base64')}"}`,
      `data: ${json.slice(0, -1).replace('\n', '\ndata: ')}`,
    ],
  ])('that come from a broker are told apart without being parsed: %s', async (_, message, frame, event) => {
    const driver = new FakeDriver();
    const { server } = await serveHub(createHub(driver));
    const [reader, client] = [await follow(server), await open(server, '/-/events?channel=a')];
    await client.nextJson();
    const { parse } = JSON;
    JSON.parse = () => {
      throw new Error('Nobody asked for the value.');
    };
    try {
      driver.receive('a', message);
      await until(() => client.messages.length === 2);
      expect(client.messages[1]?.data.toString() === frame).toBe(true);
      expect((await reader.event()) === `id: a@\n${event}`).toBe(true);
    } finally {
      JSON.parse = parse;
    }
    client.ws.terminate();
  });

  it('are checked and sent in as many turns of the event loop as their bytes ask for', async () => {
    const { server } = await serveHub();
    const reader = await follow(server);
    const body = Buffer.from(`[${'{},'.repeat(1_000_000)}1]`);
    let turns = 0;
    let ended = false;
    const publishing = ask(server, 'POST', '/-/publish?channel=a', { body }).then((answer) => {
      ended = true;
      return answer;
    });
    while (!ended) {
      await setImmediate();
      turns++;
    }
    expect((await publishing).status).toBe(204);
    expect(turns).toBeGreaterThan(body.length / TURN_BYTES_MAX);
    expect((await reader.event()) === `id: a@\ndata: ${body}`).toBe(true);
  });

  it('cost the client that takes nothing its connection when there are too many, and nobody else', async () => {
    const { hub, server } = await serveHub(createHub(), { eventsSendBytesMax: 12 * MIB });
    const sleepers = [];
    for (const channel of ['a', 'b', 'c']) {
      const response = await begin(server, 'GET', `/-/events?channel=${channel}`);
      response.on('error', () => {});
      response.pause();
      sleepers.push(response);
      await hub.publish(channel, new Uint8Array(8 * MIB).fill(0x61));
    }
    const reader = await follow(server, 'channel=d');
    await hub.publish('d', new Uint8Array(8 * MIB).fill(0x62));
    expect((await reader.event()).length).toBe(8 * MIB + 'id: d@\ndata: '.length);
    // Its socket is cut off: it has what it had got by then, and no end.
    const ends = sleepers.map(
      (response) => new Promise<boolean>((resolve) => response.resume().on('close', () => resolve(response.complete))),
    );
    expect(await Promise.race([ends[0], ends[1]])).toBe(false);
    for (const response of sleepers) response.destroy();
  });
});
