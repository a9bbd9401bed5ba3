import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { configureServer, createHandler, type HandlerOptions } from '../../src/http/index.js';

/** A server of its own on a free port of this machine. */
export interface Served {
  readonly url: string;
  close(): Promise<void>;
}

/** Serves a store, on a free port or on the given one. Closing ends the server and the handler, not the store. */
export async function serve(options: HandlerOptions, port = 0): Promise<Served> {
  const handler = createHandler({ subscriptions: { allowLoopback: true }, ...options });
  const server = createServer(handler.request).on('upgrade', handler.upgrade);
  // As a real server is set up: Node's own keep-alive of 5 s may end a connection just as a client uses it again.
  configureServer(server);
  await listen(server, port);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      await handler.close({ drainMs: 100 });
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
}
