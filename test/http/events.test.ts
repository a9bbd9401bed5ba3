import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createGzip } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { sendEvents, sendEventsOverWebSocket } from '../../src/http/index.js';
import { createHub, type Hub } from '../../src/hub/index.js';
import { FakeDriver } from '../hub/fake-driver.js';
import { ask, begin, dial, problemOf, serve, type TestServer, until } from './test-server.js';
import { open, tryOpen } from './test-socket.js';

const cleanups: (() => Promise<unknown> | undefined)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serveHub(hub: Hub = createHub('memory:?history=10'), options: Parameters<typeof serve>[0] = {}) {
  const server = await serve({ ...options, hub });
  cleanups.push(() => hub.close());
  cleanups.push(() => server.close());
  return { hub, server };
}

/** Reads server-sent events as an EventSource does, block by block. */
class Events {
  readonly response: IncomingMessage;
  #text = '';

  constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text;
    });
    response.on('error', () => {});
  }

  static async open(server: TestServer, path: string, headers: Record<string, string> = {}): Promise<Events> {
    const events = new Events(await begin(server, 'GET', path, headers));
    cleanups.push(async () => events.response.destroy());
    expect(events.response.statusCode).toBe(200);
    expect(await events.next()).toMatch(/^:subscribed(\nid: @\S+)?$/);
    return events;
  }

  /** The next block, without the empty line that ends it. */
  async next(): Promise<string> {
    await until(() => this.#text.includes('\n\n'));
    const end = this.#text.indexOf('\n\n');
    const block = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 2);
    return block;
  }

  async data(): Promise<unknown> {
    const block = await this.next();
    return JSON.parse(/^data: (.*)$/m.exec(block)?.[1] ?? `no data in ${block}`);
  }
}

const idOf = (block: string) => /^id: (.*)$/m.exec(block)?.[1] ?? '';

describe('GET /-/events', () => {
  it('sends each message as a line of data, with headers that keep proxies out of the way', async () => {
    const { hub, server } = await serveHub();
    const events = await Events.open(server, '/-/events?channel=chat');
    await hub.publish('chat', { text: 'hello' });
    await hub.publish('other', 'unseen');
    await hub.publish('chat', 'line\nbreak');
    expect(await events.next()).toMatch(/^id: chat@\S+\ndata: {"text":"hello"}$/);
    expect(await events.next()).toMatch(/^id: chat@\S+\ndata: "line\\nbreak"$/);
    expect(events.response.headers).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': expect.stringContaining('no-cache'),
      'x-accel-buffering': 'no',
    });
    expect(events.response.headers['cache-control']).toContain('no-transform');
  });

  it('tells by the id which of several channels a message came from, and where a pattern matched', async () => {
    const { hub, server } = await serveHub();
    const events = await Events.open(server, '/-/events?channel=a&channel=b%2Fc&pattern=job%2F*');
    await hub.publish('a', 1);
    await hub.publish('b/c', 2);
    await hub.publish('job/7', 3);
    const blocks = [await events.next(), await events.next(), await events.next()];
    expect(blocks.map((block) => decodeURIComponent(idOf(block).split('@')[0] ?? ''))).toEqual(['a', 'b/c', 'job/7']);
  });

  it('names the events by their channels when asked to', async () => {
    const { hub, server } = await serveHub();
    const events = await Events.open(server, '/-/events?channel=a&channel=gap&label=channel');
    await hub.publish('a', 1);
    await hub.publish('gap', 2);
    expect(await events.next()).toMatch(/^id: \S+\nevent: a\ndata: 1$/);
    expect(await events.next()).toMatch(/^id: \S+\nevent: %67ap\ndata: 2$/);
  });

  it('keeps the text of JSON: numbers of any length, in both ways and from a broker', async () => {
    const text = '{"id":3791411052119578828,"price":1.10,"far":1e400}';
    const driver = new FakeDriver();
    for (const hub of [createHub('memory:?history=10'), createHub(), createHub(driver)]) {
      const { server } = await serveHub(hub);
      const events = await Events.open(server, '/-/events?channel=a');
      const client = await open(server, '/-/events?channel=a');
      await client.nextJson();
      const isBroker = hub.abilities?.replay === false && hub.abilities.maxMessageBytes === 1000;
      if (isBroker) driver.receive('a', text);
      else await ask(server, 'POST', '/-/publish?channel=a', { body: text });
      const first = await events.next();
      expect(first.split('data: ')[1]).toBe(text);
      await until(() => client.messages.length === 2);
      expect(client.messages[1]?.data.toString()).toContain(`"message":${text}}`);
      client.ws.send(`{"op":"publish","channels":["a"],"message":${text},"ref":9007199254740993}`);
      await until(() => client.text.includes('"ref":9007199254740993}'));
      if (isBroker) expect(driver.published).toEqual([['a', text]]);
      else expect((await events.next()).split('data: ')[1]).toBe(text);
      if (hub.abilities?.replay) {
        const back = await Events.open(server, '/-/events?channel=a', { 'Last-Event-ID': idOf(first) });
        expect((await back.next()).split('data: ')[1]).toBe(text);
      }
      client.ws.terminate();
    }
  });

  it('sends bytes as lines of text where they are text, else as base64', async () => {
    const { hub, server } = await serveHub();
    const events = await Events.open(server, '/-/events?channel=a');
    await hub.publish('a', Buffer.from('one\ntwo\r\nthree'));
    await hub.publish('a', new Uint8Array([255, 0]));
    expect(await events.next()).toMatch(/^id: \S+\ndata: one\ndata: two\ndata: three$/);
    expect(await events.next()).toMatch(/^id: \S+\nevent: base64\ndata: \/wA=$/);
  });

  it('sends a comment when nothing else is sent', async () => {
    const { server } = await serveHub(undefined, { limits: { heartbeatIntervalMs: 10 } });
    const events = await Events.open(server, '/-/events?channel=a');
    expect(await events.next()).toBe(':heartbeat signal');
    expect(await events.next()).toBe(':heartbeat signal');
  });

  it('goes on after Last-Event-ID, in all channels', async () => {
    const { hub, server } = await serveHub();
    const path = '/-/events?channel=a&channel=b';
    const first = await Events.open(server, path);
    await hub.publish('a', 1);
    await hub.publish('b', 2);
    await first.next();
    const id = idOf(await first.next());
    first.response.destroy();
    await until(() => hub.channelCount === 0);
    await hub.publish('b', 3);
    await hub.publish('a', 4);
    const second = await Events.open(server, path, { 'Last-Event-ID': id });
    await hub.publish('a', 5);
    expect([await second.data(), await second.data()].sort()).toEqual([3, 4]);
    expect(await second.data()).toBe(5);
    const third = await Events.open(server, `${path}&lastEventId=${encodeURIComponent(id)}`);
    expect([await third.data(), await third.data(), await third.data()].sort()).toEqual([3, 4, 5]);
  });

  it('goes on also for a client that had got no event yet', async () => {
    for (const path of ['/-/events?channel=a', '/-/events?channel=a&channel=b&pattern=c*']) {
      const { hub, server } = await serveHub();
      await hub.publish('a', 'before');
      const first = new Events(await begin(server, 'GET', path));
      const id = idOf(await first.next());
      first.response.destroy();
      await until(() => hub.channelCount === 0);
      await hub.publish('a', 'meanwhile');
      const second = await Events.open(server, path, { 'Last-Event-ID': id });
      if (path.includes('pattern')) await hub.publish('a', 'live');
      const blocks = [await second.next(), ...(path.includes('pattern') ? [await second.next()] : [])];
      expect(blocks.join('\n')).toContain('"meanwhile"');
      expect(blocks.join('\n')).not.toContain('"channel":"a"');
    }
  });

  it('sends ids that fit in a header also for many channels of long names', async () => {
    const { hub, server } = await serveHub();
    const names = Array.from({ length: 64 }, (_, at) => `${'n'.repeat(90)}/${at}`);
    const path = `/-/events?${names.map((name) => `channel=${name}`).join('&')}`;
    const first = await Events.open(server, path);
    await hub.publish(names, 1);
    for (let at = 1; at < 64; at++) await first.next();
    const id = idOf(await first.next());
    expect(id.length).toBeLessThan(4096);
    first.response.destroy();
    await hub.publish(names[7] as string, 2);
    const second = await Events.open(server, path, { 'Last-Event-ID': id });
    expect(await second.data()).toBe(2);
  });

  it('sends an event `gap` for what is no longer kept, then goes on', async () => {
    const { hub, server } = await serveHub();
    const first = await Events.open(server, '/-/events?channel=a');
    await hub.publish('a', 0);
    const id = idOf(await first.next());
    for (let at = 1; at <= 11; at++) await hub.publish('a', at);
    for (const lastEventId of [id, 'nonsense', 'a@', '']) {
      const second = await Events.open(server, '/-/events?channel=a', { 'Last-Event-ID': lastEventId });
      const gap = await second.next();
      expect(gap).toMatch(/^event: gap\ndata: {"channel":"a","reason":"history"/);
      await hub.publish('a', 'live');
      expect(await second.data()).toBe('live');
      second.response.destroy();
    }
  });

  it('tells of a lost broker by an event `gap`', async () => {
    const driver = new FakeDriver();
    const { server } = await serveHub(createHub(driver));
    const events = await Events.open(server, '/-/events?channel=a');
    driver.sinks.get('a')?.gap({ reason: 'reconnected' });
    driver.receive('a', '1');
    expect(await events.next()).toBe('event: gap\ndata: {"channel":"a","reason":"reconnected"}');
    expect(await events.next()).toBe('id: a@\ndata: 1');
  });

  it('costs one subscription on the broker for a thousand readers, and encodes each message once', async () => {
    const driver = new FakeDriver();
    const { server } = await serveHub(createHub(driver));
    const readers = await Promise.all(Array.from({ length: 1000 }, () => Events.open(server, '/-/events?channel=a')));
    expect(driver.calls).toEqual(['subscribe a']);
    let encodings = 0;
    const { sinks } = driver;
    const { encode } = TextEncoder.prototype;
    TextEncoder.prototype.encode = function (text) {
      encodings++;
      return encode.call(this, text);
    };
    try {
      sinks.get('a')?.message('a', Buffer.from('{"n":1}'));
      for (const reader of readers) expect(await reader.next()).toBe('id: a@\ndata: {"n":1}');
    } finally {
      TextEncoder.prototype.encode = encode;
    }
    // What stands before the message, and what behind it.
    expect(encodings).toBe(2);
    for (const reader of readers) reader.response.destroy();
    await until(() => driver.calls.length === 2);
    expect(driver.calls).toEqual(['subscribe a', 'unsubscribe a']);
  });

  it('skips ahead for a reader that does not read, tells it of the gap, and leaves the others alone', async () => {
    const { hub, server } = await serveHub(createHub(), { limits: { eventsMaxLag: 16 } });
    const sleeper = await dial(server);
    sleeper.pause().write('GET /-/events?channel=a HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => hub.channelCount === 1);
    const reader = await Events.open(server, '/-/events?channel=a');
    const text = 'x'.repeat(100_000);
    for (let at = 0; at < 400; at++) {
      await hub.publish('a', { at, text });
      expect(await reader.data()).toMatchObject({ at });
    }
    let received = '';
    sleeper.setEncoding('latin1').on('data', (data: string) => {
      received += data;
    });
    sleeper.resume();
    await until(async () => {
      await hub.publish('a', 'end');
      return received.includes('data: "end"');
    });
    expect(received).toMatch(/event: gap\ndata: {"channel":"a","reason":"lagged","missed":\d+}/);
    const missed = Number(/"missed":(\d+)/.exec(received)?.[1]);
    const got = received.match(/"at":\d+/g)?.length ?? 0;
    expect(missed).toBeGreaterThan(100);
    // Some of the missed ones may be an `end` that came before it read again.
    expect(got).toBeLessThanOrEqual(400 - missed + 16);
    sleeper.destroy();
  });

  it('frees the subscription when the client goes away', async () => {
    const { hub, server } = await serveHub();
    const events = await Events.open(server, '/-/events?channel=a');
    expect(hub.channelCount).toBe(1);
    events.response.destroy();
    await until(() => hub.channelCount === 0);
  });

  it('ends properly when the hub is closed, and when the server is', async () => {
    const { hub, server } = await serveHub();
    const events = await Events.open(server, '/-/events?channel=a');
    const ended = new Promise((resolve) => events.response.once('end', resolve));
    await hub.close();
    await ended;
    const { server: second } = await serveHub();
    const others = await Events.open(second, '/-/events?channel=a');
    const over = new Promise((resolve) => others.response.once('end', resolve));
    await second.handler.close();
    await over;
  });

  it.each([
    ['/-/events', 400, 'INVALID_REQUEST'],
    ['/-/events?channel=', 400, 'HUB_CHANNEL_INVALID'],
    [`/-/events?channel=${'x'.repeat(1025)}`, 400, 'HUB_CHANNEL_INVALID'],
    [`/-/events?${'channel=a&'.repeat(65)}`, 400, 'INVALID_REQUEST'],
    ['/-/events?channel=a&label=x', 400, 'INVALID_REQUEST'],
  ])('answers %s with %i %s', async (path, status, code) => {
    const { server } = await serveHub();
    const answer = await ask(server, 'GET', path);
    expect([answer.status, problemOf(answer)]).toEqual([status, code]);
  });

  it('answers other methods with 405, and 404 where there is no hub', async () => {
    const { server } = await serveHub();
    const answer = await ask(server, 'POST', '/-/events?channel=a');
    expect([answer.status, answer.headers.allow]).toEqual([405, 'GET, OPTIONS']);
    const bare = await serve();
    cleanups.push(() => bare.close());
    expect(problemOf(await ask(bare, 'GET', '/-/events?channel=a'))).toBe('NOT_FOUND');
    expect(problemOf(await ask(bare, 'POST', '/-/publish?channel=a', { body: '1' }))).toBe('NOT_FOUND');
  });

  it('answers 503 when the broker cannot be reached, and 400 for patterns that it does not have', async () => {
    const driver = new FakeDriver();
    Object.assign(driver, { abilities: { ...driver.abilities, patterns: false } });
    driver.onConnect = async () => {
      throw new Error('no broker');
    };
    const { server } = await serveHub(createHub(driver));
    const answer = await ask(server, 'GET', '/-/events?channel=a');
    expect([answer.status, problemOf(answer), answer.headers['retry-after']]).toEqual([503, 'HUB_UNAVAILABLE', '1']);
    expect(problemOf(await ask(server, 'GET', '/-/events?pattern=a*'))).toBe('HUB_PATTERNS_UNSUPPORTED');
  });

  it('limits how many may follow', async () => {
    const { server } = await serveHub(undefined, { limits: { followersMax: 1 } });
    const events = await Events.open(server, '/-/events?channel=a');
    expect(problemOf(await ask(server, 'GET', '/-/events?channel=a'))).toBe('TOO_MANY_FOLLOWERS');
    events.response.destroy();
    await until(async () => {
      const response = await begin(server, 'GET', '/-/events?channel=a');
      response.destroy();
      return response.statusCode === 200;
    });
  });
});

describe('POST /-/publish', () => {
  it('publishes the body to all channels that are named', async () => {
    const { hub, server } = await serveHub();
    const subscription = hub.subscribe(['a', 'b']);
    await subscription.ready;
    const answer = await ask(server, 'POST', '/-/publish?channel=a&channel=b', { body: '{"n":1}' });
    expect([answer.status, answer.text]).toEqual([204, '']);
    expect((await subscription.next()).value).toMatchObject({ channel: 'a', message: { n: 1 } });
    expect((await subscription.next()).value).toMatchObject({ channel: 'b', message: { n: 1 } });
  });

  it('takes JSON under the type that curl declares, and bytes under any other', async () => {
    const { hub, server } = await serveHub();
    const subscription = hub.subscribe('a');
    await subscription.ready;
    const post = (type: string, body: string | Uint8Array) =>
      ask(server, 'POST', '/-/publish?channel=a', { headers: { 'Content-Type': type }, body });
    await post('application/x-www-form-urlencoded', '[1]');
    await post('application/json; charset=utf-8', '[2]');
    await post('application/cloudevents+json', '[3]');
    await post('application/octet-stream', new Uint8Array([255, 1]));
    await post('text/plain', '[4]');
    const messages: unknown[] = [];
    for (let at = 0; at < 5; at++) messages.push((await subscription.next()).value?.message);
    expect(messages).toEqual([[1], [2], [3], new Uint8Array([255, 1]), new Uint8Array(Buffer.from('[4]'))]);
  });

  it.each([
    ['/-/publish', '1', 400, 'INVALID_REQUEST'],
    ['/-/publish?channel=', '1', 400, 'HUB_CHANNEL_INVALID'],
    ['/-/publish?channel=a', 'no json', 400, 'INVALID_JSON'],
    ['/-/publish?channel=a', '', 400, 'INVALID_JSON'],
    ['/-/publish?channel=a', `"${'x'.repeat(2000)}"`, 413, 'HUB_MESSAGE_TOO_LARGE'],
  ])('answers %s with a body of %s as a problem', async (path, body, status, code) => {
    const { server } = await serveHub(createHub(new FakeDriver()));
    const answer = await ask(server, 'POST', path, { body });
    expect([answer.status, problemOf(answer)]).toEqual([status, code]);
  });

  it('says so when the broker did not take it', async () => {
    const driver = new FakeDriver();
    driver.onPublish = async () => {
      throw Object.assign(new Error('gone'));
    };
    const { server } = await serveHub(createHub(driver));
    const answer = await ask(server, 'POST', '/-/publish?channel=a', { body: '1' });
    expect([answer.status, problemOf(answer)]).toEqual([503, 'HUB_UNAVAILABLE']);
  });
});

describe('WebSocket /-/events', () => {
  it('follows the channels of its URL', async () => {
    const { hub, server } = await serveHub();
    const client = await open(server, '/-/events?channel=a&pattern=job*');
    expect(await client.nextJson()).toEqual({ op: 'ok' });
    await hub.publish('a', { text: 'hi' });
    await hub.publish('job7', 7);
    expect(await client.nextJson()).toEqual({
      op: 'message',
      channel: 'a',
      id: expect.any(String),
      message: { text: 'hi' },
    });
    expect(await client.nextJson()).toEqual({ op: 'message', channel: 'job7', pattern: 'job*', message: 7 });
    client.ws.close();
    await client.closed;
    await until(() => hub.channelCount === 0);
  });

  it('subscribes, publishes and unsubscribes over one connection', async () => {
    const { hub, server } = await serveHub();
    const client = await open(server, '/-/events');
    const say = (order: object) => client.ws.send(JSON.stringify(order));
    say({ op: 'subscribe', channels: ['a', 'b'], patterns: ['c*'], ref: 1 });
    expect(await client.nextJson()).toEqual({ op: 'ok', ref: 1 });
    expect(hub.channelCount).toBe(3);
    say({ op: 'publish', channels: ['a'], message: null, ref: 'two' });
    const answers = [await client.nextJson(), await client.nextJson()];
    expect(answers).toContainEqual({ op: 'message', channel: 'a', id: expect.any(String), message: null });
    expect(answers).toContainEqual({ op: 'ok', ref: 'two' });
    say({ op: 'publish', channels: ['b'], base64: '/wA=' });
    const bytes = [await client.nextJson(), await client.nextJson()];
    expect(bytes).toContainEqual({ op: 'message', channel: 'b', id: expect.any(String), base64: '/wA=' });
    say({ op: 'unsubscribe', channels: ['a'], patterns: ['c*'], ref: 3 });
    expect(await client.nextJson()).toEqual({ op: 'ok', ref: 3 });
    expect(hub.channelCount).toBe(1);
    await hub.publish('a', 'unseen');
    await hub.publish('b', 'seen');
    expect(await client.nextJson()).toMatchObject({ channel: 'b', message: 'seen' });
    client.ws.terminate();
  });

  it('goes on after an id', async () => {
    const { hub, server } = await serveHub();
    const first = await open(server, '/-/events?channel=a');
    await first.nextJson();
    await hub.publish('a', 1);
    const { id } = await first.nextJson();
    first.ws.terminate();
    await hub.publish('a', 2);
    const second = await open(server, '/-/events');
    second.ws.send(JSON.stringify({ op: 'subscribe', channels: ['a', 'b'], after: { a: id, b: 'unknown' } }));
    expect(await second.nextJson()).toEqual({ op: 'ok' });
    const events = [await second.nextJson(), await second.nextJson()];
    expect(events).toContainEqual({ op: 'message', channel: 'a', id: expect.any(String), message: 2 });
    expect(events).toContainEqual({ op: 'gap', channel: 'b', gap: expect.objectContaining({ reason: 'history' }) });
    second.ws.terminate();
  });

  it.each([
    'no json',
    '[]',
    'null',
    '{}',
    '{"op":"x"}',
    '{"op":"subscribe"}',
    '{"op":"subscribe","channels":"a"}',
    '{"op":"subscribe","channels":[1]}',
    '{"op":"subscribe","channels":["a"],"after":"x"}',
    '{"op":"subscribe","channels":["a"],"after":{"a":1}}',
    '{"op":"unsubscribe","channels":[]}',
    '{"op":"publish","channels":[],"message":1}',
    '{"op":"publish","channels":["a"]}',
    '{"op":"publish","channels":["a"],"base64":"?"}',
  ])('answers %s with an error, and goes on', async (text) => {
    const { server } = await serveHub();
    const client = await open(server, '/-/events');
    client.ws.send(text);
    expect(await client.nextJson()).toMatchObject({ op: 'error', code: 'INVALID_REQUEST', detail: expect.any(String) });
    client.ws.send('{"op":"publish","channels":["a"],"message":1,"ref":2}');
    expect(await client.nextJson()).toEqual({ op: 'ok', ref: 2 });
    client.ws.terminate();
  });

  it('tells errors of the hub by their codes', async () => {
    const { server } = await serveHub(createHub(new FakeDriver()));
    const client = await open(server, '/-/events');
    client.ws.send(Buffer.from([1, 2]));
    expect(await client.nextJson()).toMatchObject({ op: 'error', code: 'INVALID_REQUEST' });
    client.ws.send('{"op":"subscribe","channels":["a",""],"ref":1}');
    expect(await client.nextJson()).toMatchObject({ op: 'error', code: 'HUB_CHANNEL_INVALID', ref: 1 });
    client.ws.send(JSON.stringify({ op: 'publish', channels: ['a'], message: 'x'.repeat(2000) }));
    expect(await client.nextJson()).toMatchObject({ op: 'error', code: 'HUB_MESSAGE_TOO_LARGE' });
    client.ws.terminate();
  });

  it('answers a subscribe when the broker has confirmed it, whichever orders ask for the same', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    const { server } = await serveHub(hub);
    await hub.connect();
    const answers: ((error?: Error) => void)[] = [];
    driver.onSubscribe = () =>
      new Promise((resolve, reject) => {
        answers.push((error) => (error === undefined ? resolve() : reject(error)));
      });
    const client = await open(server, '/-/events');
    const say = (order: object) => client.ws.send(JSON.stringify(order));
    say({ op: 'subscribe', channels: ['a', 'refused'], ref: 1 });
    say({ op: 'subscribe', channels: ['a'], ref: 2 });
    await until(() => answers.length === 2);
    say({ op: 'publish', channels: [], ref: 3 });
    expect(await client.nextJson()).toMatchObject({ op: 'error', ref: 3 });
    answers[1]?.(new Error('refused'));
    expect(await client.nextJson()).toMatchObject({ op: 'error', ref: 1 });
    answers[0]?.();
    expect(await client.nextJson()).toEqual({ op: 'ok', ref: 2 });
    driver.receive('a', '1');
    expect(await client.nextJson()).toMatchObject({ message: 1 });
    expect(hub.channelCount).toBe(1);
    client.ws.terminate();
    await until(() => hub.channelCount === 0);
  });

  it('forgets no channel that is left and followed anew while another of the same order is refused', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    const { server } = await serveHub(hub);
    await hub.connect();
    let refuse = () => {};
    driver.onSubscribe = async () => {
      if (!driver.calls.at(-1)?.endsWith('refused')) return;
      await new Promise<void>((_, reject) => {
        refuse = () => reject(new Error('refused'));
      });
    };
    const client = await open(server, '/-/events');
    const say = (order: object) => client.ws.send(JSON.stringify(order));
    say({ op: 'subscribe', channels: ['a', 'refused'], ref: 1 });
    say({ op: 'unsubscribe', channels: ['a'], ref: 2 });
    say({ op: 'subscribe', channels: ['a'], ref: 3 });
    expect(await client.nextJson()).toEqual({ op: 'ok', ref: 2 });
    expect(await client.nextJson()).toEqual({ op: 'ok', ref: 3 });
    refuse();
    expect(await client.nextJson()).toMatchObject({ op: 'error', ref: 1 });
    driver.receive('a', '1');
    expect(await client.nextJson()).toMatchObject({ message: 1 });
    say({ op: 'unsubscribe', channels: ['a'], ref: 4 });
    expect(await client.nextJson()).toEqual({ op: 'ok', ref: 4 });
    expect(hub.channelCount).toBe(0);
    client.ws.terminate();
  });

  it('closes with 1001 also a client that follows nothing when the hub is closed', async () => {
    const { hub, server } = await serveHub(undefined, { limits: { heartbeatIntervalMs: 20 } });
    const client = await open(server, '/-/events');
    await hub.close();
    expect((await client.closed).code).toBe(1001);
  });

  it('shares one frame of each message among all sockets', async () => {
    const driver = new FakeDriver();
    const { server } = await serveHub(createHub(driver));
    const clients = await Promise.all(Array.from({ length: 50 }, () => open(server, '/-/events?channel=a')));
    for (const client of clients) expect(await client.nextJson()).toEqual({ op: 'ok' });
    expect(driver.calls).toEqual(['subscribe a']);
    driver.receive('a', '{"n":1}');
    for (const client of clients) {
      expect(await client.nextJson()).toEqual({ op: 'message', channel: 'a', message: { n: 1 } });
      client.ws.terminate();
    }
  });

  it('closes with 1001 when the server goes down or the hub is closed', async () => {
    const { server } = await serveHub();
    const client = await open(server, '/-/events?channel=a');
    await client.nextJson();
    void server.handler.close();
    expect((await client.closed).code).toBe(1001);
    const { hub, server: second } = await serveHub();
    const other = await open(second, '/-/events?channel=a');
    await other.nextJson();
    await hub.close();
    expect((await other.closed).code).toBe(1001);
  });

  it('cuts off a client that does not answer pings', async () => {
    const { hub, server } = await serveHub(undefined, { limits: { heartbeatIntervalMs: 20 } });
    const client = await open(server, '/-/events?channel=a', { autoPong: false });
    expect((await client.closed).code).toBe(1006);
    await until(() => hub.channelCount === 0);
  });

  it('refuses before the handshake what cannot be', async () => {
    const { server } = await serveHub();
    const answer = await tryOpen(server, '/-/events?pattern=a*');
    if ('ws' in answer) answer.ws.terminate();
    const refused = await tryOpen(server, '/-/events?x=1');
    expect('status' in refused && problemOf(refused)).toBe('INVALID_REQUEST');
  });
});

describe('in a server of your own', () => {
  it('sendEvents works through a compressing middleware, and its WebSocket twin on upgrade', async () => {
    const hub = createHub();
    cleanups.push(() => hub.close());
    const server = createServer((request, response) => {
      if (request.url === '/plain') return void sendEvents(request, response, hub, 'a');
      // As middleware does it: `write` is replaced.
      const gzip = createGzip();
      gzip.pipe(Object.assign(Object.create(response), { write: response.write.bind(response) }), { end: false });
      response.setHeader('Content-Encoding', 'gzip');
      response.write = ((chunk: Uint8Array) => {
        gzip.write(chunk);
        gzip.flush();
        return true;
      }) as typeof response.write;
      return void sendEvents(request, response, hub, 'a');
    });
    server.on('upgrade', (request, socket, head) => void sendEventsOverWebSocket(request, socket, head, hub, 'a'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanups.push(async () => {
      server.closeAllConnections();
      server.close();
    });
    const port = { port: (server.address() as AddressInfo).port };
    const events = new Events(await begin(port, 'GET', '/plain'));
    expect(await events.next()).toBe(':subscribed');
    const zipped = await fetch(`http://127.0.0.1:${port.port}/zipped`);
    const reader = zipped.body?.pipeThrough(new TextDecoderStream()).getReader();
    expect((await reader?.read())?.value).toBe(':subscribed\n\n');
    const client = await open(port, '/');
    expect(await client.nextJson()).toEqual({ op: 'ok' });
    await hub.publish('a', 'everywhere');
    expect(await events.data()).toBe('everywhere');
    expect((await reader?.read())?.value).toBe('id: a@\ndata: "everywhere"\n\n');
    expect(await client.nextJson()).toMatchObject({ message: 'everywhere' });
    await reader?.cancel();
    client.ws.terminate();
    events.response.destroy();
  });

  it('takes a hub of typed channels', async () => {
    const hub = createHub<{ chat: { text: string }; 'job/*': number }>();
    cleanups.push(() => hub.close());
    const http = createServer((request, response) => void sendEvents(request, response, hub, 'chat')).on(
      'upgrade',
      (request, socket, head) => void sendEventsOverWebSocket(request, socket, head, hub, 'chat'),
    );
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    cleanups.push(async () => http.closeAllConnections());
    const own = { port: (http.address() as AddressInfo).port } as TestServer;
    const server = await serve({ hub });
    cleanups.push(() => server.close());
    const readers = [await Events.open(own, '/'), await Events.open(server, '/-/events?channel=chat')];
    const client = await open(own, '/');
    expect(await client.nextJson()).toEqual({ op: 'ok' });
    await hub.publish('chat', { text: 'hi' });
    for (const reader of readers) expect(await reader.data()).toEqual({ text: 'hi' });
    expect(await client.nextJson()).toEqual({ op: 'message', channel: 'chat', message: { text: 'hi' } });
    client.ws.terminate();
    http.close();
  });

  it('answers with a problem where the subscription cannot be', async () => {
    const hub = createHub();
    await hub.close();
    const server = createServer((request, response) => void sendEvents(request, response, hub, 'a'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanups.push(async () => server.close());
    const answer = await ask({ port: (server.address() as AddressInfo).port }, 'GET', '/');
    expect([answer.status, problemOf(answer)]).toEqual([503, 'HUB_CLOSED']);
  });
});
