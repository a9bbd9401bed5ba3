import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { createInterface } from 'node:readline';
import { afterEach, expect, it } from 'vitest';
import { WebSocket } from 'ws';

const processes: ChildProcess[] = [];
afterEach(() => {
  for (const process of processes.splice(0)) process.kill('SIGKILL');
});

/** Starts an example on a free port and gives its address and its process. */
async function start(script: string): Promise<{ url: string; process: ChildProcess }> {
  const child = spawn(process.execPath, [script], {
    env: { ...process.env, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  processes.push(child);
  const { value } = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
  return { url: /http:\S+/.exec(value)?.[0] ?? '', process: child };
}

/** What a server answers to a request line that no client of HTTP would send. */
async function firstLine(url: string, request: string): Promise<string> {
  const socket = connectSocket(Number(new URL(url).port), '127.0.0.1');
  socket.write(`${request}\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
  let answer = '';
  for await (const chunk of socket.setEncoding('utf8')) answer += chunk;
  return answer.split('\r\n', 1)[0] as string;
}

async function ends(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  expect((await exit)[0]).toBe(0);
}

it('sse-room: what one says all in the room hear, and nobody in another', async () => {
  const { url, process } = await start('examples/sse-room/server.mjs');
  expect(await (await fetch(url)).text()).toContain('new EventSource');
  const listen = async (room: string) => {
    const response = await fetch(`${url}/rooms/${room}`);
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    return {
      async hears(words: string) {
        while (!text.includes(words)) {
          const { value, done } = (await reader?.read()) ?? { done: true };
          if (done) throw new Error(`ended without ${words}: ${text}`);
          text += value;
        }
        return text;
      },
    };
  };
  const [one, two, elsewhere] = await Promise.all([listen('lobby'), listen('lobby'), listen('attic')]);
  const say = (room: string, body: string) => fetch(`${url}/rooms/${room}`, { method: 'POST', body });
  expect((await say('lobby', '{"who":"ann","text":"hello"}')).status).toBe(204);
  expect((await say('attic', '{"who":"bob","text":"dusty"}')).status).toBe(204);
  expect((await say('lobby', '{"who":1}')).status).toBe(400);
  expect((await say('lobby', 'x'.repeat(5000))).status).toBe(400);
  expect(await firstLine(url, 'GET // HTTP/1.1')).toBe('HTTP/1.1 400 Bad Request');
  expect(await one.hears('"who":"ann","text":"hello"')).not.toContain('dusty');
  await two.hears('"who":"ann","text":"hello"');
  expect(await elsewhere.hears('dusty')).not.toContain('hello');
  await ends(process);
});

it('event-socket: a clock ticks, and browsers talk through one connection each', async () => {
  const { url, process } = await start('examples/event-socket/server.mjs');
  const connect = async () => {
    const socket = new WebSocket(url.replace('http', 'ws'));
    const messages: Record<string, unknown>[] = [];
    let wake = () => {};
    socket.on('message', (data) => {
      messages.push(JSON.parse(String(data)));
      wake();
    });
    await once(socket, 'open');
    return {
      socket,
      say: (order: object) => socket.send(JSON.stringify(order)),
      async gets(op: string, channel?: string, ref?: number) {
        for (;;) {
          const found = messages.find(
            (message) => message.op === op && message.channel === channel && (ref === undefined || message.ref === ref),
          );
          if (found !== undefined) return found;
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      },
    };
  };
  const [ann, bob] = await Promise.all([connect(), connect()]);
  await ann.gets('message', 'clock');
  bob.say({ op: 'subscribe', channels: ['chat'], ref: 1 });
  await bob.gets('ok');
  ann.say({ op: 'publish', channels: ['chat'], message: 'hello' });
  expect(await bob.gets('message', 'chat')).toEqual({ op: 'message', channel: 'chat', message: 'hello' });
  bob.say({ op: 'unsubscribe', channels: ['chat', 'clock'], ref: 2 });
  await bob.gets('ok', undefined, 2);
  const closed = Promise.all([ann, bob].map(({ socket }) => once(socket, 'close')));
  await ends(process);
  expect((await closed).map(([code]) => code)).toEqual([1001, 1001]);
});
