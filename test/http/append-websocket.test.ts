import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { token } from '../token.js';
import { ask, problemOf, serve, type TestServer, until } from './test-server.js';
import { open, tryOpen } from './test-socket.js';

const ACKS = { protocols: ['millrace.append.v1'] };

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

async function contents(path: string): Promise<string> {
  return (await ask(server, 'GET', path)).text;
}

const isFree = async (path: string) => !(await server.store.stat(path)).appender;

describe('a WebSocket appender', () => {
  it('creates the stream and appends each message, text or binary, as it is', async () => {
    const appender = await open(server, '/deep/er/foo.txt', { headers: { 'X-Verb': 'APPEND' } });
    appender.ws.send('text ');
    appender.ws.send(Buffer.from([0, 1, 255, 254]));
    appender.ws.close();
    await appender.closed;
    await until(() => isFree('deep/er/foo.txt'));
    expect((await ask(server, 'GET', '/deep/er/foo.txt')).body).toEqual(
      Buffer.concat([Buffer.from('text '), Buffer.from([0, 1, 255, 254])]),
    );
  });

  it('may split a character between two text messages', async () => {
    const appender = await open(server, '/foo.txt?verb=append');
    const euro = Buffer.from('€');
    appender.ws.send(euro.subarray(0, 1), { binary: false });
    appender.ws.send(euro.subarray(1), { binary: false });
    appender.ws.close();
    await appender.closed;
    await until(() => isFree('foo.txt'));
    expect(await contents('/foo.txt')).toBe('€');
  });

  it('takes the verb in any case, from header or query', async () => {
    for (const [path, headers] of [
      ['/a?verb=APPEND', {}],
      ['/b?verb=Append', {}],
      ['/c', { 'x-verb': 'append' }],
    ] as const) {
      const appender = await open(server, path, { headers });
      appender.ws.send('x');
      appender.ws.close();
      await appender.closed;
    }
    await until(async () => (await contents('/c')) === 'x');
  });

  it('is alone: a second one is refused with a reason while it lives, and may append after it', async () => {
    const first = await open(server, '/foo.txt?verb=append');
    const second = await tryOpen(server, '/foo.txt?verb=append');
    if (!('status' in second)) throw new Error('It was let in.');
    expect(second.status).toBe(403);
    expect(problemOf(second)).toBe('APPENDER_ACTIVE');
    const post = await ask(server, 'POST', '/foo.txt', { headers: { 'Content-Type': 'text/plain' }, body: 'no' });
    expect([post.status, problemOf(post)]).toEqual([409, 'APPENDER_ACTIVE']);
    first.ws.close();
    await first.closed;
    await until(() => isFree('foo.txt'));
    const third = await open(server, '/foo.txt?verb=append');
    third.ws.close();
    await third.closed;
  });

  it('leaves the stream free at once when its connection breaks, and what it sent is kept', async () => {
    const appender = await open(server, '/foo.txt?verb=append');
    appender.ws.send('kept');
    await until(async () => (await contents('/foo.txt')) === 'kept');
    appender.ws.terminate();
    await until(() => isFree('foo.txt'));
    expect(await contents('/foo.txt')).toBe('kept');
  });

  it('leaves the stream free when it has sent a close frame, though it keeps its connection', async () => {
    const appender = await open(server, '/foo.txt?verb=append');
    const socket = (appender.ws as unknown as { _socket: import('node:net').Socket })._socket;
    socket.removeAllListeners('end');
    // A masked close frame, written past the library, which would hang up by itself.
    socket.write(Buffer.from([0x88, 0x80, 0, 0, 0, 0]));
    await until(() => isFree('foo.txt'));
    appender.ws.terminate();
  });

  it('keeps what came before a message that is too large, and is told so', async () => {
    await server.close();
    server = await serve({ limits: { frameBytesMax: 1000 } });
    const appender = await open(server, '/foo.txt?verb=append');
    appender.ws.send('before');
    appender.ws.send(Buffer.alloc(1001));
    expect((await appender.closed).code).toBe(1009);
    await until(() => isFree('foo.txt'));
    expect(await contents('/foo.txt')).toBe('before');
  });

  it('appends a megabyte of everything, byte for byte', async () => {
    const data = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, i) => i)), randomBytes(1024 * 1024)]);
    const appender = await open(server, '/r.bin?verb=append');
    for (let at = 0; at < data.length; at += 10_007) appender.ws.send(data.subarray(at, at + 10_007));
    appender.ws.close();
    await appender.closed;
    await until(() => isFree('r.bin'));
    expect((await ask(server, 'GET', '/r.bin')).body.equals(data)).toBe(true);
  });

  it('closes the stream at its proper end where it is asked to, and not when it breaks off', async () => {
    const broken = await open(server, '/a.txt?verb=append&close=true');
    broken.ws.send('x');
    await until(async () => (await contents('/a.txt')) === 'x');
    broken.ws.terminate();
    await until(() => isFree('a.txt'));
    expect((await server.store.stat('a.txt')).closed).toBe(false);
    const proper = await open(server, '/a.txt?verb=append&close=true');
    proper.ws.send('y');
    proper.ws.close(1000);
    await until(async () => (await server.store.stat('a.txt')).closed);
    expect(await contents('/a.txt')).toBe('xy');
  });

  it('is refused on a closed stream', async () => {
    await server.store.create('done.txt', { closed: true });
    const refused = await tryOpen(server, '/done.txt?verb=append');
    if (!('status' in refused)) throw new Error('It was let in.');
    expect([refused.status, problemOf(refused)]).toEqual([409, 'STREAM_CLOSED']);
  });

  it('is cut off when the stream is deleted under it', async () => {
    const appender = await open(server, '/foo.txt?verb=append');
    await server.store.delete('foo.txt');
    expect((await appender.closed).code).toBe(4404);
  });

  it('writes JSON messages to a JSON stream, and is told what is none', async () => {
    const appender = await open(server, '/j?verb=append&contentType=application/json');
    appender.ws.send('{"n": 1}');
    appender.ws.send('[2, [3]]');
    appender.ws.send('not json');
    expect((await appender.closed).code).toBe(4400);
    expect((await ask(server, 'GET', '/j')).text).toBe('[{"n":1},2,[3]]');
  });

  it('counts: the server lets in only so many', async () => {
    await server.close();
    server = await serve({ limits: { appendersMax: 1 } });
    const one = await open(server, '/a?verb=append');
    const two = await tryOpen(server, '/b?verb=append');
    if (!('status' in two)) throw new Error('It was let in.');
    expect([two.status, problemOf(two)]).toEqual([503, 'TOO_MANY_APPENDERS']);
    one.ws.close();
    await one.closed;
    await until(() => isFree('a'));
    await open(server, '/b?verb=append');
  });

  it('is held back while too much is not committed', async () => {
    await server.close();
    server = await serve({ limits: { appendBufferBytes: 1000 } });
    const appender = await open(server, '/foo.txt?verb=append', ACKS);
    const data = randomBytes(500_000);
    for (let at = 0; at < data.length; at += 5000) appender.ws.send(data.subarray(at, at + 5000));
    await until(async () => (await server.store.stat('foo.txt')).tail === data.length);
    expect((await ask(server, 'GET', '/foo.txt')).body.equals(data)).toBe(true);
  });
});

describe('acknowledgements', () => {
  it('welcome with the tail, then tell what is durable, cumulatively', async () => {
    await server.store.create('foo.txt', { data: Buffer.from('12345') });
    const appender = await open(server, '/foo.txt?verb=append', ACKS);
    expect(appender.ws.protocol).toBe('millrace.append.v1');
    expect(await appender.nextJson()).toEqual({
      type: 'welcome',
      offset: token(5),
      contentType: expect.stringContaining('text/plain') as string,
      json: false,
      frameBytesMax: 16 * 1024 * 1024,
      committed: null,
    });
    for (let i = 0; i < 1000; i++) appender.ws.send(Buffer.from('x'));
    let last: Record<string, unknown>;
    let acks = 0;
    do {
      last = await appender.nextJson();
      acks++;
    } while (last.seq !== 999);
    expect(last).toEqual({ type: 'ack', offset: token(1005), seq: 999 });
    expect(acks).toBeLessThan(1000);
  });

  it('close the stream on demand, after all frames before it', async () => {
    const appender = await open(server, '/foo.txt?verb=append', ACKS);
    await appender.nextJson();
    appender.ws.send(Buffer.from('last words'));
    appender.ws.send(JSON.stringify({ type: 'close' }));
    let ack = await appender.nextJson();
    if (ack.closed !== true) ack = await appender.nextJson();
    expect(ack).toEqual({ type: 'ack', offset: token(10), seq: 0, closed: true });
    expect((await appender.closed).code).toBe(1000);
    expect((await server.store.stat('foo.txt')).closed).toBe(true);
  });

  it('take nothing but what the protocol knows', async () => {
    for (const bad of ['{"type":"dance"}', 'null', 'data']) {
      const appender = await open(server, '/foo.txt?verb=append', ACKS);
      await appender.nextJson();
      appender.ws.send(bad);
      expect(await appender.nextJson()).toMatchObject({ type: 'error', problem: { code: 'INVALID_REQUEST' } });
      expect((await appender.closed).code).toBe(4400);
      await until(() => isFree('foo.txt'));
    }
  });

  it('refuse an empty frame, whose number nothing would ever acknowledge', async () => {
    const appender = await open(server, '/foo.txt?verb=append', ACKS);
    await appender.nextJson();
    appender.ws.send(Buffer.alloc(0));
    expect(await appender.nextJson()).toMatchObject({ type: 'error', problem: { code: 'EMPTY_APPEND', status: 400 } });
    expect((await appender.closed).code).toBe(4400);
  });

  it('let a producer go on where it was, each frame appended once', async () => {
    const first = await open(server, '/foo.txt?verb=append&producerId=p&producerEpoch=3', ACKS);
    expect(await first.nextJson()).toMatchObject({ type: 'welcome' });
    first.ws.send(Buffer.from('a'));
    first.ws.send(Buffer.from('b'));
    await until(async () => (await server.store.stat('foo.txt')).tail === 2);
    first.ws.terminate();
    await until(() => isFree('foo.txt'));

    const same = await open(server, '/foo.txt?verb=append&producerId=p&producerEpoch=3', ACKS);
    expect(await same.nextJson()).toMatchObject({ committed: { epoch: 3, seq: 1 } });
    same.ws.send(Buffer.from('c'));
    expect(await same.nextJson()).toEqual({ type: 'ack', offset: token(3), seq: 2 });
    same.ws.close();
    await same.closed;
    await until(() => isFree('foo.txt'));

    const next = await open(server, '/foo.txt?verb=append&producerId=p&producerEpoch=4', ACKS);
    expect(await next.nextJson()).toMatchObject({ committed: { epoch: 3, seq: 2 } });
    next.ws.send(Buffer.from('d'));
    expect(await next.nextJson()).toEqual({ type: 'ack', offset: token(4), seq: 0 });
    expect(await contents('/foo.txt')).toBe('abcd');
  });

  it('let a higher epoch take over at once, and tell the one that is fenced', async () => {
    const old = await open(server, '/foo.txt?verb=append&producerId=p&producerEpoch=0', ACKS);
    await old.nextJson();
    const refused = await tryOpen(server, '/foo.txt?verb=append&producerId=p&producerEpoch=0', ACKS);
    expect(refused).toMatchObject({ status: 403 });
    const young = await open(server, '/foo.txt?verb=append&producerId=p&producerEpoch=1', ACKS);
    await young.nextJson();
    expect(await old.nextJson()).toMatchObject({ type: 'error', problem: { code: 'PRODUCER_FENCED' } });
    expect((await old.closed).code).toBe(4403);
    young.ws.send(Buffer.from('mine'));
    await young.nextJson();
    expect(await contents('/foo.txt')).toBe('mine');
  });

  it('refuse a producer that is not one', async () => {
    for (const query of [
      'producerId=p',
      'producerEpoch=1',
      'producerId=p&producerEpoch=-1',
      'producerId=&producerEpoch=1',
    ]) {
      const refused = await tryOpen(server, `/foo.txt?verb=append&${query}`, ACKS);
      if (!('status' in refused)) throw new Error('It was let in.');
      expect([refused.status, problemOf(refused)]).toEqual([400, 'INVALID_REQUEST']);
    }
  });

  it('do not pile up for a client that does not read them', async () => {
    const appender = await open(server, '/foo.txt?verb=append', ACKS);
    appender.ws.pause();
    for (let round = 0; round < 200; round++) {
      for (let i = 0; i < 50; i++) appender.ws.send(Buffer.from('0123456789'));
      if (round % 20 === 0) await turn();
    }
    await until(async () => (await server.store.stat('foo.txt')).tail === 200 * 50 * 10);
    appender.ws.resume();
    await until(() => appender.messages.some(({ data }) => data.toString().includes('"seq":9999')));
  });
});
