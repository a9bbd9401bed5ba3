import { join } from 'node:path';
import { connect } from '@nats-io/transport-node';
import type { HubDriverSuiteOptions } from '../../src/testing/index.js';
import { BrokerProcess, brokerFolder, freePorts } from './broker-process.js';

/** Starts nats-server on a free port, without files. */
export async function startNats(extra: readonly string[] = []) {
  const programs = await brokerFolder('nats');
  const [port = 0] = await freePorts(1);
  const args = ['--addr', '127.0.0.1', '--port', `${port}`, ...extra];
  const broker = new BrokerProcess(join(programs, 'nats-server'), args, [port]);
  await broker.start();
  return {
    url: `nats://127.0.0.1:${port}`,
    kill: () => broker.kill(),
    restart: () => broker.start(),
    stop: () => broker.kill(),
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
