import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { dial, drain, serve, type TestServer, until } from './test-server.js';

let server: TestServer;
const appends = async () => (await server.store.stat('a')).appender;

afterEach(() => server.close());

const HANDSHAKE =
  'GET /a?verb=append HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';
const upload = (fields: string) =>
  `PUT /a?verb=append HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/plain\r\n${fields}\r\n`;

async function appender(...pieces: (string | Buffer)[]): Promise<{ socket: Socket; answer: Promise<string> }> {
  const socket = await dial(server);
  const answer = drain(socket).catch(() => 'cut off');
  for (const piece of pieces) socket.write(piece);
  await until(() => appends().catch(() => false));
  return { socket, answer };
}

describe('an appender that stops in the middle', () => {
  beforeEach(async () => {
    server = await serve({ limits: { heartbeatIntervalMs: 20, appenderStallMs: 100 } });
  });

  it.each([
    ['of a frame', Buffer.from([0x82, 0x85, 1, 2, 3, 4, 9])],
    ['of the head of a frame', Buffer.from([0x82])],
    ['of a fragmented message', Buffer.from([0x02, 0x81, 0, 0, 0, 0, 0x61])],
  ])('%s loses its stream, and what was whole is kept', async (_, part) => {
    const whole = Buffer.from([0x82, 0x82, 0, 0, 0, 0, 0x68, 0x69]);
    const { socket, answer } = await appender(HANDSHAKE, whole, part);
    await until(async () => !(await appends()));
    expect((await server.store.stat('a')).tail).toBe(2);
    socket.end();
    // 4408, as a close frame.
    expect(await answer).toContain('\x88\x12\x11\x38APPENDER_STALLED');
  });

  it('of a body of known length loses its stream, and is told so', async () => {
    const { answer } = await appender(upload('Content-Length: 10\r\n'), 'hi');
    expect(await answer).toMatch(/^HTTP\/1\.1 408 .*"code":"APPENDER_STALLED"/s);
    expect([await appends(), (await server.store.stat('a')).tail]).toEqual([false, 2]);
  });

  it('of nothing keeps it: an upload may wait between its chunks, and a WebSocket between its messages', async () => {
    const { socket, answer } = await appender(upload('Transfer-Encoding: chunked\r\n'), '2\r\nhi\r\n');
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await appends()).toBe(true);
    socket.write('1\r\n!\r\n0\r\n\r\n');
    expect(await answer).toMatch(/^HTTP\/1\.1 204/);

    const ws = new WebSocket(`${server.url.replace('http', 'ws')}/a?verb=append`);
    await once(ws, 'open');
    ws.send('more');
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await appends()).toBe(true);
    ws.close();
    await once(ws, 'close');
    expect((await server.store.stat('a')).tail).toBe(7);
  });
});

describe('an appender of which nothing is heard', () => {
  beforeEach(async () => {
    server = await serve({ limits: { heartbeatIntervalMs: 20, appenderSilenceMs: 200 } });
  });

  it('loses its stream: an upload, and a WebSocket that answers no pings', async () => {
    const { answer } = await appender(upload('Transfer-Encoding: chunked\r\n'), '2\r\nhi\r\n');
    expect(await answer).toMatch(/^HTTP\/1\.1 408 .*"code":"APPENDER_STALLED"/s);
    const silent = await appender(HANDSHAKE);
    await until(async () => !(await appends()));
    silent.socket.destroy();
  });

  it('keeps it as long as it answers pings', async () => {
    const ws = new WebSocket(`${server.url.replace('http', 'ws')}/a?verb=append`);
    await once(ws, 'open');
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(await appends()).toBe(true);
    ws.close();
    await once(ws, 'close');
  });
});
