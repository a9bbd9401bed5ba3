// Publish-to-subscriber throughput over Redis and NATS, beside the bare client library doing the same on one server:
// one connection publishes (with so many publishes under way), one subscribes and parses; JSON of about 100 bytes.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { connect } from '@nats-io/transport-node';
import { createHub } from 'millrace/hub';
import { createClient } from 'redis';
import { figure, ratio, rounds, table } from './harness/measure.mjs';

const MESSAGES = Number(process.env.MILLRACE_BENCH_MESSAGES ?? 50_000);
const UNDER_WAY = 1000;
const message = { id: 0, room: 'lobby', who: 'somebody', text: 'x'.repeat(50) };

/** Starts a server program and waits until it takes connections. */
async function broker(command, args, port) {
  const child = spawn(command, args, { stdio: 'ignore' });
  child.on('error', () => {});
  for (let tries = 0; tries < 200; tries++) {
    const socket = connectSocket(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return child;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 25));
    } finally {
      socket.destroy();
    }
  }
  throw new Error(`${command} is not there: run scripts/brokers/redis and scripts/brokers/nats`);
}

/** Messages per second from the first publish until the last one has arrived. */
async function measure({ publish, onMessage, close }) {
  let received = 0;
  let finish;
  const finished = new Promise((resolve) => {
    finish = resolve;
  });
  await onMessage(() => {
    if (++received === MESSAGES) finish();
  });
  const start = performance.now();
  let published = 0;
  const worker = async () => {
    while (published < MESSAGES) await publish({ ...message, id: published++ });
  };
  await Promise.all(Array.from({ length: UNDER_WAY }, worker));
  await finished;
  const rate = (MESSAGES / (performance.now() - start)) * 1000;
  await close();
  return rate;
}

const overHub = (url) => async () => {
  const hub = createHub(url);
  const subscription = hub.subscribe('bench');
  await subscription.ready;
  return measure({
    publish: (value) => hub.publish('bench', value),
    onMessage: (deliver) => void subscription.consume(() => deliver()),
    close: () => hub.close(),
  });
};

const bareRedis = (url) => async () => {
  const publisher = await createClient({ url }).connect();
  const subscriber = await publisher.duplicate().connect();
  return measure({
    publish: (value) => publisher.publish('bench', JSON.stringify(value)),
    onMessage: (deliver) => subscriber.subscribe('bench', (text) => deliver(JSON.parse(text))),
    close: () => {
      publisher.destroy();
      subscriber.destroy();
    },
  });
};

// A publish that is known to have arrived, as the hub promises it: one flush for all of a turn of the event loop.
const bareNats = (url) => async () => {
  const connection = await connect({ servers: url });
  let flush;
  return measure({
    publish: (value) => {
      connection.publish('bench', JSON.stringify(value));
      flush ??= Promise.resolve().then(() => {
        flush = undefined;
        return connection.flush();
      });
      return flush;
    },
    onMessage: async (deliver) => {
      connection.subscribe('bench', { callback: (_, received) => deliver(received.json()) });
      await connection.flush();
    },
    close: () => connection.close(),
  });
};

const redisPort = 16379;
const natsPort = 14222;
const brokers = [
  await broker('redis-server', ['--port', redisPort, '--bind', '127.0.0.1', '--save', ''], redisPort),
  await broker('nats-server', ['--addr', '127.0.0.1', '--port', natsPort], natsPort),
];
try {
  const rows = [['broker', 'bare client', 'hub', 'hub / bare']];
  for (const [name, bare, url] of [
    ['Redis', bareRedis, `redis://127.0.0.1:${redisPort}`],
    ['NATS', bareNats, `nats://127.0.0.1:${natsPort}`],
  ]) {
    const { bare: base, hub } = await rounds({ bare: bare(url), hub: overHub(url) });
    rows.push([name, figure(base), figure(hub), ratio(hub / base)]);
  }
  console.log(`Messages per second, ${UNDER_WAY} publishes under way\n`);
  table(rows);
} finally {
  for (const child of brokers) child.kill();
}
