import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { HubDriverSuiteOptions } from '../../src/testing/index.js';
import { BrokerProcess, brokerFolder, freePorts } from './broker-process.js';

const run = promisify(execFile);

/** Starts redis-server on a free port, without persistence. */
export async function startRedis(extra: readonly string[] = []) {
  const programs = await brokerFolder('redis');
  const [port = 0] = await freePorts(1);
  const folder = await mkdtemp(join(tmpdir(), 'millrace-redis-'));
  const own = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'no'];
  const args = [...own, ...extra];
  const broker = new BrokerProcess(join(programs, 'redis-server'), args, [port]);
  await broker.start();
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    cli: join(programs, 'redis-cli'),
    signal: (name: NodeJS.Signals) => broker.signal(name),
    kill: () => broker.kill(),
    restart: () => broker.start(),
    async stop() {
      await broker.kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** redis-cli as the other program. */
export function redisCli(command: string, port: number): NonNullable<HubDriverSuiteOptions['foreign']> {
  return {
    async publish(name, payload) {
      await run(command, ['-p', `${port}`, 'PUBLISH', name, payload]);
    },
    async follow(name) {
      const child = spawn(command, ['-p', `${port}`, '--raw', 'SUBSCRIBE', name], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const line = async () => (await lines.next()).value as string;
      // The confirmation: subscribe, the name, how many.
      for (let at = 0; at < 3; at++) await line();
      return {
        async next() {
          // A message: message, the name, the payload.
          await line();
          await line();
          return await line();
        },
        async end() {
          child.kill();
        },
      };
    },
  };
}
