import { Buffer } from 'node:buffer';
import { EventSource as EventSourcePackage } from 'eventsource';
import { createEventSource } from 'eventsource-client';
import { EventSource as UndiciEventSource } from 'undici';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createMemoryStore, type Store } from '../../src/log/index.js';
import { type Served, serve as serveStore } from '../conformance/serve.js';
import { token } from '../token.js';
import { ask, problemOf, serve, type TestServer, until } from './test-server.js';

/** What an `EventSource` sees of a response, or of the beginning of one (HTML, section 9.2.6). */
function interpret(text: string): { data: string[]; controls: Record<string, unknown>[]; lastEventId: string } {
  const data: string[] = [];
  const controls: Record<string, unknown>[] = [];
  let lastEventId = '';
  let id = '';
  // What has no empty line after it is dropped.
  for (const block of text.split('\n\n').slice(0, -1)) {
    let name = 'message';
    const lines: string[] = [];
    for (const line of block.split('\n')) {
      const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
      if (field === 'event') name = value;
      if (field === 'data') lines.push(value);
      if (field === 'id') id = value;
    }
    lastEventId = id;
    if (lines.length === 0) continue;
    if (name === 'data') data.push(lines.join('\n'));
    if (name === 'control') controls.push(JSON.parse(lines.join('\n')) as Record<string, unknown>);
  }
  return { data, controls, lastEventId };
}

const STREAMS = [
  { type: 'text/plain', path: '/log.txt', pieces: ['one\n', 'two €', '\r', '\nthree'], all: 'one\ntwo €\nthree' },
  { type: 'application/json', path: '/chat', pieces: ['{"n":1}\n', '[2]\n"three"\n'], all: '[{"n":1},[2],"three"]' },
  { type: 'image/png', path: '/a.png', pieces: ['\u0089PN', 'G€', '\0'], all: '\u0089PNG€\0' },
] as const;

/** The contents, from the data of events. */
function contentsOf(type: string, data: readonly string[]): string {
  if (type === 'text/plain') return data.join('');
  if (type === 'application/json') return JSON.stringify(data.flatMap((text) => JSON.parse(text) as unknown[]));
  return Buffer.concat(data.map((text) => Buffer.from(text, 'base64'))).toString();
}

let server: TestServer;

beforeEach(async () => {
  // Small reads: what is there goes out in several events.
  server = await serve({ follow: { readBytesMin: 1, readBytesMax: 4 } });
});

afterEach(() => server.close());

describe.each(STREAMS)('live=sse of $type', ({ type, path, pieces, all }) => {
  beforeEach(async () => {
    await server.store.create(path.slice(1), { contentType: type });
    for (const piece of pieces) await server.store.append(path.slice(1), { data: Buffer.from(piece) });
  });

  it('cut at any byte goes on with Last-Event-ID: nothing is repeated, nothing lost', async () => {
    await server.store.append(path.slice(1), { close: true });
    const { text } = await ask(server, 'GET', `${path}?offset=-1&live=sse`);
    const whole = interpret(text);
    expect(contentsOf(type, whole.data)).toBe(all);
    expect(whole.data.length).toBeGreaterThan(1);
    for (let at = 0; at <= text.length; at++) {
      const before = interpret(text.slice(0, at));
      const id = before.lastEventId;
      const headers: Record<string, string> = id === '' ? {} : { 'Last-Event-ID': id };
      const { status, text: rest } = await ask(server, 'GET', `${path}?offset=-1&live=sse`, { headers });
      const after = interpret(rest);
      expect(contentsOf(type, [...before.data, ...after.data])).toBe(all);
      expect(status).toBe(id === whole.lastEventId ? 204 : 200);
    }
  });

  it('goes on from the middle, where the header wins over the URL, and the URL can carry it too', async () => {
    const next = (await server.store.stat(path.slice(1))).tail;
    await server.store.append(path.slice(1), {
      data: Buffer.from(type === 'application/json' ? '4\n' : '4'),
      close: true,
    });
    const id = String(next).padStart(16, '0');
    const fourth = type === 'application/json' ? '[4]' : '4';
    for (const target of [
      `${path}?live=sse`,
      `${path}?live=sse&offset=-1`,
      `${path}?live=sse&offset=now&lastEventId=x`,
    ]) {
      const { text } = await ask(server, 'GET', target, { headers: { 'Last-Event-ID': id } });
      expect(contentsOf(type, interpret(text).data)).toBe(fourth);
    }
    const { text } = await ask(server, 'GET', `${path}?live=sse&offset=-1&lastEventId=${id}`);
    expect(contentsOf(type, interpret(text).data)).toBe(fourth);
  });
});

describe('GET ?live=sse', () => {
  it('tells an EventSource its place before there is any data', async () => {
    await serveShortly();
    await server.store.create('a.txt', { data: Buffer.from('past') });
    const { text } = await ask(server, 'GET', '/a.txt?live=sse&offset=now');
    expect(interpret(text)).toMatchObject({ data: [], lastEventId: token(4) });
  });

  it('begins at the beginning for a client that says it takes events, and needs an offset from others', async () => {
    await server.store.create('a.txt', { data: Buffer.from('all'), closed: true });
    const { text } = await ask(server, 'GET', '/a.txt?live=sse', { headers: { Accept: 'text/event-stream' } });
    expect(interpret(text).data).toEqual(['all']);
    const other = await ask(server, 'GET', '/a.txt?live=sse', { headers: { Accept: '*/*' } });
    expect(problemOf(other)).toBe('INVALID_REQUEST');
  });

  it('answers 204 to whoever comes back and has all of a closed stream, 200 to whoever comes first', async () => {
    await server.store.create('a.txt', { data: Buffer.from('all'), closed: true });
    const target = '/a.txt?live=sse&offset=0000000000000003';
    const first = await ask(server, 'GET', target);
    expect(interpret(first.text).controls).toMatchObject([{ streamClosed: true }]);
    const again = await ask(server, 'GET', target, { headers: { 'Last-Event-ID': '0000000000000003' } });
    expect(again).toMatchObject({ status: 204, text: '', headers: { 'stream-closed': 'true' } });
    expect(again.headers['stream-next-offset']).toEqual(token(3));
  });

  it('refuses an id that is no place of the stream: never all of it again without a word', async () => {
    await server.store.create('a.txt', { data: Buffer.from('all') });
    const code = async (id: string) =>
      problemOf(await ask(server, 'GET', '/a.txt?live=sse&offset=-1', { headers: { 'Last-Event-ID': id } }));
    expect(await code('chat@7')).toBe('INVALID_OFFSET');
    expect(await code('0000000000000004')).toBe('OFFSET_OUT_OF_RANGE');
  });

  it('asks an EventSource to come back soon', async () => {
    await serveShortly();
    await server.store.create('a.txt');
    expect((await ask(server, 'GET', '/a.txt?live=sse&offset=-1')).text).toMatch(/^retry: 10\n\n/);
  });

  async function serveShortly(): Promise<void> {
    await server.close();
    server = await serve({ limits: { sseConnectionMs: 20, sseRetryMs: 10 } });
  }
});

/** A reader that comes back by itself, as programs use it. */
interface Reader {
  /** The `data` events of the stream. */
  readonly data: readonly string[];
  readonly closed: boolean;
  close(): void;
}

const READERS: Record<string, (url: string) => Reader> = {
  eventsource: (url) => standard(new EventSourcePackage(url)),
  undici: (url) => standard(new UndiciEventSource(url) as unknown as EventSourcePackage),
  'eventsource-client': (url) => {
    const data: string[] = [];
    const client = createEventSource({
      url,
      onMessage: (message) => void (message.event === 'data' && data.push(message.data)),
    });
    return {
      data,
      get closed() {
        return client.readyState === 'closed';
      },
      close: () => client.close(),
    };
  },
};

function standard(source: EventSourcePackage): Reader {
  const data: string[] = [];
  source.addEventListener('data', (event) => data.push(event.data as string));
  return {
    data,
    get closed() {
      return source.readyState === 2;
    },
    close: () => source.close(),
  };
}

describe.each(Object.keys(READERS))('the EventSource of %s', (name) => {
  const read = READERS[name] as (typeof READERS)[string];

  it.each(STREAMS)('reads $type to its end, over responses that end and a restart, and stops', async (stream) => {
    const { type, path, pieces, all } = stream;
    const limits = { sseConnectionMs: 40, sseRetryMs: 10 };
    const store: Store = createMemoryStore();
    await store.create(path.slice(1), { contentType: type });
    let served: Served = await serveStore({ store, limits });
    const port = Number(new URL(served.url).port);
    const readers = [`${path}?live=sse`, `${path}?live=sse&offset=-1`].map((target) => read(`${served.url}${target}`));
    try {
      for (const [i, piece] of pieces.entries()) {
        await store.append(path.slice(1), { data: Buffer.from(piece), close: i === pieces.length - 1 });
        await until(() => readers.every(({ data }) => data.length > 0));
        // Some responses end before the next piece comes; once the server does, too.
        await new Promise((resolve) => setTimeout(resolve, 2 * limits.sseConnectionMs));
        if (i > 0) continue;
        await served.close();
        served = await serveStore({ store, limits }, port);
      }
      await until(() => readers.every((reader) => reader.closed));
      for (const { data } of readers) expect(contentsOf(type, data)).toBe(all);
    } finally {
      for (const reader of readers) reader.close();
      await served.close();
      await store.close();
    }
  });
});
