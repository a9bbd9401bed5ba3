import { Buffer } from 'node:buffer';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { token } from '../token.js';
import { ask, serve, type TestServer } from './test-server.js';

let server: TestServer;
beforeEach(async () => {
  server = await serve();
});
afterEach(() => server.close());

async function appender(path: string, protocol?: string): Promise<WebSocket> {
  const ws = new WebSocket(`${server.url.replace('http', 'ws')}${path}?verb=append`, protocol ?? []);
  await once(ws, 'open');
  return ws;
}

describe('many frames at once', () => {
  it('are appended in their order, whatever stands between them', { timeout: 30_000 }, async () => {
    const ws = await appender('/mixed.bin');
    const pieces: Buffer[] = [];
    const send = (bytes: Buffer, options: { binary?: boolean; fin?: boolean } = {}) => {
      pieces.push(bytes);
      ws.send(bytes, { binary: true, ...options });
    };
    for (let count = 0; count < 5000; count++) {
      send(randomBytes(randomInt(1, 200)));
      if (count % 97 === 0) ws.ping('there?');
      if (count % 101 === 0) send(Buffer.from('text'), { binary: false });
      if (count % 499 === 0) send(randomBytes(70_000));
    }
    for (let count = 0; count < 20; count++) {
      send(randomBytes(50), { fin: false });
      send(randomBytes(50));
      send(randomBytes(50));
    }
    ws.close();
    await once(ws, 'close');
    const { body } = await ask(server, 'GET', '/mixed.bin');
    expect(body.equals(Buffer.concat(pieces))).toBe(true);
  });

  it('are each counted by the acknowledgements', { timeout: 30_000 }, async () => {
    const ws = await appender('/counted.bin', 'millrace.append.v1');
    const FRAMES = 20_000;
    const acknowledged = new Promise<{ seq: number; offset: string }>((resolve) => {
      ws.on('message', (data: Buffer) => {
        const message = JSON.parse(data.toString()) as { type: string; seq: number; offset: string };
        if (message.type === 'ack' && message.seq >= FRAMES - 1) resolve(message);
      });
    });
    let bytes = 0;
    for (let count = 0; count < FRAMES; count++) {
      const frame = Buffer.alloc((count % 150) + 1, count & 0xff);
      bytes += frame.length;
      ws.send(frame);
    }
    const { seq, offset } = await acknowledged;
    expect(seq).toBe(FRAMES - 1);
    expect(offset).toEqual(token(bytes));
    ws.close();
    await once(ws, 'close');
  });

  it('end where one of them is refused: nothing after it is appended', async () => {
    const ws = await appender('/refused.bin', 'millrace.append.v1');
    const closed = once(ws, 'close');
    for (const text of ['a', 'b', '', 'c', 'd']) ws.send(Buffer.from(text));
    expect((await closed)[0]).toBe(4400);
    expect((await ask(server, 'GET', '/refused.bin')).text).toBe('ab');
  });

  it('are not taken after the message that closes the stream', async () => {
    const ws = await appender('/closed.bin', 'millrace.append.v1');
    const closed = once(ws, 'close');
    ws.send(Buffer.from('in time'));
    ws.send('{"type":"close"}');
    ws.send(Buffer.from('too late'));
    await closed;
    expect((await ask(server, 'GET', '/closed.bin')).text).toBe('in time');
  });
});

describe('frames of a JSON stream', () => {
  it('are each looked at, however many come at once', async () => {
    await server.store.create('messages', { contentType: 'application/json' });
    const ws = await appender('/messages');
    for (let count = 0; count < 1000; count++) ws.send(Buffer.from(JSON.stringify([{ count }, 'second'])));
    ws.close();
    await once(ws, 'close');
    const { data } = await server.store.read('messages', 0, { maxBytes: 1_000_000 });
    const messages = Array.from({ length: 1000 }, (_, count) => `{"count":${count}}\n"second"\n`);
    expect(Buffer.from(data).toString()).toBe(messages.join(''));
  });
});
