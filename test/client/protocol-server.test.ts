import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { DurableStreamTestServer } from '@durable-streams/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { append, openAppend } from '../../src/client/append.js';
import { follow } from '../../src/client/follow.js';
import { close, create, head, read } from '../../src/client/requests.js';

/** Our client against the reference server of the protocol, which knows neither our WebSockets nor our offsets. */

const quick = { retryDelayMinMs: 5, retryDelayMaxMs: 20 };

let server: DurableStreamTestServer;
beforeEach(async () => {
  server = new DurableStreamTestServer({ port: 0, longPollTimeout: 200 });
  await server.start();
});
const closing: (() => unknown)[] = [];
afterEach(async () => {
  vi.unstubAllGlobals();
  for (const end of closing.splice(0)) await end();
  await server.stop();
});

const contentOf = async (url: string) => Buffer.from((await read(url)).data).toString();

async function textOf(pieces: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const piece of pieces) text += piece;
  return text;
}

/** Passes connections on to the server. Once told to, cuts each after so many bytes of an answer, so often. */
async function cutting(afterBytes: number) {
  const { port } = new URL(server.url);
  const sockets = new Set<Socket>();
  let left = 0;
  const proxy = createTcpServer((socket) => {
    const upstream = connect(Number(port), '127.0.0.1');
    sockets.add(socket).add(upstream);
    let bytes = 0;
    upstream.on('data', (data) => {
      bytes += data.length;
      if (bytes > afterBytes && left > 0) {
        left--;
        socket.write(data.subarray(0, Math.max(0, data.length - (bytes - afterBytes))));
        socket.destroySoon();
        upstream.destroy();
      } else socket.write(data);
    });
    socket.on('data', (data) => upstream.write(data));
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    proxy.close();
    for (const socket of sockets) socket.destroy();
  });
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/a`,
    cut(times: number) {
      left = times;
    },
    get left() {
      return left;
    },
  };
}

describe('append to another Durable Streams server', () => {
  it('makes the stream, of the type that was asked for, and says where it ends', async () => {
    const url = `${server.url}/a`;
    const result = await append(url, ['one ', Buffer.from('two')], { contentType: 'text/plain' });
    expect(result).toEqual({ offset: (await head(url)).offset, bytes: 7 });
    expect(await head(url)).toMatchObject({ contentType: 'text/plain', closed: false });
    expect(await contentOf(url)).toBe('one two');
  });

  it('appends to what is there, messages to a JSON stream', async () => {
    const url = `${server.url}/a`;
    await create(url, { contentType: 'application/json' });
    await append(url, ['{"n":1}', '[2,3]', Buffer.from('4\n5')]);
    expect(JSON.parse(await contentOf(url))).toEqual([{ n: 1 }, 2, 3, 4, 5]);
  });

  it('closes the stream if told to, and says that one is closed', async () => {
    const url = `${server.url}/a`;
    await append(url, 'all', { closeStream: true });
    expect((await head(url)).closed).toBe(true);
    await expect(append(url, 'more')).rejects.toMatchObject({ code: 'STREAM_CLOSED' });
  });

  it('appends exactly once over connections that break', async () => {
    const proxy = await cutting(150);
    await create(`${server.url}/a`, { contentType: 'text/plain' });
    const writer = (await openAppend(proxy.url, { ...quick, frameBytesMax: 1000 })).getWriter();
    proxy.cut(5);
    let expected = '';
    for (let i = 0; i < 300; i++) {
      const line = `${i} ${'x'.repeat(900)}\n`;
      expected += line;
      await writer.write(line);
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await writer.close();
    expect(proxy.left).toBe(0);
    expect(await contentOf(`${server.url}/a`)).toBe(expected);
  });

  it('is over when a newer one of the same name has begun', async () => {
    const url = `${server.url}/a`;
    await create(url, { contentType: 'text/plain' });
    const old = (await openAppend(url, { producerId: 'p', epoch: 1 })).getWriter();
    await old.write('old ');
    await vi.waitFor(async () => expect(await contentOf(url)).toBe('old '));
    await append(url, 'new', { producerId: 'p', epoch: 2 });
    void old.write('late').catch(() => undefined);
    await expect(old.close()).rejects.toMatchObject({ code: 'PRODUCER_FENCED' });
    expect(await contentOf(url)).toBe('old new');
  });

  it('refuses a web server that knows no streams, whatever it answers', async () => {
    for (const status of [200, 404, 405]) {
      const web = createServer((_, res) => res.writeHead(status).end('hello'));
      await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
      closing.push(() => web.close().closeAllConnections());
      const url = `http://127.0.0.1:${(web.address() as AddressInfo).port}/a`;
      await expect(append(url, 'x')).rejects.toMatchObject({ code: 'UNEXPECTED_RESPONSE' });
      const code = status === 404 ? 'STREAM_NOT_FOUND' : 'UNEXPECTED_RESPONSE';
      await expect(textOf(follow(url).text())).rejects.toMatchObject({ code });
    }
  });
});

describe('follow of another Durable Streams server', () => {
  const url = () => `${server.url}/a`;

  it('reads to the tail, and goes on from there with the offset that it has', async () => {
    await append(url(), 'one ');
    const first = follow(url());
    expect(await textOf(first.text())).toBe('one ');
    await append(url(), 'two');
    expect(await textOf(follow(url(), { offset: first.offset }).text())).toBe('two');
    expect(await textOf(follow(url(), { offset: 'now' }).text())).toBe('');
  });

  it('stays until the stream is closed with `live`', async () => {
    await append(url(), 'one ');
    const reading = textOf(follow(url(), { live: true }).text());
    for (const word of ['two ', 'three ']) await append(url(), word);
    await close(url());
    expect(await reading).toBe('one two three ');
  });

  it('gives the messages of a JSON stream as lines', async () => {
    await create(url(), { contentType: 'application/json' });
    const reading = textOf(follow(url(), { live: true }).text());
    await append(url(), ['{"n":1}', '["a"]']);
    await close(url());
    expect(await reading).toBe('{"n":1}\n"a"\n');
  });

  it('never cuts a character', async () => {
    const bytes = Buffer.from('a€b');
    await create(url(), { contentType: 'text/plain' });
    const follower = follow(url(), { live: true });
    const pieces: string[] = [];
    const reading = (async () => {
      for await (const piece of follower.text()) pieces.push(piece);
    })();
    for (const byte of bytes) await append(url(), Buffer.of(byte));
    await close(url());
    await reading;
    expect(pieces.join('')).toBe('a€b');
    expect(pieces.join('')).not.toContain('\ufffd');
  });

  it('loses and repeats nothing where an answer breaks off in its middle', async () => {
    // Of which little is left out where the answer is compressed.
    const lines = randomBytes(300_000).toString('base64');
    await append(url(), lines, { contentType: 'text/plain', closeStream: true });
    const proxy = await cutting(60_000);
    // The first is the answer to the WebSocket, which is the whole stream, too, and is not read.
    proxy.cut(4);
    expect(await textOf(follow(proxy.url, { live: true, ...quick }).text())).toBe(lines);
    expect(proxy.left).toBe(0);
  });

  it('says that there is no stream, and waits for one if told to', async () => {
    await expect(textOf(follow(url()).text())).rejects.toMatchObject({ code: 'STREAM_NOT_FOUND' });
    const reading = textOf(follow(url(), { wait: true, live: true }).text());
    await append(url(), 'at last', { closeStream: true });
    expect(await reading).toBe('at last');
  });

  it('works where the platform does not show why a WebSocket was refused', async () => {
    await append(url(), 'one ');
    // As in Bun, Deno and browsers: a WebSocket that says no more than that it closed.
    vi.stubGlobal('Bun', {});
    vi.stubGlobal(
      'WebSocket',
      class {
        onclose?: (event: { code: number; reason: string }) => void;
        constructor() {
          queueMicrotask(() => this.onclose?.({ code: 1006, reason: '' }));
        }
      },
    );
    expect(await textOf(follow(url()).text())).toBe('one ');
    await append(url(), 'two');
    expect(await contentOf(url())).toBe('one two');
  });
});
