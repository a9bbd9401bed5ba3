import { Buffer } from 'node:buffer';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
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

const directories: string[] = [];
afterEach(async () => {
  await stopAll();
  await Promise.all(directories.splice(0).map((directory) => rm(directory, { recursive: true, force: true })));
});

const MIB = 2 ** 20;
const PIECE = Buffer.alloc(MIB, 'x');

function handshake(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`;
}

/** The head of a masked frame. The mask changes nothing. */
function frameHead(first: number, bytes: number): Buffer {
  const head = Buffer.alloc(14);
  head[0] = first;
  head[1] = 0xff;
  head.writeBigUInt64BE(BigInt(bytes), 2);
  return head;
}

async function connectAll(server: WatchedServer, count: number): Promise<Socket[]> {
  return Promise.all(Array.from({ length: count }, () => hostileSocket(server.port)));
}

async function expectBounded(server: WatchedServer, witness: Witness, answers: number): Promise<void> {
  await witness.served(answers);
  await witness.stop();
  expect(server.riseMiB).toBeLessThan(RISE_MIB_MAX);
  expect(witness.worstMs).toBeLessThan(TURN_MS_MAX);
}

it.each([
  ['appenders', '/a{at}?verb=append'],
  ['appenders of messages', '/a{at}.json?verb=append&contentType=application/json'],
  ['followers', '/x?live=ws'],
  ['clients of a hub', '/-/events'],
])('100 half frames of 16 MiB of %s are bounded', async (_, path) => {
  const server = await WatchedServer.start();
  await fetch(`${server.url}/x`, { method: 'PUT', headers: { 'Content-Type': 'text/plain' } });
  const witness = server.witness();
  const sockets = await connectAll(server, 100);
  for (const [at, socket] of sockets.entries()) {
    socket.write(handshake(path.replace('{at}', String(at))));
    socket.write(frameHead(0x81, 16 * MIB));
    for (let i = 0; i < 15; i++) socket.write(PIECE);
  }
  await expectBounded(server, witness, 1_500);
  expect(statusesOf(sockets)).toEqual(['101']);
  for (const socket of sockets) socket.destroy();
});

it('100 messages in fragments that do not end are bounded', async () => {
  const server = await WatchedServer.start();
  const witness = server.witness();
  const sockets = await connectAll(server, 100);
  for (const [at, socket] of sockets.entries()) {
    socket.write(handshake(`/a${at}?verb=append`));
    for (let i = 0; i < 15; i++) socket.write(Buffer.concat([frameHead(i === 0 ? 0x02 : 0x00, MIB), PIECE]));
  }
  await expectBounded(server, witness, 1_500);
  expect(statusesOf(sockets)).toEqual(['101']);
  for (const socket of sockets) socket.destroy();
});

it.each(['/a{at}?verb=append', '/-/events'])('what is refused of %s is not gathered', async (path) => {
  const server = await WatchedServer.start();
  const witness = server.witness();
  const sockets = await connectAll(server, 60);
  const ends: Promise<unknown>[] = [];
  for (const [at, socket] of sockets.entries()) {
    ends.push(new Promise((resolve) => socket.once('close', resolve)));
    socket.write(handshake(path.replace('{at}', String(at))));
    socket.write(frameHead(0x81, 16 * MIB));
    for (let i = 0; i < 15; i++) socket.write(PIECE);
  }
  // More than would fit were it kept. The last ones have room, and wait for the rest.
  let ended = 0;
  await new Promise<void>((resolve) => {
    for (const end of ends) void end.then(() => ++ended === 40 && resolve());
  });
  await expectBounded(server, witness, 1);
  for (const socket of sockets) socket.destroy();
});

it('200 messages in fragments of a byte are bounded', async () => {
  const server = await WatchedServer.start();
  const witness = server.witness();
  const sockets = await connectAll(server, 200);
  const fragment = Buffer.concat([frameHead(0x00, 1), Buffer.from('a')]);
  // Fewer than the receiver refuses by itself.
  const fragments = Buffer.concat(Array.from({ length: 15_000 }, () => fragment));
  for (const [at, socket] of sockets.entries()) {
    socket.write(handshake(`/a${at}?verb=append`));
    socket.write(Buffer.concat([frameHead(0x02, 1), Buffer.from('a')]));
    socket.write(fragments);
  }
  await expectBounded(server, witness, 3_000);
  for (const socket of sockets) socket.destroy();
});

it('100 lines of uploads that do not end are bounded', async () => {
  const server = await WatchedServer.start();
  const witness = server.witness();
  const sockets = await connectAll(server, 100);
  for (const [at, socket] of sockets.entries()) {
    socket.write(
      `PUT /a${at}?verb=append HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"`,
    );
    for (let i = 0; i < 15; i++) socket.write(PIECE);
  }
  await expectBounded(server, witness, 1_500);
  expect(['', '408', '503']).toEqual(expect.arrayContaining(statusesOf(sockets)));
  for (const socket of sockets) socket.destroy();
});

it('150 appenders before a slow disk are bounded, and nothing of theirs is lost', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-hostile-'));
  directories.push(directory);
  // A disk that takes its time for each sync.
  const slowDisk = join(directory, 'slow-disk.mjs');
  await writeFile(
    slowDisk,
    `import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    const { fdatasync } = fs;
    fs.fdatasync = (fd, done) => setTimeout(() => fdatasync(fd, done), 50);
    syncBuiltinESMExports();`,
  );
  const server = await WatchedServer.start(['--root', join(directory, 'data')], {
    nodeOptions: ['--import', slowDisk],
  });
  const witness = server.witness();
  const sockets = await connectAll(server, 150);
  const BYTES = 5 * MIB;
  for (const [at, socket] of sockets.entries()) {
    socket.write(
      `PUT /a${at}?verb=append HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: ${BYTES}\r\n\r\n`,
    );
    for (let sent = 0; sent < BYTES; sent += MIB) socket.write(PIECE);
  }
  const answers = sockets.map(
    (socket) => new Promise((resolve) => socket.once('data', (data: Buffer) => resolve(String(data).slice(9, 12)))),
  );
  expect(new Set(await Promise.all(answers))).toEqual(new Set(['204']));
  await expectBounded(server, witness, 1);
  for (const socket of sockets) socket.destroy();
});
