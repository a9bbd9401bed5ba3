import { Buffer } from 'node:buffer';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ask, begin, serve, type TestServer, until } from './test-server.js';

let server: TestServer;

beforeEach(async () => {
  // Small reads: a long answer goes out in pieces.
  server = await serve({ limits: { readBytesMax: 100, longPollTimeoutMs: 5000 } });
});

afterEach(() => server.close());

interface Change {
  readonly key: string;
  readonly headers: { readonly operation: string; readonly offset: string };
}

const change = (key: number) => `{"type":"user","key":"${key}","value":1.0,"headers":{"operation":"insert"}}\n`;
const changesOf = (text: string) => JSON.parse(text) as Change[];

it('a read gives the offset after each change, whichever way it comes, and from there on the rest', async () => {
  await server.store.create('s', { contentType: 'application/json' });
  for (let key = 0; key < 8; key++) await server.store.append('s', { data: Buffer.from(change(key)) });
  const all = await ask(server, 'GET', '/s');
  const changes = changesOf(all.text);
  expect(changes.map(({ key }) => key)).toEqual(['0', '1', '2', '3', '4', '5', '6', '7']);
  expect(all.text).toContain('"value":1.0');
  expect(changes.at(-1)?.headers.offset).toBe(all.headers['stream-next-offset']);
  for (const [i, { headers }] of changes.entries()) {
    const rest = await ask(server, 'GET', `/s?offset=${headers.offset}`);
    expect(changesOf(rest.text)).toEqual(changes.slice(i + 1));
  }
  const polled = await ask(server, 'GET', '/s?offset=-1&live=long-poll');
  expect(changesOf(polled.text)).toEqual(changes.slice(0, changesOf(polled.text).length));

  // What is kept, and what is sent as it is kept, is what was written.
  const kept = [0, 1, 2, 3, 4, 5, 6, 7].map(change).join('');
  expect((await ask(server, 'GET', '/s?verb=follow')).text).toBe(kept);
});

it('so do live reads', async () => {
  await server.store.create('s', { contentType: 'application/json' });
  const polling = ask(server, 'GET', '/s?offset=-1&live=long-poll');
  const events = await begin(server, 'GET', '/s?offset=-1&live=sse');
  let text = '';
  events.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  await until(() => text.includes('upToDate'));
  await server.store.append('s', { data: Buffer.from(change(1)) });
  const [polled] = changesOf((await polling).text);
  await until(() => text.includes('event: data'));
  const lines = /event: data\n([\s\S]*?)\n\n/.exec(text)?.[1] ?? '';
  const [event] = changesOf(lines.replaceAll(/^data:/gm, ''));
  expect(event).toEqual(polled);
  expect(polled?.headers.offset).toMatch(/^\d{16}_/);
  events.destroy();
});
