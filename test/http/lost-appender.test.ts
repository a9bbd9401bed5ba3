import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask, begin, collect, serve, type TestServer, until } from './test-server.js';
import { open } from './test-socket.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

const ORIGINAL = { headers: { 'X-Verb': 'FOLLOW' } };

/** An appender of `/log.txt`, which has appended `so far`. */
interface Appender {
  /** Its process is killed: the connection breaks. */
  kill(): void;
  /** It is done. */
  leave(): void;
}

const APPENDERS: Readonly<Record<string, () => Promise<Appender>>> = {
  'a WebSocket': async () => {
    const { ws } = await open(server, '/log.txt?verb=append');
    ws.send('so far');
    return { kill: () => ws.terminate(), leave: () => ws.close(1000) };
  },
  'an upload': async () => {
    const upload = request({ port: server.port, method: 'POST', path: '/log.txt?verb=append', agent: false });
    upload.on('error', () => {});
    upload.write('so far');
    return { kill: () => upload.destroy(), leave: () => upload.end() };
  },
};

async function appending(how: string): Promise<Appender> {
  const appender = await (APPENDERS[how] as () => Promise<Appender>)();
  await until(() =>
    server.store.stat('log.txt').then(
      ({ tail }) => tail === 6,
      () => false,
    ),
  );
  return appender;
}

const stateByHead = async () => (await ask(server, 'HEAD', '/log.txt')).headers['stream-appender'];

describe.each(Object.keys(APPENDERS))('%s', (how) => {
  it('that is killed is told to all who ask: HEAD, trailers, close codes; the original client sees an end like any other', async () => {
    const appender = await appending(how);
    expect(await stateByHead()).toBe('active');
    const raw = await begin(server, 'GET', '/log.txt?verb=follow');
    const body = collect(raw);
    const follower = await open(server, '/log.txt?verb=follow');
    const live = await open(server, '/log.txt?verb=follow&live=ws');
    const original = await open(server, '/log.txt', ORIGINAL);
    await until(() => [follower, live, original].every(({ text }) => text.includes('so far')));
    appender.kill();
    expect((await body).text).toBe('so far');
    expect(raw.complete).toBe(true);
    expect(raw.headers.trailer).toContain('Stream-Appender');
    expect(raw.trailers).toEqual({ 'stream-appender': 'lost' });
    expect((await follower.closed).code).toBe(4499);
    expect((await live.closed).code).toBe(4499);
    expect(JSON.parse(String(live.messages.at(-1)?.data))).toMatchObject({ upToDate: true, streamAppender: 'lost' });
    expect(await original.closed).toEqual({ code: 1000, reason: '' });
    expect(await stateByHead()).toBe('lost');
  });

  it('that leaves is told as well', async () => {
    const appender = await appending(how);
    const raw = await begin(server, 'GET', '/log.txt?verb=follow');
    const body = collect(raw);
    const follower = await open(server, '/log.txt?verb=follow');
    await follower.has(6);
    appender.leave();
    await body;
    expect(raw.trailers).toEqual({ 'stream-appender': 'left' });
    expect((await follower.closed).code).toBe(1000);
    expect(await stateByHead()).toBe('left');
  });
});

describe('a stream whose appender was lost', () => {
  beforeEach(async () => {
    const session = await server.store.acquire('log.txt', { create: {} });
    await session.append(Buffer.from('so far'));
    await session.release({ lost: true });
  });

  it('says so to those who come later, also where they come to follow', async () => {
    for (const path of ['/log.txt', '/log.txt?verb=follow']) {
      const whole = await ask(server, 'GET', path);
      expect([whole.status, whole.text, whole.headers['stream-appender']]).toEqual([200, 'so far', 'lost']);
      const known = { headers: { 'If-None-Match': whole.headers.etag as string } };
      expect((await ask(server, 'GET', path, known)).headers['stream-appender']).toBe('lost');
    }
    const { streams } = JSON.parse((await ask(server, 'GET', '/-/streams')).text) as { streams: object[] };
    expect(streams).toMatchObject([{ path: 'log.txt', appender: false, lastAppender: 'lost' }]);
  });

  it('says so to durable readers, at once or when it happens, and no more once another appends', async () => {
    const sse = watch(await begin(server, 'GET', '/log.txt?live=sse&offset=-1'));
    const ws = await open(server, '/log.txt?live=ws');
    await until(() => sse().includes('"streamAppender":"lost"'));
    await until(() => ws.text.includes('"streamAppender":"lost"'));

    const session = await server.store.acquire('log.txt');
    await session.append(Buffer.from(', more'));
    await until(() => sse().includes('data:, more') && ws.text.includes(', more'));
    const controls = () =>
      [...sse().matchAll(/event: control\ndata:(.*)/g)].map(([, json]) => JSON.parse(json as string));
    await until(() => controls().length === 2);
    expect(controls().map(({ streamAppender }) => streamAppender)).toEqual(['lost', undefined]);
    const place = controls()[1].streamNextOffset as string;
    await session.release({ lost: true });
    await until(() => controls().length === 3);
    // Nothing but the state is news; whoever comes back goes on where it was.
    expect(controls()[2]).toMatchObject({ streamNextOffset: place, upToDate: true, streamAppender: 'lost' });
    await until(() => ws.messages.filter(({ data }) => String(data).includes('streamAppender')).length === 2);
    const [, event] = /(id: \S+)\nevent: control[^\n]*\n[^\n]*streamAppender[^\n]*\n\n$/.exec(sse()) ?? [];
    expect(event).toBe(`id: ${place}`);
    expect(await stateByHead()).toBe('lost');
    ws.ws.terminate();
  });

  it('says no more about it once it is closed', async () => {
    await server.store.append('log.txt', { close: true });
    expect(await stateByHead()).toBeUndefined();
    const sse = await ask(server, 'GET', '/log.txt?live=sse&offset=-1');
    expect(sse.text).toContain('"streamClosed":true');
    expect(sse.text).not.toContain('streamAppender');
  });
});

describe('a stream that is closed while it is followed', () => {
  it('says in the trailer that all of it was sent', async () => {
    const session = await server.store.acquire('log.txt', { create: {} });
    const raw = await begin(server, 'GET', '/log.txt?verb=follow');
    const body = collect(raw);
    await session.append(Buffer.from('all'), { close: true });
    expect((await body).text).toBe('all');
    expect(raw.trailers).toEqual({ 'stream-closed': 'true' });
  });
});

describe('a stream that no session has had', () => {
  it('says nothing of appenders', async () => {
    await server.store.create('log.txt', { data: Buffer.from('x') });
    expect(await stateByHead()).toBeUndefined();
    const res = await begin(server, 'GET', '/log.txt?live=raw');
    expect(res.headers.trailer).toBeUndefined();
    res.destroy();
    await once(res, 'close');
  });
});

function watch(res: IncomingMessage): () => string {
  let text = '';
  res.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  return () => text;
}
