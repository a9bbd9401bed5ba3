// The Durable Streams protocol: Millrace beside the reference server, each on its file store, and beside a bare
// node:http handler. Part of it: MILLRACE_BENCH_PARTS=append,fan-out,latency,start-up
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { start } from './harness/child.mjs';
import { figure, median, ROUNDS, ratio, rounds, table } from './harness/measure.mjs';
import { temporaryDirectory } from './harness/temporary.mjs';

const CONNECTIONS = 64;
const BYTES = 100;
const STREAMS = 500;
const FOLLOWERS = 1000;
/** Long enough that all is compiled before it is measured: the bare handler needs less of it. */
const WARM_UP_MS = 6000;
const MEASURE_MS = 4000;
const STREAMS_ON_DISK = 100_000;

const directory = temporaryDirectory();
const parts = new Set((process.env.MILLRACE_BENCH_PARTS ?? 'append,fan-out,latency,start-up').split(','));
let runs = 0;

const servers = {
  bare: () => start('bare-http'),
  reference: () => start('reference-server', { root: join(directory, `reference-${runs++}`) }),
  millrace: () => start('millrace-server', { root: join(directory, `millrace-${runs++}`) }),
};

const pathsOf = (count) => Array.from({ length: count }, (_, i) => `/v1/stream/bench-${i}`);

async function makeStreams(port, paths) {
  for (const path of paths) {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: 'PUT',
      headers: { 'Content-Type': 'text/plain' },
    });
    if (response.status !== 201 && response.status !== 204) throw new Error(`PUT ${path}: ${response.status}`);
    await response.arrayBuffer();
  }
}

/** Runs `measure` against a fresh server with fresh streams. */
async function against(name, streams, measure) {
  const server = servers[name]();
  const { port } = await server.answer();
  const paths = pathsOf(streams);
  await makeStreams(port, paths);
  const result = await measure(port, paths, server);
  await server.stop();
  return result;
}

/** Processor time of the server per append, in microseconds: steadier than the clock on a busy machine. */
const cpu = {};

const append = (name, streams) => () =>
  against(name, streams, async (port, paths, server) => {
    const load = { port, paths, connections: CONNECTIONS, bytes: BYTES, warmUpMs: WARM_UP_MS, measureMs: MEASURE_MS };
    const appender = start('http-appender', load);
    await appender.answer();
    const before = await server.ask('usage');
    const { perSecond, failed, measured } = await appender.answer();
    const after = await server.ask('usage');
    const key = `${name}${streams}`;
    cpu[key] = [...(cpu[key] ?? []), ((after.cpuSeconds - before.cpuSeconds) * 1e6) / measured];
    if (failed > 0) console.log(`${name}, ${streams} streams: ${failed} appends were refused`);
    await appender.stop();
    return perSecond;
  });

const fanOut = (name) => () =>
  against(name, 1, async (port, [path]) => {
    const followers = start('sse-followers', { port, path, followers: FOLLOWERS });
    await followers.answer();
    const load = {
      port,
      paths: [path],
      connections: CONNECTIONS,
      bytes: BYTES,
      warmUpMs: WARM_UP_MS,
      measureMs: MEASURE_MS,
    };
    const appender = start('http-appender', load);
    await appender.answer();
    const before = await followers.ask('count');
    const since = performance.now();
    await new Promise((resolve) => setTimeout(resolve, MEASURE_MS - 500));
    const after = await followers.ask('count');
    const perSecond = ((after.delivered - before.delivered) * 1000) / (performance.now() - since);
    await appender.answer();
    await appender.stop();
    await followers.stop();
    return perSecond;
  });

async function latency(name) {
  const results = [];
  for (let round = 0; round < ROUNDS; round++) {
    results.push(
      await against(name, 1, async (port, [path]) => {
        const probe = start('sse-latency', { port, path, perSecond: 100, appends: 500 });
        const result = await probe.answer();
        await probe.stop();
        return result;
      }),
    );
  }
  return { p50: median(results.map(({ p50 }) => p50)), p99: median(results.map(({ p99 }) => p99)) };
}

/** Seconds until a server with so many streams on disk answers. */
const startUp = (streams) => {
  const root = join(directory, `start-up-${streams}`);
  for (let i = 0; i < streams; i++) {
    const folder = join(root, `${i % 100}`);
    if (i < 100) mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${i}.txt`), 'contents\n');
  }
  return async () => {
    const since = performance.now();
    const server = start('millrace-server', { root });
    const { port } = await server.answer();
    const response = await fetch(`http://127.0.0.1:${port}/7/7.txt`);
    if ((await response.text()) !== 'contents\n') throw new Error('the stream is not there');
    const seconds = (performance.now() - since) / 1000;
    await server.stop();
    return seconds;
  };
};

if (parts.has('append')) {
  const results = await rounds({
    bare1: append('bare', 1),
    reference1: append('reference', 1),
    millrace1: append('millrace', 1),
    [`reference${STREAMS}`]: append('reference', STREAMS),
    [`millrace${STREAMS}`]: append('millrace', STREAMS),
  });
  const row = (what, key, reference) => [
    what,
    figure(results[key]),
    reference === undefined ? '' : ratio(results[key] / results[reference]),
    ratio(results[key] / results.bare1),
    figure(median(cpu[key])),
  ];
  table([
    [`POST, ${BYTES} bytes, ${CONNECTIONS} connections`, 'per second', 'of reference', 'of bare', 'CPU us each'],
    row('bare node:http, 204', 'bare1'),
    row('reference, 1 stream', 'reference1'),
    row('Millrace, 1 stream', 'millrace1', 'reference1'),
    row(`reference, ${STREAMS} streams`, `reference${STREAMS}`),
    row(`Millrace, ${STREAMS} streams`, `millrace${STREAMS}`, `reference${STREAMS}`),
  ]);
  console.log(`\n${STREAMS} streams are ${ratio(results[`millrace${STREAMS}`] / results.millrace1)} of one.\n`);
}

if (parts.has('fan-out')) {
  const results = await rounds({ reference: fanOut('reference'), millrace: fanOut('millrace') });
  table([
    [`SSE, ${FOLLOWERS} followers, ${CONNECTIONS} appenders`, 'deliveries per second', 'of reference'],
    ['reference', figure(results.reference), ''],
    ['Millrace', figure(results.millrace), ratio(results.millrace / results.reference)],
  ]);
  console.log();
}

if (parts.has('latency')) {
  const results = { reference: await latency('reference'), millrace: await latency('millrace') };
  table([
    ['Append to SSE event, 100 a second', 'p50 ms', 'p99 ms'],
    ...Object.entries(results).map(([name, { p50, p99 }]) => [name, figure(p50), figure(p99)]),
  ]);
  console.log();
}

if (parts.has('start-up')) {
  const results = await rounds({ few: startUp(100), many: startUp(STREAMS_ON_DISK) });
  table([
    ['Process start to first answer', 'seconds'],
    ['100 streams on disk', figure(results.few)],
    [`${STREAMS_ON_DISK} streams on disk`, figure(results.many)],
  ]);
}
