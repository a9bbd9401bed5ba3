import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  hostileSocket,
  RISE_MIB_MAX,
  statusesOf,
  stopAll,
  TURN_MS_MAX,
  WatchedServer,
  type Witness,
} from './watched-server.js';

vi.setConfig({ testTimeout: 150_000 });

afterEach(stopAll);

const MIB = 2 ** 20;
const PIECE = Buffer.alloc(MIB, 'x');
const CLIENTS = 100;

/** Opens connections, and sends each all of that but its last byte. None is waited for. */
async function sendUnfinished(server: WatchedServer, begin: string, bytes: number): Promise<Socket[]> {
  const sockets = await Promise.all(Array.from({ length: CLIENTS }, () => hostileSocket(server.port)));
  for (const [at, socket] of sockets.entries()) {
    socket.write(begin.replaceAll('{at}', String(at)));
    for (let sent = 0; sent < bytes; sent += MIB) socket.write(PIECE.subarray(0, Math.min(MIB, bytes - 1 - sent)));
  }
  return sockets;
}

/** The witness is served as if there was nothing, and memory stays below its bound. */
async function expectBounded(server: WatchedServer, witness: Witness, answers = 1_500): Promise<void> {
  await witness.served(answers);
  await witness.stop();
  expect(server.riseMiB).toBeLessThan(RISE_MIB_MAX);
  expect(witness.worstMs).toBeLessThan(TURN_MS_MAX);
}

describe('100 clients that do not finish what they send', () => {
  it.each([
    ['bodies', 'POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 16777216\r\n\r\n'],
    [
      'first bodies',
      'PUT /y{at} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 16777216\r\n\r\n',
    ],
    [
      'chunked bodies',
      'POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1000000\r\n',
    ],
    ['messages for a hub', 'POST /-/publish?channel=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16777216\r\n\r\n'],
  ])('of 16 MiB: %s', async (_, begin) => {
    const server = await WatchedServer.start();
    await fetch(`${server.url}/x`, { method: 'PUT', headers: { 'Content-Type': 'text/plain' } });
    const witness = server.witness();
    const sockets = await sendUnfinished(server, begin, 16 * MIB);
    await expectBounded(server, witness);
    expect(['408', '503']).toEqual(expect.arrayContaining(statusesOf(sockets)));
    // They do not hold their room for ever: somebody who does finish has his turn.
    const body = Buffer.alloc(8 * MIB, 'y');
    const headers = { 'Content-Type': 'text/plain' };
    for (let status = 0; status !== 201; ) {
      status = await fetch(`${server.url}/finished`, { method: 'PUT', headers, body }).then(
        (answer) => answer.status,
        () => 0,
      );
    }
    for (const socket of sockets) socket.destroy();
  });

  it('whose bodies come in chunks of a byte', async () => {
    const server = await WatchedServer.start();
    await fetch(`${server.url}/x`, { method: 'PUT', headers: { 'Content-Type': 'text/plain' } });
    const witness = server.witness();
    const sockets = await Promise.all(Array.from({ length: 6 }, () => hostileSocket(server.port)));
    const chunks = Buffer.from('1\r\nx\r\n'.repeat(100_000));
    for (const socket of sockets) {
      socket.write(
        'POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n',
      );
      for (let i = 0; i < 5; i++) socket.write(chunks);
    }
    await expectBounded(server, witness, 300);
    expect(statusesOf(sockets)).toEqual([]);
    for (const socket of sockets) socket.destroy();
  });

  it('of less than 64 KiB, and so many that they fill all there is', async () => {
    const server = await WatchedServer.start();
    await fetch(`${server.url}/x`, { method: 'PUT', headers: { 'Content-Type': 'text/plain' } });
    const witness = server.witness();
    const sockets = await Promise.all(Array.from({ length: 1_300 }, () => hostileSocket(server.port)));
    const head = 'POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 64000\r\n\r\n';
    const begin = Buffer.concat([Buffer.from(head), PIECE.subarray(0, 60_000)]);
    for (const socket of sockets) socket.write(begin);
    const refused = new Set<Socket>();
    for (const socket of sockets) {
      socket.once('data', () => refused.add(socket));
      if (socket.writableNeedDrain) await new Promise((resolve) => socket.once('drain', resolve));
    }
    // What is small and whole waits for none of them to be refused.
    await witness.served(2);
    expect(refused.size).toBe(0);
    await expectBounded(server, witness, 20);
    for (const socket of sockets) socket.destroy();
  });
});
