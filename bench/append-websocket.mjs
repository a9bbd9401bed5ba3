// Durable appends of 100 bytes over one acknowledged WebSocket, per second, beside bare programs that write and
// fdatasync: one that gets the records over a socket, one that has them in memory and commits the same batches.
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { start } from './harness/child.mjs';
import { figure, median, ratio, rounds, table } from './harness/measure.mjs';
import { temporaryDirectory } from './harness/temporary.mjs';

const RECORDS = 2_000_000;
/** Records that the client has under way: 4 MiB is what a server takes before it makes its client wait. */
const WINDOW = 32_768;

const directory = temporaryDirectory();
const batches = { bare: [], millrace: [] };
/** Microseconds of processor time of the server per record. */
const cpu = { bare: [], millrace: [] };
let runs = 0;

async function overSocket(name, server, websocket) {
  const { port } = await server.answer();
  const appender = start('appender', { port, path: '/append.bin', websocket });
  await appender.answer();
  await appender.ask({ records: RECORDS / 4, window: WINDOW });
  const before = await server.ask('usage');
  const { seconds, acknowledgements } = await appender.ask({ records: RECORDS, window: WINDOW });
  const after = await server.ask('usage');
  batches[name].push(RECORDS / acknowledgements);
  cpu[name].push(((after.cpuSeconds - before.cpuSeconds) * 1e6) / RECORDS);
  await appender.stop();
  await server.stop();
  return RECORDS / seconds;
}

const results = await rounds({
  bare: () => overSocket('bare', start('bare-append', { file: join(directory, `bare-${runs++}`) }), false),
  millrace: () =>
    overSocket('millrace', start('millrace-server', { root: mkdtempSync(join(directory, 'root-')) }), true),
  loop: async () => {
    const program = start('bare-append', { file: join(directory, `loop-${runs++}`) });
    await program.answer();
    const { seconds } = await program.ask({ records: RECORDS, batch: Math.round(median(batches.millrace)) });
    await program.stop();
    return RECORDS / seconds;
  },
});

const { millrace, bare, loop } = results;
table([
  ['Durable appends of 100 bytes', 'per second', 'Millrace is', 'records per acknowledgement', 'CPU us per record'],
  ['Millrace, one WebSocket', figure(millrace), '', figure(median(batches.millrace)), figure(median(cpu.millrace))],
  [
    'bare: socket, writev, fdatasync',
    figure(bare),
    ratio(millrace / bare),
    figure(median(batches.bare)),
    figure(median(cpu.bare)),
  ],
  ['bare: writev, fdatasync', figure(loop), ratio(millrace / loop), figure(median(batches.millrace)), ''],
]);
