// How long one request holds the event loop: the longest turn while it is answered, and how long it takes. 20 ms is what
// we allow.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { start } from './harness/child.mjs';
import { figure, median, ROUNDS, table } from './harness/measure.mjs';
import { temporaryDirectory } from './harness/temporary.mjs';

const BYTES = 16 * 1024 * 1024 - 1024;
const FILES = 200_000;
const AT_ONCE = 20;

const root = temporaryDirectory();
mkdirSync(join(root, 'large'));
for (let i = 0; i < FILES; i++) writeFileSync(join(root, 'large', `${i}.txt`), '');

const filled = (item, open = '', close = '') =>
  Buffer.from(
    `[${open}${Array(Math.floor(BYTES / (item.length + 1)))
      .fill(item)
      .join(',')}${close}]`,
  );
const record = JSON.stringify({
  id: 12345,
  name: 'Ada Lovelace',
  tags: ['a', 'b'],
  text: 'lorem ipsum '.repeat(8),
  ok: true,
});
const bodies = {
  '16 MiB of [{},{},…]': filled('{}'),
  '16 MiB of 1,1,1,…': filled('1'),
  '16 MiB, nested 900 deep': filled('['.repeat(899) + ']'.repeat(899)),
  '16 MiB of records': filled(record),
  '16 MiB, one string': Buffer.from(JSON.stringify('x'.repeat(BYTES))),
};

const JSON_TYPE = { 'Content-Type': 'application/json' };
const cases = {};
for (const [name, body] of Object.entries(bodies)) {
  cases[`POST ${name}`] = (url) => send(`${url}/json`, { method: 'POST', headers: JSON_TYPE, body });
}
cases['WebSocket message of 16 MiB of [{},{},…]'] = (url) =>
  new Promise((resolve, reject) => {
    const ws = new WebSocket(`${url.replace('http', 'ws')}/json?verb=append`, 'millrace.append.v1');
    ws.on('error', reject);
    ws.on('message', (text) => {
      const { type } = JSON.parse(text);
      if (type === 'welcome') ws.send(bodies['16 MiB of [{},{},…]']);
      else if (type === 'ack') ws.close();
      else reject(new Error(String(text)));
    });
    ws.on('close', resolve);
  });
cases['a read of 1 MiB of 1,1,1,… as an array'] = (url) => send(`${url}/ones`);
const list = (url, query) => send(`${url}/-/streams?prefix=large/&${query}`);
cases[`first listing of a folder of ${FILES}`] = (url) => list(url, 'limit=1');
cases[`${AT_ONCE} listings of it at once`] = (url) =>
  Promise.all(Array.from({ length: AT_ONCE }, (_, i) => list(url, `limit=1&after=large/${i}`)));
cases['a page of 10,000 streams of it'] = (url) => list(url, 'limit=10000');
cases['a stream made in it, and a listing'] = async (url) => {
  await send(`${url}/large/new-${Math.random()}`, { method: 'PUT' });
  await list(url, 'limit=1');
};

async function send(url, init) {
  const response = await fetch(url, init);
  const text = await response.text();
  if (!response.ok) throw new Error(`${init?.method ?? 'GET'} ${url}: ${response.status} ${text.slice(0, 200)}`);
}

const figures = new Map(Object.keys(cases).map((name) => [name, { longest: [], seconds: [] }]));
for (let round = 0; round < ROUNDS; round++) {
  const server = start('millrace-server', { root });
  const url = `http://127.0.0.1:${(await server.answer()).port}`;
  for (const path of ['json', 'ones', 'warm']) {
    const response = await fetch(`${url}/${path}`, { method: 'PUT', headers: JSON_TYPE });
    await response.text();
  }
  if (round === 0) {
    await send(`${url}/ones`, { method: 'POST', headers: JSON_TYPE, body: `[${'1,'.repeat(500_000)}1]` });
  }
  // What is compiled in the middle of a turn is not what is to be measured.
  for (let i = 0; i < 500; i++) {
    await send(`${url}/warm`, { method: 'POST', headers: JSON_TYPE, body: `[${record},{},1,[[]]]` });
  }
  for (const [name, run] of Object.entries(cases)) {
    await server.ask('watch turns');
    const since = performance.now();
    await run(url);
    const seconds = (performance.now() - since) / 1000;
    const { longestMs } = await server.ask('longest turn');
    figures.get(name).longest.push(longestMs);
    figures.get(name).seconds.push(seconds);
  }
  await server.stop();
}
table([
  ['One request', 'longest turn, ms', 'answered after, s'],
  ...[...figures].map(([name, { longest, seconds }]) => [name, figure(median(longest)), figure(median(seconds))]),
]);
