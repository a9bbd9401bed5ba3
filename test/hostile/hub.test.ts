import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { afterEach, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { hostileSocket, RISE_MIB_MAX, stopAll, TURN_MS_MAX, WatchedServer } from './watched-server.js';

vi.setConfig({ testTimeout: 240_000 });

afterEach(stopAll);

const MIB = 2 ** 20;
const LARGE = 16 * MIB - 64;

const objects = Buffer.from(`[${'{},'.repeat(LARGE / 3 - 1)}{}]`);
const lineBreaks = Buffer.alloc(LARGE, '\n');
const binary = Buffer.alloc(LARGE, 0xff);

/** Publishes, and answers the status; 0 where the connection was cut off. */
async function publish(
  server: WatchedServer,
  channel: string,
  body: Buffer,
  type = 'application/json',
): Promise<number> {
  try {
    const response = await fetch(`${server.url}/-/publish?channel=${channel}`, {
      method: 'POST',
      headers: { 'Content-Type': type },
      body: new Uint8Array(body),
    });
    return response.status;
  } catch {
    return 0;
  }
}

/** A reader of events; it reads only where it is told to. */
async function follow(server: WatchedServer, channel: string, reads: boolean): Promise<Socket> {
  const socket = await hostileSocket(server.port);
  socket.write(`GET /-/events?channel=${channel} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  const head = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
  expect(head.toString()).toMatch(/^HTTP\/1.1 200 /);
  if (reads) socket.resume();
  else socket.pause();
  return socket;
}

async function expectUnharmed(server: WatchedServer, witness: ReturnType<WatchedServer['witness']>) {
  await witness.served(50);
  await witness.stop();
  expect(server.riseMiB).toBeLessThan(RISE_MIB_MAX);
  expect(witness.worstMs).toBeLessThan(TURN_MS_MAX);
}

it('a history of large JSON is kept as bytes, however many objects it stands for', async () => {
  const server = await WatchedServer.start();
  const witness = server.witness();
  for (let count = 0; count < 13; count++) expect(await publish(server, `c${count}`, objects)).toBe(204);
  await expectUnharmed(server, witness);
});

it.each([
  ['line breaks', lineBreaks, 'text/plain'],
  ['bytes that are no text', binary, 'application/octet-stream'],
  ['JSON of many objects', objects, 'application/json'],
])('a large message costs little more than its bytes for a reader of events: %s', async (_, body, type) => {
  // Nor does it take a heap of more than 512 MB.
  const server = await WatchedServer.start(['--memory'], { nodeOptions: ['--max-old-space-size=512'] });
  const witness = server.witness();
  const reader = await follow(server, 'a', true);
  let taken = 0;
  let told = () => {};
  reader.on('data', ({ length }) => {
    taken += length;
    told();
  });
  const before = server.loopMs;
  for (let count = 1; count <= 3; count++) {
    expect(await publish(server, 'a', body, type)).toBe(204);
    await new Promise<void>((resolve) => {
      told = () => taken >= count * LARGE && resolve();
      told();
    });
  }
  // Three messages; one alone took several seconds when it was made into text or objects.
  expect(server.loopMs - before).toBeLessThan(9_000);
  await expectUnharmed(server, witness);
  reader.destroy();
});

it('readers that do not read pin no more than is theirs, on one channel and on many', async () => {
  const server = await WatchedServer.start();
  const witness = server.witness();
  const sleepers = [await follow(server, 'one', false)];
  for (let count = 0; count < 12; count++) sleepers.push(await follow(server, `c${count}`, false));
  const reader = await follow(server, 'one', true);
  for (let round = 0; round < 3; round++) {
    for (let count = 0; count < 10; count++) expect(await publish(server, 'one', binary, 'image/png')).toBe(204);
    for (let count = 0; count < 12; count++) expect(await publish(server, `c${count}`, binary, 'image/png')).toBe(204);
  }
  await expectUnharmed(server, witness);
  for (const socket of [...sleepers, reader]) socket.destroy();
});

it('the same over WebSocket', async () => {
  const server = await WatchedServer.start();
  const witness = server.witness();
  const channels = Array.from({ length: 12 }, (_, at) => `c${at}`);
  const sleepers = channels.map(
    (channel) => new WebSocket(`${server.url.replace('http', 'ws')}/-/events?channel=${channel}`),
  );
  for (const ws of sleepers) {
    ws.on('error', () => {});
    await new Promise((resolve) => ws.once('message', resolve));
    ws.pause();
  }
  for (let round = 0; round < 4; round++) {
    for (const channel of channels) expect(await publish(server, channel, objects)).toBe(204);
  }
  await expectUnharmed(server, witness);
  for (const ws of sleepers) ws.terminate();
});

it('orders over WebSocket are read in slices, and what they publish is no object', async () => {
  const server = await WatchedServer.start();
  const witness = server.witness();
  const ws = new WebSocket(`${server.url.replace('http', 'ws')}/-/events`);
  ws.on('error', () => {});
  await new Promise((resolve) => ws.once('open', resolve));
  const answers: unknown[] = [];
  const answered = new Promise<void>((resolve) => {
    ws.on('message', (data) => {
      if (answers.push(JSON.parse(String(data))) === 6) resolve();
    });
  });
  const inner = objects.subarray(0, LARGE - 100);
  const message = `[${'{},'.repeat(5 * MIB)}{}]`;
  for (let count = 0; count < 3; count++) ws.send(`{"op":"publish","channels":["a${count}"],"message":${message}}`);
  ws.send(`{"op":"publish","channels":["b"],"base64":"${inner.toString('base64').slice(0, 12 * MIB)}"}`);
  ws.send(`{"op":"subscribe","channels":${message}}`);
  ws.send(`{"op":"subscribe","channels":["z"],"ref":${message}}`);
  await answered;
  expect(answers).toEqual([
    ...Array.from({ length: 4 }, () => ({ op: 'ok' })),
    ...Array.from({ length: 2 }, () => expect.objectContaining({ op: 'error', code: 'INVALID_REQUEST' })),
  ]);
  await expectUnharmed(server, witness);
  ws.terminate();
});
