import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { BrokerMissing } from '../brokers/broker-process.js';
import { startRedis } from '../brokers/start-redis.js';
import { listening, millrace, SilentServer, serve, stopAll } from './commands.js';

afterEach(stopAll);

describe('millrace publish and subscribe, through a server', () => {
  it('carries messages as JSON, one a line', async () => {
    const { url } = await serve('--memory');
    const subscriber = millrace('subscribe', '-v', url, 'chat', 'other');
    await subscriber.notes('subscribed at');
    expect(await millrace('publish', url, 'chat', '{"text":"hi"}').exit).toBe(0);
    expect(await millrace('publish', '--text', url, 'other', 'plain words').exit).toBe(0);
    await subscriber.prints('{"text":"hi"}\n"plain words"\n');
    subscriber.kill('SIGINT');
    expect(await subscriber.exit).toBe(0);
  });

  it('publishes each line of standard input, and tells channels apart where asked to', async () => {
    const { url } = await serve('--memory');
    const subscriber = millrace('subscribe', '-v', '--channels', '--pattern', 'job/*', '--', url);
    await subscriber.notes('subscribed at');
    const publisher = millrace('publish', url, 'job/7');
    publisher.endInput('1\n\n[2]\n');
    expect(await publisher.exit).toBe(0);
    await subscriber.prints('{"channel":"job/7","message":1}\n{"channel":"job/7","message":[2]}\n');
    subscriber.kill('SIGTERM');
    expect(await subscriber.exit).toBe(0);
  });

  it('takes a URL without its scheme', async () => {
    const { port } = await serve('--memory');
    const subscriber = millrace('subscribe', '-v', `127.0.0.1:${port}`, 'chat');
    await subscriber.notes('subscribed at');
    expect(await millrace('publish', `localhost:${port}`, 'chat', '1').exit).toBe(0);
    await subscriber.prints('1\n');
  });

  it('keeps the path and the query of the URL', async () => {
    const asked: (string | undefined)[] = [];
    const proxy = createServer((req, res) => {
      asked.push(req.url);
      res.writeHead(204).end();
    }).on('upgrade', (req, socket) => {
      asked.push(req.url);
      socket.end('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
    });
    const base = `http://127.0.0.1:${await listening(proxy)}/streams/?token=1`;
    expect(await millrace('publish', base, 'a b', '1').exit).toBe(0);
    expect(await millrace('subscribe', base, 'a b').exit).toBe(1);
    expect(asked).toEqual(['/streams/-/publish?token=1&channel=a+b', '/streams/-/events?token=1&channel=a+b']);
    proxy.close();
  });

  it('gives up on a server that takes connections and never answers', async () => {
    const silent = new SilentServer();
    const url = `http://127.0.0.1:${await silent.start()}`;
    const commands = [millrace('publish', url, 'a', '1'), millrace('subscribe', url, 'a')];
    for (const command of commands) {
      expect(await command.exit).toBe(5);
      expect(command.stderr).toMatch(/^millrace: .*\[CONNECTION_FAILED\]\n$/);
    }
    silent.stop();
  });

  it('gives up on a server that takes its WebSocket and never says ok, or says what is no message', async () => {
    const sayings = [undefined, 'hello', '[1]', '{"op":'];
    const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    sockets.on('connection', (socket, request) => {
      const saying = sayings[Number(new URL(request.url ?? '', 'http://localhost').searchParams.get('channel'))];
      if (saying !== undefined) socket.send(saying);
    });
    await once(sockets, 'listening');
    const url = `http://127.0.0.1:${(sockets.address() as AddressInfo).port}`;
    const commands = sayings.map((_, i) => millrace('subscribe', url, String(i)));
    for (const [i, command] of commands.entries()) {
      const [code, exit] = sayings[i] === undefined ? ['CONNECTION_FAILED', 5] : ['UNEXPECTED_RESPONSE', 1];
      expect([await command.exit, command.stderr]).toEqual([exit, expect.stringContaining(`[${code}]`)]);
      expect(command.stderr).toMatch(/^millrace: [^\n]*\n$/);
    }
    for (const socket of sockets.clients) socket.terminate();
    sockets.close();
  });

  it('says what is wrong, with an exit code for each kind', async () => {
    const { url } = await serve('--memory');
    const cases = [
      [['publish', url, 'a', 'no json'], 2, 'not JSON'],
      [['publish', url, '', '1'], 2, 'HUB_CHANNEL_INVALID'],
      [['publish', 'carrier://pigeon', 'a', '1'], 2, 'HUB_UNKNOWN_SCHEME'],
      [['publish', 'no url', 'a', '1'], 2, 'must be a URL'],
      [['publish', '127.0.0.1:1', 'a', '1'], 5, 'CONNECTION_FAILED'],
      [['publish', 'memory:', 'a', '1'], 0, ''],
      [['publish', 'http://127.0.0.1:1', 'a', '1'], 5, 'CONNECTION_FAILED'],
      [['publish', 'redis://127.0.0.1:1', 'a', '1'], 5, 'HUB_UNAVAILABLE'],
      [['subscribe', 'http://127.0.0.1:1', 'a'], 5, 'CONNECTION_FAILED'],
      [['subscribe', url], 2, 'at least one channel'],
      [['subscribe', 'redis://127.0.0.1:1', 'a'], 5, 'HUB_UNAVAILABLE'],
    ] as const;
    const commands = cases.map(([args, code, text]) => ({ command: millrace(...args), args, code, text }));
    for (const { command, args, code, text } of commands) {
      expect(await command.exit, args.join(' ')).toBe(code);
      expect(command.stderr).toContain(text);
    }
  });

  it('ends the subscriber when the server goes down', async () => {
    const { url, command } = await serve('--memory');
    const subscriber = millrace('subscribe', '-v', url, 'a');
    await subscriber.notes('subscribed at');
    command.kill('SIGTERM');
    expect(await command.exit).toBe(0);
    expect(await subscriber.exit).toBe(5);
  });
});

describe('millrace serve --hub', async () => {
  const broker = await startRedis().catch((error: unknown) => {
    if (!(error instanceof BrokerMissing) || process.env.MILLRACE_REQUIRE_BROKERS === '1') throw error;
    return undefined;
  });
  afterAll(() => broker?.stop());
  const title = 'puts a broker behind the server, and the commands reach it with and without';

  it(broker === undefined ? `${title} (skipped: no redis-server)` : title, { skip: broker === undefined }, async () => {
    const address = broker?.url ?? '';
    const { url } = await serve('--memory', '--hub', address);
    const followers = [millrace('subscribe', '-v', url, 'chat'), millrace('subscribe', '-v', address, 'chat')];
    for (const follower of followers) await follower.notes('subscribed at');
    expect(await millrace('publish', url, 'chat', '"over HTTP"').exit).toBe(0);
    expect(await millrace('publish', address, 'chat', '"over Redis"').exit).toBe(0);
    for (const follower of followers) {
      await follower.prints('"over HTTP"\n"over Redis"\n');
      follower.kill('SIGINT');
      expect(await follower.exit).toBe(0);
    }
  });

  it('does not start without its broker', async () => {
    for (const [hub, code] of [
      ['redis://127.0.0.1:1', 'HUB_UNAVAILABLE'],
      ['carrier://pigeon', 'HUB_UNKNOWN_SCHEME'],
    ] as const) {
      const command = millrace('serve', '--memory', '--port', '0', '--hub', hub);
      expect(await command.exit).toBe(7);
      expect(command.stderr).toContain(code);
    }
  });
});
