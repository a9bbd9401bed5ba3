import { Buffer } from 'node:buffer';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SLICE_BYTES, TURN_BYTES_MAX } from '../../src/turn-budget.js';
import { type Answer, ask, dial, drain, problemOf, serve, type TestServer } from './test-server.js';
import { open, type TestSocket } from './test-socket.js';

/** JSON that takes long to look through is looked through in many turns of the event loop, at every door. */

const JSON_TYPE = { 'Content-Type': 'application/json' };
const BYTES = 8 * 1024 * 1024;
/** Without a look at a clock: work of so many bytes is spread over at least so many turns. */
const TURNS_MIN = BYTES / (TURN_BYTES_MAX + SLICE_BYTES);

const bodies = {
  'many small objects': Buffer.from(`[${'{},'.repeat(BYTES / 3)}{}]`),
  'deep nesting': Buffer.from(`[${Array(Math.ceil(BYTES / 1801)).fill('['.repeat(900) + ']'.repeat(900))}]`),
  'one long string': Buffer.from(`"${'x'.repeat(BYTES)}"`),
};

let server: TestServer;

beforeEach(async () => {
  server = await serve();
  await server.store.create('j', { contentType: 'application/json' });
});

afterEach(() => server.close());

/** The connection below a WebSocket: what is written while it is corked is sent at once. */
const socketOf = ({ ws }: TestSocket) => (ws as unknown as { readonly _socket: Duplex })._socket;

/** Counts turns of the event loop until `over` says so. */
async function turnsUntil(over: () => boolean): Promise<number> {
  let turns = 0;
  while (!over()) {
    await turn();
    turns++;
  }
  return turns;
}

/** The turns from the moment at which a whole request is there to its answer. */
async function turnsOf(method: string, path: string, body: Buffer): Promise<{ turns: number; answer: Answer }> {
  let turns: Promise<number> | undefined;
  server.server.once('request', (req: IncomingMessage, res: ServerResponse) => {
    req.once('end', () => {
      turns = turnsUntil(() => res.writableEnded);
    });
  });
  const answer = await ask(server, method, path, { headers: JSON_TYPE, body });
  return { turns: (await turns) ?? 0, answer };
}

describe.each(Object.entries(bodies))('%s', (_name, body) => {
  it('hold up nobody in a POST', async () => {
    const { turns, answer } = await turnsOf('POST', '/j', body);
    expect(answer.status).toBe(204);
    expect(turns).toBeGreaterThanOrEqual(TURNS_MIN);
  });

  it('hold up nobody in a PUT', async () => {
    const { turns, answer } = await turnsOf('PUT', '/new', body);
    expect(answer.status).toBe(201);
    expect(turns).toBeGreaterThanOrEqual(TURNS_MIN);
  });

  it('hold up nobody in a WebSocket message', async () => {
    let turns: Promise<number> | undefined;
    let acknowledged = false;
    server.server.once('upgrade', (_, socket: Duplex) => {
      let received = 0;
      socket.on('data', (data: Buffer) => {
        received += data.length;
        if (received >= body.length) turns ??= turnsUntil(() => acknowledged);
      });
    });
    const appender = await open(server, '/j?verb=append', { protocols: ['millrace.append.v1'] });
    await appender.nextJson();
    appender.ws.send(body);
    expect(await appender.nextJson()).toMatchObject({ type: 'ack', seq: 0 });
    acknowledged = true;
    expect(await turns).toBeGreaterThanOrEqual(TURNS_MIN);
    appender.ws.close();
    await appender.closed;
  });
});

describe('what one connection sends', () => {
  const large = Buffer.from(JSON.stringify('x'.repeat(2 * SLICE_BYTES)));

  it('stays in its order over a WebSocket, whatever takes longer to check', async () => {
    const appender = await open(server, '/j?verb=append&close=true');
    // In one write, so that all of it is there while the first is checked.
    socketOf(appender).cork();
    const sent: string[] = [];
    for (const message of [large, '1', '[2,3]', large, '"four"', large].map(String)) {
      appender.ws.send(message);
      sent.push(message);
    }
    appender.ws.close(1000);
    socketOf(appender).uncork();
    const read = await ask(server, 'GET', '/j?live=raw&offset=-1');
    expect(read.text === `${sent.join('\n').replace('[2,3]', '2\n3')}\n`).toBe(true);
  });

  it('ends with a message that is not JSON, and keeps all before it and nothing after', async () => {
    const appender = await open(server, '/j?verb=append', { protocols: ['millrace.append.v1'] });
    await appender.nextJson();
    socketOf(appender).cork();
    const bad = Buffer.from(`[1,2,${'[3],'.repeat(SLICE_BYTES)}4,{]`);
    for (const message of [large, Buffer.from('1'), bad, Buffer.from('2'), large]) appender.ws.send(message);
    socketOf(appender).uncork();
    const messages = [await appender.nextJson()];
    while (messages.at(-1)?.type !== 'error') messages.push(await appender.nextJson());
    expect(messages.at(-2)).toMatchObject({ type: 'ack', seq: 1 });
    expect(messages.at(-1)).toMatchObject({
      problem: { code: 'INVALID_JSON', message: SLICE_BYTES + 4, at: bad.length - 1 },
    });
    expect((await appender.closed).code).toBe(4400);
    expect((await ask(server, 'GET', '/j?offset=-1')).text === `[${large},1]`).toBe(true);
    expect((await server.store.stat('j')).appender).toBe(false);
  });

  it('is all appended by a server that goes down while it is checked', async () => {
    const larger = Buffer.from(JSON.stringify('x'.repeat(4 * TURN_BYTES_MAX)));
    let closing: Promise<void> | undefined;
    server.server.once('upgrade', (_, socket: Duplex) => {
      let received = 0;
      socket.on('data', (data: Buffer) => {
        received += data.length;
        // In the next turn: the last of it is still to be taken.
        if (received > larger.length) setImmediate(() => (closing ??= server.handler.close()));
      });
    });
    const appender = await open(server, '/j?verb=append');
    socketOf(appender).cork();
    appender.ws.send(larger);
    appender.ws.send('1');
    socketOf(appender).uncork();
    expect((await appender.closed).code).toBe(1001);
    await closing;
    const { data } = await server.store.read('j', 0, { maxBytes: 1e7 });
    expect(Buffer.from(data).equals(Buffer.concat([larger, Buffer.from('\n1\n')]))).toBe(true);
  });

  it('stays in its order over one HTTP connection', async () => {
    const socket = await dial(server);
    const post = (body: Buffer, last = false) => {
      const fields = `Host: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
      socket.write(`POST /j HTTP/1.1\r\n${fields}${last ? 'Connection: close\r\n' : ''}\r\n`);
      socket.write(body);
    };
    socket.cork();
    post(large);
    post(Buffer.from('1'));
    post(large);
    post(Buffer.from('2'), true);
    socket.uncork();
    await drain(socket);
    expect((await ask(server, 'GET', '/j?offset=-1')).text === `[${large},1,${large},2]`).toBe(true);
  });
});

describe('a line that is refused', () => {
  const deep = '['.repeat(1001) + ']'.repeat(1001);
  it.each([
    ['nested too deep', Buffer.from(deep), 'INVALID_JSON'],
    ['not JSON', Buffer.from('{"a":'), 'INVALID_JSON'],
    ['not UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'INVALID_JSON'],
    ['too long', Buffer.from(JSON.stringify('x'.repeat(5000))), 'BODY_TOO_LARGE'],
  ])('because it is %s leaves those before it appended, and is named', async (_why, line, code) => {
    await server.close();
    server = await serve({ limits: { frameBytesMax: 4000 } });
    await server.store.create('j', { contentType: 'application/json' });
    const body = Buffer.concat([Buffer.from('{"n":1}\n\n{"n":2}\n'), line, Buffer.from('\n{"n":3}\n')]);
    const refused = await ask(server, 'POST', '/j?verb=append', { headers: JSON_TYPE, body });
    expect([problemOf(refused), JSON.parse(refused.text).line]).toEqual([code, 4]);
    expect((await ask(server, 'GET', '/j')).text).toBe('[{"n":1},{"n":2}]');
    expect((await server.store.stat('j')).appender).toBe(false);
  });
});
