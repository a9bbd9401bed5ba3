import { afterEach, beforeEach, expect, it } from 'vitest';
import { PRODUCERS_MAX } from '../../src/log/index.js';
import { ask, serve, type TestServer } from './test-server.js';
import { open, tryOpen } from './test-socket.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
  await server.store.create('log', { contentType: 'text/plain' });
  await Promise.all(
    Array.from({ length: PRODUCERS_MAX }, (_, index) =>
      server.store.append('log', { data: Buffer.from('.'), producer: { id: `known-${index}`, epoch: 0, seq: 0 } }),
    ),
  );
});

afterEach(() => server.close());

it('a stream that can know no further producer says so at every door, and those that it knows go on', async () => {
  const post = (id: string, seq: number) =>
    ask(server, 'POST', '/log', {
      headers: { 'Content-Type': 'text/plain', 'Producer-Id': id, 'Producer-Epoch': '0', 'Producer-Seq': `${seq}` },
      body: '!',
    });
  const session = (id: string) => `/log?verb=append&producerId=${id}&producerEpoch=1`;
  const refusals = [
    await post('new', 0),
    await tryOpen(server, session('new'), { protocols: ['millrace.append.v1'] }),
    await ask(server, 'POST', session('new'), { body: '!' }),
  ];
  for (const refusal of refusals) {
    expect(refusal).toMatchObject({ status: 429, headers: { 'content-type': 'application/problem+json' } });
    const { headers, text } = refusal as { headers: Record<string, string>; text: string };
    expect(JSON.parse(text)).toMatchObject({ code: 'PRODUCERS_TOO_MANY', producersMax: PRODUCERS_MAX });
    const seconds = Number(headers['retry-after']);
    expect(seconds).toBeGreaterThan(6 * 86_400);
    expect(seconds).toBeLessThanOrEqual(7 * 86_400);
  }
  expect((await server.store.stat('log')).tail).toBe(PRODUCERS_MAX);

  expect((await post('known-0', 0)).status).toBe(204);
  expect((await post('known-0', 1)).status).toBe(200);
  const appender = await open(server, session('known-1'), { protocols: ['millrace.append.v1'] });
  appender.ws.close();
  await appender.closed;
  expect((await ask(server, 'POST', '/log', { headers: { 'Content-Type': 'text/plain' }, body: '!' })).status).toBe(
    204,
  );
});
