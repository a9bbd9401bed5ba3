import { Buffer } from 'node:buffer';
import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { WebSocket } from 'ws';
import { beatEach, createHeartbeat, type Heartbeat } from '../../src/http/heartbeat.js';
import { dial, serve, type TestServer, until } from './test-server.js';
import { open } from './test-socket.js';

const INTERVAL_MS = 60;

let server: TestServer;

beforeEach(async () => {
  server = await serve({ limits: { heartbeatIntervalMs: INTERVAL_MS } });
});

afterEach(() => server.close());

const isFree = async (path: string) => !(await server.store.stat(path)).appender;

/** Waits for so many beats of the server. */
async function beats(count: number): Promise<void> {
  const session = await server.store.acquire('beats', { create: {} });
  const follower = await open(server, '/beats?verb=follow');
  await until(() => follower.pings.length >= count);
  await session.release();
  await follower.closed;
}

describe('an appender', () => {
  it('is pinged at once, and is never cut off for being idle', async () => {
    const appender = await open(server, '/foo.txt?verb=append');
    await until(() => appender.pings.length > 3);
    await beats(10);
    expect(await isFree('foo.txt')).toBe(false);
    appender.ws.send('still here');
    await until(async () => (await server.store.stat('foo.txt')).tail === 10);
  });

  it('that answered and then falls silent is cut off, and the stream is free', async () => {
    const appender = await open(server, '/foo.txt?verb=append', { autoPong: false });
    // The first ping may have come with the handshake: an answer nobody asked for counts as well.
    appender.ws.pong();
    await until(() => isFree('foo.txt'));
    expect((await appender.closed).code).toBe(1006);
  });

  it('that never answers is not pinged again, nor cut off', async () => {
    const appender = await open(server, '/foo.txt?verb=append', { autoPong: false });
    await beats(10);
    expect(await isFree('foo.txt')).toBe(false);
    expect(appender.pings).toHaveLength(1);
  });

  it('that is an original client is sent nothing at all: it does not read', async () => {
    const socket = await dial(server);
    socket.write(
      'GET /foo.txt HTTP/1.1\r\nHost: x\r\nX-Verb: APPEND\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
    );
    let received = '';
    socket.on('data', (data) => {
      received += data.toString('latin1');
    });
    await until(() => received.endsWith('\r\n\r\n'));
    await beats(5);
    expect(received.endsWith('\r\n\r\n')).toBe(true);
    socket.destroy();
    await until(() => isFree('foo.txt'));
  });

  it('that is held back for too much data is not taken for silent', async () => {
    await server.close();
    server = await serve({ limits: { heartbeatIntervalMs: INTERVAL_MS, appendBufferBytes: 1 } });
    const appender = await open(server, '/foo.txt?verb=append');
    let over = false;
    const ten = beats(10).then(() => {
      over = true;
    });
    let sent = 0;
    while (!over) {
      appender.ws.send(Buffer.alloc(100_000));
      sent += 100_000;
      // No more at a time than the server takes.
      await until(async () => (await server.store.stat('foo.txt')).tail > sent - 1_000_000);
    }
    await ten;
    await until(async () => (await server.store.stat('foo.txt')).tail === sent);
    expect(await isFree('foo.txt')).toBe(false);
  });
});

describe('an appender that has answered', () => {
  /** What the heartbeat sees of a connection. */
  class Connection extends EventEmitter {
    bytesRead = 0;
    isPaused = false;
    pings = 0;
    cutOff = false;
    ping() {
      this.pings++;
    }
    terminate() {
      this.cutOff = true;
    }
  }

  const watch = () => {
    const connection = new Connection();
    heartbeat.watchAppender(connection as unknown as WebSocket, connection);
    connection.emit('pong');
    return connection;
  };

  let heartbeat: Heartbeat;

  beforeEach(() => {
    vi.useFakeTimers();
    heartbeat = createHeartbeat(1600);
  });

  afterEach(() => {
    heartbeat.close();
    vi.useRealTimers();
  });

  it('is cut off after an interval of silence', () => {
    const connection = watch();
    vi.advanceTimersByTime(1600);
    expect(connection).toMatchObject({ pings: 2, cutOff: false });
    vi.advanceTimersByTime(1600);
    expect(connection.cutOff).toBe(true);
  });

  it('lives on while something comes, however far its answers are behind', () => {
    const connection = watch();
    for (let interval = 0; interval < 20; interval++) {
      connection.bytesRead += 1000;
      vi.advanceTimersByTime(1600);
      expect(connection.cutOff).toBe(false);
    }
    vi.advanceTimersByTime(1600);
    expect(connection.cutOff).toBe(true);
  });

  it('lives on while nobody listens to it, and an interval longer', () => {
    const connection = watch();
    connection.isPaused = true;
    vi.advanceTimersByTime(32_000);
    connection.isPaused = false;
    vi.advanceTimersByTime(1600);
    expect(connection.cutOff).toBe(false);
    vi.advanceTimersByTime(1600);
    expect(connection.cutOff).toBe(true);
  });
});

describe('a follower', () => {
  it('is pinged, and owes no answer', async () => {
    const session = await server.store.acquire('foo.txt', { create: {} });
    const follower = await open(server, '/foo.txt?verb=follow', { autoPong: false });
    await until(() => follower.pings.length > 5);
    await session.append(Buffer.from('still served'));
    await follower.has(12);
    await session.release();
    expect((await follower.closed).code).toBe(1000);
  });
});

describe('beats of one interval', () => {
  it('come once each interval, not all in one turn of the event loop, until they are stopped', async () => {
    const counts = new Array<number>(3000).fill(0);
    const beat = (i: number) => {
      counts[i] = (counts[i] as number) + 1;
    };
    const stops = counts.map((_, i) => beatEach(50, () => beat(i)));
    const sum = () => counts.reduce((a, b) => a + b, 0);
    let most = 0;
    let seen = 0;
    let watching = true;
    const watchTurns = () => {
      const now = sum();
      most = Math.max(most, now - seen);
      seen = now;
      if (watching) setImmediate(watchTurns);
    };
    watchTurns();
    await until(() => sum() >= 2 * counts.length);
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
    expect(most).toBeLessThan(counts.length / 2);
    watching = false;
    for (const stop of stops) stop();
    const before = sum();
    let others = 0;
    const stop = beatEach(50, () => void others++);
    await until(() => others === 2);
    stop();
    expect(sum()).toBe(before);
  });
});
