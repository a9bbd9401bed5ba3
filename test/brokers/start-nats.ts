import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '@nats-io/transport-node';
import type { HubDriverSuiteOptions } from '../../src/testing/index.js';
import { BrokerProcess, brokerFolder, freePorts } from './broker-process.js';

/** Starts nats-server on a free port; `config` becomes its configuration file. */
export async function startNats(extra: readonly string[] = [], config: object = {}) {
  const programs = await brokerFolder('nats');
  const [port = 0] = await freePorts(1);
  const folder = await mkdtemp(join(tmpdir(), 'millrace-nats-'));
  const file = join(folder, 'nats.conf');
  await writeFile(file, JSON.stringify(config));
  const args = ['--config', file, '--addr', '127.0.0.1', '--port', `${port}`, ...extra];
  const broker = new BrokerProcess(join(programs, 'nats-server'), args, [port]);
  await broker.start();
  return {
    url: `nats://127.0.0.1:${port}`,
    signal: (name: NodeJS.Signals) => broker.signal(name),
    kill: () => broker.kill(),
    restart: () => broker.start(),
    async stop() {
      await broker.kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The bare client library as the other program. */
export function bareNats(url: string): NonNullable<HubDriverSuiteOptions['foreign']> {
  return {
    async publish(name, payload) {
      const connection = await connect({ servers: url });
      connection.publish(name, payload);
      await connection.drain();
    },
    async follow(name) {
      const connection = await connect({ servers: url });
      const messages = connection.subscribe(name)[Symbol.asyncIterator]();
      await connection.flush();
      return {
        next: async () => (await messages.next()).value.string(),
        end: () => connection.close(),
      };
    },
  };
}
