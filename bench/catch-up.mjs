// A follower that reads 1 GiB from the beginning, beside createReadStream().pipe(response), and the memory it takes.
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { start } from './harness/child.mjs';
import { figure, median, ratio, rounds, table } from './harness/measure.mjs';
import { temporaryDirectory } from './harness/temporary.mjs';

const MIB = 1024 * 1024;
const BYTES = 1024 * MIB;
/** Followers that catch up at the same time, for the second measurement of memory. */
const MANY = 10;

const root = temporaryDirectory();
const file = join(root, 'big.bin');
const handle = await open(file, 'w');
const block = Buffer.alloc(8 * MIB, 'millrace');
for (let written = 0; written < BYTES; written += block.length) await handle.write(block);
await handle.sync();
await handle.close();

const notes = { memory: {}, cpu: {} };
function note(name, what, value) {
  notes[what][name] = [...(notes[what][name] ?? []), value];
}

async function run(name, server, path, readers = 1) {
  const { port } = await server.answer();
  const processes = Array.from({ length: readers }, () => start('reader', { port }));
  await Promise.all(processes.map((each) => each.answer()));
  const from = process.hrtime.bigint();
  await Promise.all(processes.map((each) => each.ask({ path, bytes: BYTES })));
  const seconds = Number(process.hrtime.bigint() - from) / 1e9;
  const { residentBytesMax, cpuSeconds } = await server.ask('usage');
  note(name, 'memory', residentBytesMax / MIB);
  note(name, 'cpu', (cpuSeconds / readers) * 1000);
  await Promise.all(processes.map((each) => each.stop()));
  await server.stop();
  return (BYTES * readers) / MIB / seconds;
}

const millrace = () => start('millrace-server', { root });
const bare = () => start('bare-file', { file });
const contenders = {
  'bare createReadStream().pipe(response)': () => run('bare createReadStream().pipe(response)', bare(), '/'),
  'Millrace ?live=raw': () => run('Millrace ?live=raw', millrace(), '/big.bin?live=raw&offset=-1'),
  'Millrace GET': () => run('Millrace GET', millrace(), '/big.bin'),
};
const results = await rounds(contenders);
const many = {
  [`bare, ${MANY} readers`]: () => run(`bare, ${MANY} readers`, bare(), '/', MANY),
  [`Millrace ?live=raw, ${MANY} readers`]: () =>
    run(`Millrace ?live=raw, ${MANY} readers`, millrace(), '/big.bin?live=raw&offset=-1', MANY),
};
Object.assign(results, await rounds(many, 1));

const row = (name, beside) => [
  name,
  figure(results[name]),
  beside === undefined ? '' : ratio(results[name] / results[beside]),
  figure(median(notes.cpu[name])),
  figure(median(notes.memory[name])),
];
const [one, live, get] = Object.keys(contenders);
const [oneMany, liveMany] = Object.keys(many);
table([
  ['Reading 1 GiB', 'MiB per second', 'beside bare', 'CPU ms per GiB', 'resident MiB of the server'],
  row(one),
  row(live, one),
  row(get, one),
  row(oneMany),
  row(liveMany, oneMany),
]);
