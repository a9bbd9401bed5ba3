import { createServer, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { append, openAppend } from '../../src/client/append.js';
import { follow } from '../../src/client/follow.js';
import { head } from '../../src/client/requests.js';
import { APPEND_PROTOCOL } from '../../src/wire/append-protocol.js';
import { collect, type StreamServer, startStreamServer } from './stream-server.js';

const running: { close(): unknown }[] = [];
afterEach(async () => {
  vi.unstubAllGlobals();
  await Promise.all(running.splice(0).map((each) => each.close()));
});

/** A server that speaks as the test says, and not as Millrace does. */
async function peer(onConnection: (ws: WebSocket, requestUrl: string) => void): Promise<string> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => APPEND_PROTOCOL });
  server.on('connection', (ws, request) => onConnection(ws, request.url ?? ''));
  await new Promise((resolve) => server.once('listening', resolve));
  running.push({
    close: () => {
      for (const client of server.clients) client.terminate();
      server.close();
    },
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/a.bin`;
}

/** A web server that has never heard of Millrace. */
async function webServer(answer: (server: Server) => void): Promise<string> {
  const server = createServer();
  answer(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  running.push({
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/a.txt`;
}

const control = (offset: number) => JSON.stringify({ streamNextOffset: String(offset).padStart(16, '0') });
const welcome = JSON.stringify({
  type: 'welcome',
  offset: '0000000000000000',
  contentType: 'text/plain',
  json: false,
  frameBytesMax: 16 * 1024 * 1024,
  committed: null,
});
const chunkBytes = 1024 * 1024;
const chunks = 48;

describe('a follower that is slower than the stream', () => {
  it('holds the server back: little more than receivedBytesMax is taken from it', async () => {
    let unsent = () => 0;
    const url = await peer((ws) => {
      unsent = () => ws.bufferedAmount;
      for (let i = 1; i <= chunks; i++) {
        ws.send(new Uint8Array(chunkBytes));
        ws.send(control(i * chunkBytes));
      }
      ws.close(1000);
    });
    const reader = follow(url, { receivedBytesMax: 64 * 1024 })[Symbol.asyncIterator]();
    let bytes = (await reader.next()).value?.length ?? 0;
    await new Promise((resolve) => setTimeout(resolve, 300));
    // The rest is in the buffers of the kernel.
    expect(unsent()).toBeGreaterThan((chunks / 2) * chunkBytes);
    for (let next = await reader.next(); !next.done; next = await reader.next()) bytes += next.value.length;
    expect(bytes).toBe(chunks * chunkBytes);
  });

  it('leaves at once, and does not read what it was sent', async () => {
    let gone: Promise<unknown> | undefined;
    const url = await peer((ws) => {
      gone = new Promise((resolve) => ws.on('close', resolve));
      for (let i = 1; i <= chunks; i++) {
        ws.send(new Uint8Array(chunkBytes));
        ws.send(control(i * chunkBytes));
      }
    });
    const reader = follow(url, { receivedBytesMax: 64 * 1024 })[Symbol.asyncIterator]();
    await reader.next();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const started = performance.now();
    await reader.return?.();
    await gone;
    expect(performance.now() - started).toBeLessThan(2_500);
  });

  it('lets go of a connection that cannot be paused, and makes a new one for the rest', async () => {
    // What a browser has: a WebSocket of its own, and no way to pause it.
    vi.stubGlobal('Bun', {});
    vi.stubGlobal('WebSocket', WebSocket);
    const starts: number[] = [];
    const url = await peer((ws, requestUrl) => {
      const start = Number(new URL(requestUrl, 'http://localhost').searchParams.get('offset')?.replace('-1', '0'));
      starts.push(start);
      for (let end = start + chunkBytes; end <= 8 * chunkBytes; end += chunkBytes) {
        ws.send(new Uint8Array(chunkBytes).fill(end / chunkBytes));
        ws.send(control(end));
      }
      ws.close(1000);
    });
    const values: (number | undefined)[] = [];
    for await (const chunk of follow(url, { receivedBytesMax: 2 * chunkBytes, retryDelayMinMs: 1 })) {
      values.push(chunk[0]);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(values).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(starts.length).toBeGreaterThan(1);
    expect(starts.slice(1).every((start) => start > 0)).toBe(true);
  });
});

describe('a client without the package ws', () => {
  it('asks once more why its WebSocket was refused', async () => {
    vi.stubGlobal('Bun', {});
    vi.stubGlobal('WebSocket', WebSocket);
    const server: StreamServer = await startStreamServer();
    running.push({ close: () => server.kill() });
    await expect(collect(follow(`${server.url}/none.txt`))).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
    await append(`${server.url}/a.txt`, 'x');
    expect((await collect(follow(`${server.url}/a.txt`))).toString()).toBe('x');
    const first = await openAppend(`${server.url}/a.txt`);
    await expect(append(`${server.url}/a.txt`, 'y')).rejects.toMatchObject({ code: 'APPENDER_ACTIVE' });
    await first.close();
    await server.kill();
    await expect(append(`${server.url}/a.txt`, 'y')).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
  });

  it('says that it cannot set headers on a WebSocket', async () => {
    vi.stubGlobal('Bun', {});
    vi.stubGlobal('WebSocket', WebSocket);
    const headers = { authorization: 'Bearer token' };
    await expect(append('http://127.0.0.1:9/a.txt', 'x', { headers })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
  });
});

describe('a server that is not what it should be', () => {
  it.each<[what: string, messages: readonly (string | Uint8Array)[]]>([
    ['data in text messages', ['text']],
    ['an offset that does not fit the data', [new Uint8Array(3), control(4)]],
    ['JSON that says nothing', ['{}']],
  ])('a follower refuses %s', async (_what, messages) => {
    const url = await peer((ws) => {
      for (const message of messages) ws.send(message);
    });
    await expect(collect(follow(url))).rejects.toMatchObject({ code: 'UNEXPECTED_RESPONSE' });
  });

  it.each<[what: string, messages: readonly (string | Uint8Array)[]]>([
    ['data', [new Uint8Array(3)]],
    ['no JSON', ['hello']],
    ['a welcome without its fields', ['{"type":"welcome"}']],
    ['an acknowledgement of what was never sent', [welcome, '{"type":"ack","offset":"0000000000000009","seq":7}']],
  ])('an appender refuses %s', async (_what, messages) => {
    const url = await peer((ws) => {
      for (const message of messages) ws.send(message);
    });
    const silent = new ReadableStream<string>();
    await expect(append(url, silent)).rejects.toMatchObject({ code: 'UNEXPECTED_RESPONSE' });
  });

  it('an appender refuses a server without its subprotocol', async () => {
    const url = await peer(() => undefined);
    const plain = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => false });
    await new Promise((resolve) => plain.once('listening', resolve));
    running.push({ close: () => plain.close() });
    const other = url.replace(/:\d+/, `:${(plain.address() as AddressInfo).port}`);
    await expect(append(other, 'x')).rejects.toMatchObject({ name: 'MillraceError' });
  });

  it('is told apart from a refusal by Millrace', async () => {
    const url = await webServer((server) => {
      server.on('request', (_req, res) => res.writeHead(401).end('<h1>Log in</h1>'));
      server.on('upgrade', (_req, socket) => socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nLogin'));
    });
    const expected = { code: 'UNEXPECTED_RESPONSE', details: { status: 401 } };
    await expect(append(url, 'x')).rejects.toMatchObject(expected);
    await expect(collect(follow(url))).rejects.toMatchObject(expected);
    await expect(head(url)).rejects.toMatchObject(expected);
  });

  it('does not answer: an attempt to connect has its limit', async () => {
    const sockets = new Set<Socket>();
    const url = await webServer((server) => {
      server.on('connection', (socket) => sockets.add(socket));
      server.on('upgrade', () => undefined);
    });
    const options = { connectTimeoutMs: 100 };
    await expect(append(url, 'x', options)).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    await expect(collect(follow(url, options))).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    await expect(head(url, options)).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    for (const socket of sockets) socket.destroy();
  });

  it('says hello and nothing more: the welcome has its limit', async () => {
    const url = await peer(() => undefined);
    await expect(append(url, 'x', { connectTimeoutMs: 100 })).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
  });

  it('says hello and nothing more: an aborted signal ends the wait for the welcome', async () => {
    const controller = new AbortController();
    let gone: Promise<unknown> | undefined;
    const url = await peer((ws) => {
      gone = new Promise((resolve) => ws.on('close', resolve));
      setTimeout(() => controller.abort(new Error('enough')), 50);
    });
    await expect(append(url, 'x', { signal: controller.signal })).rejects.toThrow('enough');
    await gone;
  });

  it('goes silent: the connection is given up after two heartbeats, and made anew', async () => {
    let connections = 0;
    const url = await peer((ws) => {
      connections++;
      if (connections > 1) {
        ws.send(new Uint8Array(1));
        ws.send(control(1));
        ws.close(1000);
        return;
      }
      ws.send(control(0));
      // As if the network were gone: nothing is read any more, so no ping is answered.
      ws.pause();
    });
    const options = { heartbeatMs: 50, retryDelayMinMs: 1 };
    expect((await collect(follow(url, options))).length).toBe(1);
    expect(connections).toBeGreaterThanOrEqual(2);
  });
});
