import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { BrokerProcess, brokerFolder, freePorts } from './broker-process.js';

/** One nsqd. */
export interface Nsqd {
  /** `host:port` of its TCP protocol. */
  readonly address: string;
  /** `http://host:port` */
  readonly http: string;
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** One nsqlookupd and as many nsqd as asked for, in a temporary folder. */
export interface NsqBroker {
  /** `host:port` of nsqlookupd's HTTP. */
  readonly lookupd: string;
  readonly nsqd: readonly Nsqd[];
  stop(): Promise<void>;
}

/** `flags` are given to each nsqd. */
export async function startNsq(count = 1, flags: readonly string[] = []): Promise<NsqBroker> {
  const programs = await brokerFolder('nsq');
  const folder = await mkdtemp(join(tmpdir(), 'millrace-nsq-'));
  const [lookupTcp = 0, lookupHttp = 0, ...ports] = await freePorts(2 + 2 * count);
  const lookupd = new BrokerProcess(
    join(programs, 'nsqlookupd'),
    [`-tcp-address=127.0.0.1:${lookupTcp}`, `-http-address=127.0.0.1:${lookupHttp}`, '-broadcast-address=127.0.0.1'],
    [lookupTcp, lookupHttp],
  );
  await lookupd.start();
  const nsqd = await Promise.all(
    Array.from({ length: count }, async (_, at) => {
      const [tcp = 0, http = 0] = ports.slice(2 * at);
      const data = await mkdtemp(join(folder, 'nsqd-'));
      const broker = new BrokerProcess(
        join(programs, 'nsqd'),
        [
          `-tcp-address=127.0.0.1:${tcp}`,
          `-http-address=127.0.0.1:${http}`,
          `-lookupd-tcp-address=127.0.0.1:${lookupTcp}`,
          '-broadcast-address=127.0.0.1',
          `-data-path=${data}`,
          '-log-level=warn',
          ...flags,
        ],
        [tcp, http],
      );
      await broker.start();
      return {
        address: `127.0.0.1:${tcp}`,
        http: `http://127.0.0.1:${http}`,
        kill: () => broker.kill(),
        start: () => broker.start(),
      };
    }),
  );
  const broker = {
    lookupd: `127.0.0.1:${lookupHttp}`,
    nsqd,
    async stop() {
      await Promise.all([lookupd.kill(), ...nsqd.map((each) => each.kill())]);
      await rm(folder, { recursive: true, force: true });
    },
  };
  await registered(broker.lookupd, count);
  return broker;
}

/** Waits until nsqlookupd knows of so many nsqd. */
export async function registered(lookupd: string, count: number): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const response = await fetch(`http://${lookupd}/nodes`);
    const { producers } = (await response.json()) as { producers: unknown[] };
    if (producers.length === count) return;
    if (Date.now() > deadline) throw new Error(`nsqlookupd knows of ${producers.length} nsqd, not ${count}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Publishes as any program would, over nsqd's HTTP. */
export async function publishByHttp(nsqd: Nsqd, topic: string, payload: string): Promise<void> {
  const response = await fetch(`${nsqd.http}/pub?topic=${encodeURIComponent(topic)}`, {
    method: 'POST',
    body: payload,
  });
  if (!response.ok) throw new Error(`nsqd answered ${response.status}`);
}

/** Reads a topic with nsq_tail. */
export async function followByTail(nsqd: Nsqd, topic: string) {
  const tail = spawn(join(await brokerFolder('nsq'), 'nsq_tail'), [
    `-topic=${topic}`,
    `-nsqd-tcp-address=${nsqd.address}`,
  ]);
  const lines = createInterface({ input: tail.stdout })[Symbol.asyncIterator]();
  await once(
    createInterface({ input: tail.stderr }).on('line', () => {}),
    'line',
  );
  // It says that it connects, and nsqd's own count tells when it has.
  await clients(nsqd, topic, 1);
  return {
    async next(): Promise<string> {
      return (await lines.next()).value;
    },
    async end(): Promise<void> {
      const exited = once(tail, 'exit');
      tail.kill('SIGKILL');
      await exited;
    },
  };
}

/** Waits until so many clients read a topic. */
async function clients(nsqd: Nsqd, topic: string, count: number): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const response = await fetch(`${nsqd.http}/stats?format=json&topic=${encodeURIComponent(topic)}`);
    const { topics } = (await response.json()) as { topics: { channels: { clients: unknown[] | null }[] }[] | null };
    const reading = (topics ?? []).flatMap(({ channels }) => channels.flatMap((channel) => channel.clients ?? []));
    if (reading.length >= count) return;
    if (Date.now() > deadline) throw new Error(`${reading.length} clients read ${topic}, not ${count}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
