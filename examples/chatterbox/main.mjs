#!/usr/bin/env node
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { chat, monitor } from './client.mjs';
import { startServer } from './server.mjs';
import { DEFAULT_ADDRESS } from './service.mjs';

const USAGE = `A chat over gRPC streams.

  node examples/chatterbox/main.mjs server  [--address ${DEFAULT_ADDRESS}] [--max-lag EVENTS]
  node examples/chatterbox/main.mjs client  [--address ${DEFAULT_ADDRESS}]   type a line to say it, Ctrl-D to leave
  node examples/chatterbox/main.mjs monitor [--address ${DEFAULT_ADDRESS}]   watch without being a member`;

const print = (line) => process.stdout.write(`${line}\n`);

/** Aborts at Ctrl-C, at a request to terminate, and when whoever reads our output is gone. */
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stop.abort());
process.stdout.on('error', () => stop.abort());

const commands = {
  async server({ address, maxLag }) {
    const server = await startServer({ address, maxLag, log: print });
    print(`Listening on ${server.address}`);
    await new Promise((resolve) => stop.signal.addEventListener('abort', resolve, { once: true }));
    await server.close();
  },
  async client({ address }) {
    const input = createInterface({ input: process.stdin, signal: stop.signal });
    await chat({ address, lines: input[Symbol.asyncIterator](), print, signal: stop.signal });
    input.close();
  },
  async monitor({ address }) {
    await monitor({ address, print, signal: stop.signal });
  },
};

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { address: { type: 'string', default: DEFAULT_ADDRESS }, 'max-lag': { type: 'string' } },
  });
  const command = commands[positionals[0]];
  if (command === undefined || positionals.length > 1) throw new Error(USAGE);
  const maxLag = values['max-lag'] === undefined ? undefined : Number(values['max-lag']);
  await command({ address: values.address, maxLag });
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
