import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Admin } from '@platformatic/kafka';
import { BrokerProcess, brokerFolder, freePorts, START_TIMEOUT_MS } from './broker-process.js';

const run = promisify(execFile);

/** A broker that does little at a time starts faster with less compiling and less memory. */
const JVM = ['-Xmx384m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xshare:auto'];

const LOGGING = `
status = error
rootLogger.level = warn
rootLogger.appenderRefs = stderr
rootLogger.appenderRef.stderr.ref = stderr
appenders = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %p %c{1} %m%n
`;

/** A listener that asks for a user, and the settings that go with it. */
export const GUARDED = {
  protocol: 'SASL_PLAINTEXT',
  settings: {
    'inter.broker.listener.name': 'SASL_PLAINTEXT',
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT',
    'sasl.enabled.mechanisms': 'PLAIN',
    'sasl.mechanism.inter.broker.protocol': 'PLAIN',
    'listener.name.sasl_plaintext.plain.sasl.jaas.config':
      'org.apache.kafka.common.security.plain.PlainLoginModule required ' +
      'username="broker" password="between" user_broker="between" user_alice="open:sesame";',
  },
} as const;

/** Starts Kafka, one broker which is its own controller (KRaft), in a temporary folder. */
export async function startKafka(
  options: { readonly protocol?: string; readonly settings?: Readonly<Record<string, string>> } = {},
) {
  const { protocol = 'PLAINTEXT', settings = {} } = options;
  const jars = join(await brokerFolder('kafka'), '*');
  const folder = await mkdtemp(join(tmpdir(), 'millrace-kafka-'));
  const [port = 0, controllerPort = 0] = await freePorts(2);
  const properties = join(folder, 'server.properties');
  const logging = join(folder, 'log4j2.properties');
  await writeFile(logging, LOGGING);
  const all = {
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.voters': `1@127.0.0.1:${controllerPort}`,
    listeners: `${protocol}://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `${protocol}://127.0.0.1:${port}`,
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': join(folder, 'data'),
    'num.partitions': '1',
    // A broker that was killed may come back once the controller has noticed.
    'broker.session.timeout.ms': '1500',
    'broker.heartbeat.interval.ms': '250',
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    ...settings,
  };
  await writeFile(
    properties,
    Object.entries(all)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  const java = (...args: string[]) => [...JVM, `-Dlog4j2.configurationFile=${logging}`, '-cp', jars, ...args];
  // Not with a dash at its beginning, which would be an option.
  const id = `A${Buffer.from(crypto.getRandomValues(new Uint8Array(16)))
    .toString('base64url')
    .slice(1)}`;
  await run('java', java('kafka.tools.StorageTool', 'format', '-t', id, '-c', properties));
  const broker = new BrokerProcess('java', java('kafka.Kafka', properties), [port]);
  await broker.start();
  const address = `127.0.0.1:${port}`;
  // One that asks for a user answers nobody else.
  if (!Object.keys(settings).some((name) => name.includes('sasl'))) await answers(address);
  return {
    address,
    url: `kafka://${address}`,
    kill: () => broker.kill(),
    restart: () => broker.start(),
    async stop() {
      await broker.kill();
      await rm(folder, { recursive: true, force: true });
    },
    /** Publishes one line with Kafka's console producer. */
    async publish(topic: string, payload: string, compression = 'none') {
      const producer = spawn(
        'java',
        java(
          'org.apache.kafka.tools.ConsoleProducer',
          ...['--bootstrap-server', address, '--topic', topic, '--compression-codec', compression],
        ),
        { stdio: ['pipe', 'ignore', 'ignore'] },
      );
      const exited = once(producer, 'exit');
      producer.stdin.end(`${payload}\n`);
      await exited;
    },
    /** Reads a topic from its beginning with Kafka's console consumer. */
    async follow(topic: string) {
      const consumer = spawn(
        'java',
        java(
          'org.apache.kafka.tools.consumer.ConsoleConsumer',
          ...['--bootstrap-server', address, '--topic', topic, '--from-beginning'],
        ),
        { stdio: ['ignore', 'pipe', 'ignore'] },
      );
      const lines = createInterface({ input: consumer.stdout })[Symbol.asyncIterator]();
      return {
        async next(): Promise<string> {
          return (await lines.next()).value;
        },
        async end(): Promise<void> {
          const exited = once(consumer, 'exit');
          consumer.kill('SIGKILL');
          await exited;
        },
      };
    },
  };
}

/** Kafka takes connections, and ends them, for a moment before it is up. */
async function answers(address: string): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const admin = new Admin({ clientId: 'start', bootstrapBrokers: [address], retries: 0, connectTimeout: 5_000 });
    try {
      await admin.listTopics();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw new Error('Kafka does not answer.', { cause: error });
      await sleep(100);
    } finally {
      await admin.close();
    }
  }
}
