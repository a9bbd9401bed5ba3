import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { collectGarbage } from '../garbage-collector.js';
import { dial, serve, type TestServer } from './test-server.js';
import { open } from './test-socket.js';

/** Larger than what the kernel takes for a reader that does not read. */
const STREAM_BYTES = 32 * 1024 * 1024;
const PIECE = Buffer.alloc(256 * 1024, 'The quick brown fox. ');
const PIECES = STREAM_BYTES / PIECE.length;

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

const expected = (() => {
  const hash = createHash('sha256');
  for (let i = 0; i < PIECES; i++) hash.update(PIECE);
  return hash.digest('hex');
})();

/** What Buffers hold that somebody still needs: how much garbage there is beside it is the engine's own affair. */
async function heldBytes(): Promise<number> {
  await collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

/** Reads a chunked body from a socket, and gives the hash of its data. */
async function readChunked(socket: Socket): Promise<string> {
  const hash = createHash('sha256');
  let rest = Buffer.alloc(0);
  let inBody = false;
  for await (const piece of socket) {
    rest = Buffer.concat([rest, piece as Buffer]);
    if (!inBody) {
      const end = rest.indexOf('\r\n\r\n');
      if (end < 0) continue;
      rest = rest.subarray(end + 4);
      inBody = true;
    }
    for (;;) {
      const line = rest.indexOf('\r\n');
      if (line < 0) break;
      const size = Number.parseInt(rest.subarray(0, line).toString(), 16);
      if (rest.length < line + 2 + size + 2) break;
      if (size === 0) return hash.digest('hex');
      hash.update(rest.subarray(line + 2, line + 2 + size));
      rest = rest.subarray(line + 2 + size + 2);
    }
  }
  throw new Error('The body was cut off.');
}

describe('a follower that does not read', () => {
  it('costs the server nothing but its place, holds up nobody, and gets every byte once it reads', {
    timeout: 120_000,
  }, async () => {
    const session = await server.store.acquire('foo.txt', { create: {} });
    const get = 'GET /foo.txt?verb=follow HTTP/1.1\r\nHost: x\r\n\r\n';
    const stuck = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const socket = await dial(server);
        socket.pause();
        socket.write(get);
        return socket;
      }),
    );
    const stuckWebSocket = await open(server, '/foo.txt?verb=follow');
    stuckWebSocket.ws.pause();
    const fast = await dial(server);
    fast.write(get);
    const fastHash = readChunked(fast);
    await new Promise((resolve) => setTimeout(resolve, 50));

    const before = await heldBytes();
    let peak = 0;
    for (let i = 0; i < PIECES; i++) {
      await session.append(PIECE);
      if (i % 16 === 15) peak = Math.max(peak, (await heldBytes()) - before);
    }
    await session.release();
    expect(await fastHash).toBe(expected);
    // The store itself holds the stream, in memory; five stuck readers may not hold it five times more. Between the two
    // are the window of recent bytes and what the sockets have taken.
    expect(peak - STREAM_BYTES).toBeLessThan(STREAM_BYTES / 4);

    expect(await Promise.all(stuck.map(readChunked))).toEqual(stuck.map(() => expected));
    const hash = createHash('sha256');
    stuckWebSocket.ws.resume();
    expect((await stuckWebSocket.closed).code).toBe(1000);
    for (const { data } of stuckWebSocket.messages) hash.update(data);
    expect(hash.digest('hex')).toBe(expected);
  });

  it('is let go when it hangs up', async () => {
    await server.store.create('foo.txt', {});
    const socket = await dial(server);
    socket.pause();
    socket.write('GET /foo.txt?live=raw HTTP/1.1\r\nHost: x\r\n\r\n');
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (let i = 0; i < 64; i++) await server.store.append('foo.txt', { data: PIECE });
    socket.resetAndDestroy();
    const from = Date.now();
    await server.handler.close({ drainMs: 20_000 });
    expect(Date.now() - from).toBeLessThan(5000);
  });
});
