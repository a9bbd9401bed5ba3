import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { afterEach, expect, it, vi } from 'vitest';
import { temporaryDirectory } from '../cli/commands.js';
import {
  hostileSocket,
  RISE_MIB_MAX,
  sendWhileTaken,
  statusesOf,
  stopAll,
  TURN_MS_MAX,
  WatchedServer,
} from './watched-server.js';

vi.setConfig({ testTimeout: 120_000 });

afterEach(stopAll);

const REQUEST = 'GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n';
/** Some 64 KiB of requests. */
const BATCH = Buffer.from(REQUEST.repeat(2_400));

function* batches(bytes: number): Generator<Uint8Array> {
  for (let sent = 0; sent < bytes; sent += BATCH.length) yield BATCH;
}

it.each([
  ['a live read', 'GET /x?live=raw HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['a read by server-sent events', 'GET /x?live=sse&offset=now HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['a long-poll', 'GET /x?live=long-poll&offset=now HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['events of a hub', 'GET /-/events?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  [
    'an upload that does not end',
    'POST /x?verb=append HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n',
  ],
  [
    'an upgrade',
    'GET /x?live=ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  ],
  [
    'an upgrade that is not taken up',
    'GET /x?live=raw HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
  ],
])('requests that are pipelined behind %s are not read without end', async (_, first) => {
  const server = await WatchedServer.start();
  await fetch(`${server.url}/x`, { method: 'PUT', headers: { 'Content-Type': 'text/plain' } });
  const witness = server.witness();
  const socket = await hostileSocket(server.port);
  socket.write(first);
  await sendWhileTaken(socket, batches(80 * 2 ** 20), witness);
  await witness.served(100);
  await witness.stop();
  expect(server.riseMiB).toBeLessThan(RISE_MIB_MAX);
  expect(witness.worstMs).toBeLessThan(TURN_MS_MAX);
  expect(['101', '200', '204']).toEqual(expect.arrayContaining(statusesOf([socket])));
  socket.destroy();
});

it('requests behind live reads on many connections are bounded together', async () => {
  const server = await WatchedServer.start();
  await fetch(`${server.url}/x`, { method: 'PUT', headers: { 'Content-Type': 'text/plain' } });
  const witness = server.witness();
  const sockets = await Promise.all(Array.from({ length: 24 }, () => hostileSocket(server.port)));
  for (const socket of sockets) {
    socket.write('GET /x?live=raw HTTP/1.1\r\nHost: localhost\r\n\r\n');
    for (const batch of batches(2 ** 20)) socket.write(batch);
  }
  await witness.served(400);
  await witness.stop();
  expect(server.riseMiB).toBeLessThan(RISE_MIB_MAX);
  expect(witness.worstMs).toBeLessThan(TURN_MS_MAX);
  for (const socket of sockets) socket.destroy();
});

/** Resolves with how many requests were answered with 204, when it were so many or the connection is over. */
function answers(socket: Socket, wanted: number): Promise<number> {
  return new Promise((resolve) => {
    let text = '';
    const count = () => text.split('HTTP/1.1 204').length - 1;
    socket.on('data', (data: Buffer) => {
      text += data.toString('latin1');
      if (count() === wanted) resolve(wanted);
    });
    socket.once('close', () => resolve(count()));
  });
}

it.each([
  [40, 10_000],
  [64, 60_000],
])('%i appends of %i bytes, pipelined on each of 200 connections, are bounded and taken', async (count, bytes) => {
  const server = await WatchedServer.start(['--root', await temporaryDirectory()]);
  await fetch(`${server.url}/x`, { method: 'PUT', headers: { 'Content-Type': 'application/octet-stream' } });
  const witness = server.witness();
  const head = `POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: ${bytes}\r\n\r\n`;
  const requests = Buffer.from(`${head}${'x'.repeat(bytes)}`.repeat(count));
  const sockets = await Promise.all(Array.from({ length: 200 }, () => hostileSocket(server.port)));
  const answered = sockets.map((socket) => answers(socket, count));
  for (const socket of sockets) socket.write(requests);
  expect(new Set(await Promise.all(answered))).toEqual(new Set([count]));
  await witness.served(1);
  await witness.stop();
  expect(server.riseMiB).toBeLessThan(RISE_MIB_MAX);
  expect(witness.worstMs).toBeLessThan(TURN_MS_MAX);
  for (const socket of sockets) socket.destroy();
});
