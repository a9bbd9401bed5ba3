// Publish-to-subscriber throughput over NSQ and Kafka, beside the bare client library doing the same on one server:
// one connection publishes (with so many publishes under way), one subscribes and parses; JSON of about 100 bytes.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Admin, Consumer, Producer } from '@platformatic/kafka';
import { createHub } from 'millrace/hub';
import nsqjs from 'nsqjs';
import { figure, ratio, rounds, table } from './harness/measure.mjs';

const MESSAGES = Number(process.env.MILLRACE_BENCH_MESSAGES ?? 50_000);
const UNDER_WAY = 1000;
const message = { id: 0, room: 'lobby', who: 'somebody', text: 'x'.repeat(50) };
const folder = mkdtempSync(join(tmpdir(), 'millrace-bench-'));

/** The folder that scripts/brokers/NAME tells. */
function programs(name) {
  return execFileSync(join(import.meta.dirname, '../scripts/brokers', name), { encoding: 'utf8' }).trim();
}

/** Starts a server program and waits until it takes connections. */
async function broker(command, args, port) {
  const child = spawn(command, args, { stdio: 'ignore' });
  for (let tries = 0; tries < 1200; tries++) {
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
  throw new Error(`${command} does not start`);
}

function startNsqd(port) {
  const data = mkdtempSync(join(folder, 'nsqd-'));
  const args = [`-tcp-address=127.0.0.1:${port}`, `-http-address=127.0.0.1:${port + 1}`, `-data-path=${data}`];
  return broker(join(programs('nsq'), 'nsqd'), args, port);
}

function startKafka(port) {
  const properties = join(folder, 'server.properties');
  const settings = {
    'process.roles': 'broker,controller',
    'node.id': 1,
    'controller.quorum.voters': `1@127.0.0.1:${port + 1}`,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${port + 1}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': join(folder, 'kafka'),
    'offsets.topic.replication.factor': 1,
    'group.initial.rebalance.delay.ms': 0,
  };
  writeFileSync(
    properties,
    Object.entries(settings)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  const java = ['-Xmx512m', '-cp', join(programs('kafka'), '*')];
  const id = Buffer.alloc(16, 7).toString('base64url');
  execFileSync('java', [...java, 'kafka.tools.StorageTool', 'format', '-t', id, '-c', properties], { stdio: 'ignore' });
  return broker('java', [...java, 'kafka.Kafka', properties], port);
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

/** Each run has a topic of its own, so that none begins with what is left of another. */
let runs = 0;
const newTopic = () => `bench-${runs++}`;

const overHub = (url) => async () => {
  const topic = newTopic();
  const hub = createHub(url);
  const subscription = hub.subscribe(topic);
  await subscription.ready;
  return measure({
    publish: (value) => hub.publish(topic, value),
    onMessage: (deliver) => void subscription.consume(() => deliver()),
    close: () => hub.close(),
  });
};

const bareNsq = (port) => async () => {
  const topic = newTopic();
  const writer = new nsqjs.Writer('127.0.0.1', port);
  writer.connect();
  await once(writer, 'ready');
  const reader = new nsqjs.Reader(topic, 'bench#ephemeral', {
    nsqdTCPAddresses: `127.0.0.1:${port}`,
    maxInFlight: 2500,
  });
  return measure({
    publish: (value) =>
      new Promise((resolve, reject) => {
        writer.publish(topic, JSON.stringify(value), (error) => (error ? reject(error) : resolve()));
      }),
    onMessage: async (deliver) => {
      reader.on('message', (received) => {
        deliver(received.json());
        received.finish();
      });
      reader.connect();
      await once(reader, 'ready');
    },
    close: () => {
      reader.close();
      writer.close();
    },
  });
};

// As the hub does: what is published in one turn of the event loop is sent together, and all replicas must have it.
const bareKafka = (port) => async () => {
  const topic = newTopic();
  const common = { clientId: 'bench', bootstrapBrokers: [`127.0.0.1:${port}`] };
  const admin = new Admin(common);
  await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 });
  await admin.close();
  const producer = new Producer(common);
  const consumer = new Consumer({ ...common, groupId: topic, autocommit: false, maxWaitTime: 250 });
  let batch;
  let stream;
  return measure({
    publish: (value) => {
      if (batch === undefined) {
        const messages = [];
        const sent = Promise.resolve().then(() => {
          batch = undefined;
          return producer.send({ messages, acks: -1 });
        });
        batch = { messages, sent };
      }
      batch.messages.push({ topic, partition: 0, value: Buffer.from(JSON.stringify(value)) });
      return batch.sent;
    },
    onMessage: async (deliver) => {
      stream = await consumer.consume({ topics: [topic], mode: 'latest' });
      stream.on('data', ({ value }) => deliver(JSON.parse(value.toString())));
      await new Promise((resolve) => setTimeout(resolve, 500));
    },
    close: async () => {
      await stream.close();
      await consumer.close(true);
      await producer.close();
    },
  });
};

const nsqPort = 14150;
const kafkaPort = 19092;
const brokers = await Promise.all([startNsqd(nsqPort), startKafka(kafkaPort)]);
try {
  const rows = [['broker', 'bare client', 'hub', 'hub / bare']];
  for (const [name, bare, url] of [
    ['NSQ', bareNsq(nsqPort), `nsq://127.0.0.1:${nsqPort}`],
    ['Kafka', bareKafka(kafkaPort), `kafka://127.0.0.1:${kafkaPort}`],
  ]) {
    const { bare: base, hub } = await rounds({ bare, hub: overHub(url) });
    rows.push([name, figure(base), figure(hub), ratio(hub / base)]);
  }
  console.log(`Messages per second, ${UNDER_WAY} publishes under way\n`);
  table(rows);
} finally {
  for (const child of brokers) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}
