// Server-sent events of one channel to 1,000 clients, messages of 100 bytes: deliveries per second, beside a bare
// node:net program that writes the same bytes to the same number of sockets.
import { start } from './harness/child.mjs';
import { figure, median, ratio, rounds, table } from './harness/measure.mjs';

const READERS = 1000;
const MESSAGES = 500;
/** One event as it is on the wire: a chunk of 119 bytes. */
const EVENT_BYTES = 125;

const cpu = { bare: [], hub: [] };

async function run(bare) {
  const server = start('events-server', { bare });
  const { port } = await server.answer();
  const readers = start('event-readers', { port, readers: READERS });
  await readers.answer();
  const deliver = async (messages) => {
    await readers.ask({ bytes: messages * EVENT_BYTES * READERS });
    const received = readers.answer();
    const from = process.hrtime.bigint();
    await server.ask({ messages });
    await received;
    return (messages * READERS * 1e9) / Number(process.hrtime.bigint() - from);
  };
  await deliver(MESSAGES / 5);
  const before = await server.ask('usage');
  const rate = await deliver(MESSAGES);
  const after = await server.ask('usage');
  cpu[bare ? 'bare' : 'hub'].push(((after.cpuSeconds - before.cpuSeconds) * 1e6) / (MESSAGES * READERS));
  await readers.stop();
  await server.stop();
  return rate;
}

const { bare, hub } = await rounds({ bare: () => run(true), hub: () => run(false) });
table([
  ['', 'bare node:net', 'sendEvents', 'ratio'],
  ['deliveries per second', figure(bare), figure(hub), ratio(hub / bare)],
  ['CPU us per delivery', figure(median(cpu.bare)), figure(median(cpu.hub)), ratio(median(cpu.hub) / median(cpu.bare))],
]);
