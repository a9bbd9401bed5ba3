import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { afterEach, expect, it, vi } from 'vitest';
import { temporaryDirectory } from '../cli/commands.js';
import { hostileSocket, RISE_MIB_MAX, stopAll, TURN_MS_MAX, WatchedServer } from './watched-server.js';

/**
 * Clients that do nothing wrong, only much of it at a time: everything that they send is large, whole, and taken. What the
 * server has of it at one time is bounded, and so is what it is slow to give back.
 */

vi.setConfig({ testTimeout: 240_000 });

afterEach(stopAll);

const MIB = 2 ** 20;
const CLIENTS = 30;
const ROUNDS = 2;
const BODY_BYTES = 15 * MIB;
const PIECE = Buffer.alloc(MIB, 'x');

/** Bytes of that length that begin and end as they are told to, as pieces. */
function filled(bytes: number, begin = '', end = ''): Buffer[] {
  const pieces = [Buffer.from(begin)];
  for (let rest = bytes - begin.length - end.length; rest > 0; rest -= MIB) pieces.push(PIECE.subarray(0, rest));
  pieces.push(Buffer.from(end));
  return pieces;
}

const text = filled(BODY_BYTES);
const json = filled(BODY_BYTES, '["', '"]');
const chunked = [Buffer.from(`${BODY_BYTES.toString(16)}\r\n`), ...text, Buffer.from('\r\n0\r\n\r\n')];

function head(target: string, type: string, framing = `Content-Length: ${BODY_BYTES}`): Buffer {
  return Buffer.from(`${target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${type}\r\n${framing}\r\n\r\n`);
}

const CHUNKED = 'Transfer-Encoding: chunked';

/** What one client sends in one round, after which it waits for the answer. */
type Door = readonly [name: string, status: string, request: (client: number, round: number) => readonly Buffer[]];

const doors: Door[] = [
  ['appends to one stream', '204', () => [head('POST /x', 'text/plain'), ...text]],
  ['appends to a stream each', '204', (client) => [head(`POST /x${client}`, 'text/plain'), ...text]],
  ['appends in chunks', '204', () => [head('POST /x', 'text/plain', CHUNKED), ...chunked]],
  ['appends of JSON', '204', () => [head('POST /j', 'application/json'), ...json]],
  ['first bodies', '201', (client, round) => [head(`PUT /first${client}-${round}`, 'text/plain'), ...text]],
  [
    'first bodies of JSON',
    '201',
    (client, round) => [head(`PUT /first${client}-${round}`, 'application/json'), ...json],
  ],
  ['bytes for a hub', '204', () => [head('POST /-/publish?channel=a', 'application/octet-stream'), ...text]],
  ['JSON for a hub', '204', () => [head('POST /-/publish?channel=a', 'application/json'), ...json]],
  ['uploads', '204', (client) => [head(`PUT /up${client}?verb=append`, 'text/plain', CHUNKED), ...chunked]],
  ['uploads of JSON', '204', (client) => [head(`PUT /up${client}?verb=append`, 'application/json'), ...json]],
];

async function start(): Promise<WatchedServer> {
  const server = await WatchedServer.start(['--root', await temporaryDirectory()]);
  const create = (path: string, type: string) =>
    fetch(`${server.url}/${path}`, { method: 'PUT', headers: { 'Content-Type': type } });
  await create('x', 'text/plain');
  await create('j', 'application/json');
  for (let at = 0; at < CLIENTS; at++) await create(`x${at}`, 'text/plain');
  return server;
}

/** Runs the clients, all at a time, beside a witness. */
async function attack(server: WatchedServer, run: (socket: Socket, client: number) => Promise<void>): Promise<void> {
  const witness = server.witness();
  await Promise.all(Array.from({ length: CLIENTS }, async (_, at) => run(await hostileSocket(server.port), at)));
  await witness.served(10);
  await witness.stop();
  expect(server.riseMiB).toBeLessThan(RISE_MIB_MAX);
  expect(witness.worstMs).toBeLessThan(TURN_MS_MAX);
}

/** What comes next on the connection; nothing where it ends. */
function next(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    socket.once('data', resolve).once('close', () => resolve(Buffer.alloc(0)));
  });
}

it.each(doors)('30 clients with 15 MiB each, again and again: %s', async (_, status, request) => {
  const server = await start();
  await attack(server, async (socket, client) => {
    for (let round = 0; round < ROUNDS; round++) {
      const answer = next(socket);
      for (const piece of request(client, round)) socket.write(piece);
      expect((await answer).toString('latin1', 9, 12)).toBe(status);
    }
    socket.destroy();
  });
});

const CLOSE = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]);

/** A masked frame; the mask changes nothing. */
function frame(first: number, payload: readonly Buffer[]): Buffer[] {
  const begin = Buffer.alloc(14);
  begin[0] = first;
  begin[1] = 0xff;
  begin.writeBigUInt64BE(BigInt(payload.reduce((sum, { length }) => sum + length, 0)), 2);
  return [begin, ...payload];
}

function handshake(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`;
}

it.each([
  ['appenders', '/a{at}?verb=append', frame(0x82, filled(16 * MIB))],
  ['appenders of text', '/a{at}?verb=append', frame(0x81, filled(16 * MIB))],
  ['appenders of JSON', '/a{at}.json?verb=append&contentType=application/json', frame(0x81, json)],
  ['publishers', '/-/events', frame(0x81, filled(BODY_BYTES, '{"op":"publish","channels":["a"],"message":"', '"}'))],
  ['publishers of nonsense', '/-/events', frame(0x81, filled(BODY_BYTES, '{"op":"none","message":"', '"}'))],
])('30 WebSockets with large messages: %s', async (_, path, message) => {
  const server = await start();
  await attack(server, async (socket, client) => {
    socket.write(handshake(path.replace('{at}', String(client))));
    expect((await next(socket)).toString('latin1', 9, 12)).toBe('101');
    let received = Buffer.alloc(0);
    socket.on('data', (data: Buffer) => {
      received = Buffer.concat([received, data]);
    });
    const ended = new Promise((resolve) => socket.once('close', resolve));
    for (let round = 0; round < ROUNDS; round++) for (const piece of message) socket.write(piece);
    socket.write(CLOSE);
    await ended;
    // The answer to the close: all that came before it is done.
    expect(received.subarray(-4)).toEqual(Buffer.from([0x88, 0x02, 0x03, 0xe8]));
  });
});
