// One stream, 1,000 followers over plain sockets (`?live=raw`), appends of 100 bytes: deliveries per second, beside a
// bare node:net program that writes the same bytes to the same number of sockets. Once with streams in memory, and once
// with files, where every append is on the disk before anybody sees it.
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { start } from './harness/child.mjs';
import { figure, median, ratio, rounds, table } from './harness/measure.mjs';
import { temporaryDirectory } from './harness/temporary.mjs';
import { RECORD_BYTES } from './processes/records.mjs';

const FOLLOWERS = 1000;
const PATH = '/fan-out.txt';
const LOADS = [
  { title: 'each append delivered before the next', records: 300, window: 1 },
  { title: 'up to 16 appends under way', records: 3000, window: 16 },
  { title: 'up to 1,000 appends under way', records: 20_000, window: 1000 },
];

/** What each contender did, by load: deliveries per second, and microseconds of its processor time per delivery. */
const results = {
  bare: LOADS.map(() => ({ rate: [], cpu: [] })),
  memory: LOADS.map(() => ({ rate: [], cpu: [] })),
  files: LOADS.map(() => ({ rate: [], cpu: [] })),
};

async function run(name, server, websocket) {
  const { port } = await server.answer();
  const appender = start('appender', { port, path: PATH, websocket });
  await appender.answer();
  const followers = start('raw-followers', { port, path: PATH, followers: FOLLOWERS });
  await followers.answer();
  const deliver = async (records, window) => {
    const received = followers.answer();
    await appender.ask({ records, window });
    const { bytes } = await received;
    if (bytes < records * RECORD_BYTES * FOLLOWERS) throw new Error(`${bytes} bytes are too few`);
  };
  for (const [load, { records, window }] of LOADS.entries()) {
    await deliver(Math.ceil(records / 5), window);
    const before = await server.ask('usage');
    const from = process.hrtime.bigint();
    await deliver(records, window);
    const seconds = Number(process.hrtime.bigint() - from) / 1e9;
    const after = await server.ask('usage');
    results[name][load].rate.push((records * FOLLOWERS) / seconds);
    results[name][load].cpu.push(((after.cpuSeconds - before.cpuSeconds) * 1e6) / (records * FOLLOWERS));
  }
  await Promise.all([appender.stop(), followers.stop()]);
  await server.stop();
}

const directory = temporaryDirectory();
const root = () => mkdtempSync(join(directory, 'root-'));
await rounds({
  bare: () => run('bare', start('bare-fan-out'), false),
  memory: () => run('memory', start('millrace-server', { memory: true }), true),
  files: () => run('files', start('millrace-server', { root: root() }), true),
});

const cell = ({ rate, cpu }) => `${figure(rate)} (${figure(cpu)})`;
const medians = (name, load) => ({ rate: median(results[name][load].rate), cpu: median(results[name][load].cpu) });
table([
  ['Deliveries per second (CPU us each)', 'bare node:net', 'Millrace, memory', 'ratio', 'Millrace, files', 'ratio'],
  ...LOADS.map(({ title }, load) => {
    const [bare, memory, files] = ['bare', 'memory', 'files'].map((name) => medians(name, load));
    return [
      title,
      cell(bare),
      cell(memory),
      ratio(memory.rate / bare.rate),
      cell(files),
      ratio(files.rate / bare.rate),
    ];
  }),
]);
