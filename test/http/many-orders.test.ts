import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { createHub, type Hub } from '../../src/hub/index.js';
import { dial, serve, type TestServer, until } from './test-server.js';

let hub: Hub;
let server: TestServer;

beforeEach(async () => {
  hub = createHub('memory:');
  // What is published before that waits, and is answered all at once.
  await hub.connect();
  server = await serve({ hub });
});

afterEach(async () => {
  vi.restoreAllMocks();
  await server.close();
  await hub.close();
});

/** A text frame of a client; a mask of zeros leaves it as it is. */
function frame(text: string): Buffer {
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);
}

describe('thousands of orders that come at once', () => {
  it.each([
    ['that are none', '{}'],
    ['to publish', '{"op":"publish","channels":["a"],"message":1}'],
    ['to subscribe', '{"op":"subscribe","channels":["a"]}'],
  ])('are answered in many turns, in their order: orders %s', async (_kind, order) => {
    const count = 5_000;
    let answers = 0;
    let inThisTurn = 0;
    let most = 0;
    let measuring = true;
    const turn = () => {
      most = Math.max(most, inThisTurn);
      inThisTurn = 0;
      if (measuring) setImmediate(turn);
    };
    const { send } = WebSocket.prototype;
    vi.spyOn(WebSocket.prototype, 'send').mockImplementation(function (this: WebSocket, ...args: unknown[]) {
      answers++;
      inThisTurn++;
      Reflect.apply(send, this, args);
    });
    const socket = await dial(server);
    socket.resume();
    socket.write(
      'GET /-/events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
    );
    socket.write(Buffer.concat(Array.from({ length: count }, () => frame(order))));
    turn();
    await until(() => answers === count);
    measuring = false;
    socket.destroy();
    // So many as a turn's budget has room for, and those of a turn that ended meanwhile.
    expect(most).toBeLessThanOrEqual(130);
  });
});
