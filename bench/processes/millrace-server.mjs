// A Millrace server. Says its port.
import { startServer } from 'millrace/server';
import './longest-turn.mjs';
import { options } from './options.mjs';
import './usage.mjs';

const server = await startServer({ port: 0, ...options });
process.once('SIGTERM', async () => {
  await server.close({ drainMs: 0 });
  process.exit();
});
process.send({ port: Number(new URL(server.url).port) });
