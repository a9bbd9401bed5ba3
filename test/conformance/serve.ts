import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createHandler, type HandlerOptions } from '../../src/http/index.js';

/** A server of its own on a free port of this machine. */
export interface Served {
  readonly url: string;
  close(): Promise<void>;
}

/** Serves a store. Closing ends the server and the handler, not the store. */
export async function serve(options: HandlerOptions): Promise<Served> {
  const handler = createHandler({ subscriptions: { allowLoopback: true }, ...options });
  const server = createServer(handler.request).on('upgrade', handler.upgrade);
  await listen(server);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      await handler.close({ drainMs: 1000 });
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function listen(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
}
