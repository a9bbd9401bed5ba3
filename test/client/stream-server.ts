import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configureServer, createHandler, type HandlerOptions } from '../../src/http/index.js';
import { createFileStore, createMemoryStore, type Store } from '../../src/log/index.js';

const roots = new Set<string>();

/** Where streams can be kept. Call {@link removeRoots} afterwards. */
export const stores: Readonly<Record<string, () => Promise<Store>>> = {
  'memory store': async () => createMemoryStore(),
  'file store': async () => {
    const root = await mkdtemp(join(tmpdir(), 'millrace-client-'));
    roots.add(root);
    return createFileStore({ root });
  },
};

/** Removes the directories of all {@link stores}, which must be closed. */
export async function removeRoots(): Promise<void> {
  await Promise.all([...roots].map((root) => rm(root, { recursive: true, force: true })));
  roots.clear();
}

/** A Millrace server in this process, whose connections can be cut. */
export interface StreamServer {
  readonly url: string;
  readonly port: number;
  readonly store: Store;
  /** How many bytes came over the connections that are open. */
  received(): number;
  /** Cuts all connections without a goodbye. The server goes on. */
  cut(): void;
  /** Cuts all connections and gives the port free; the store stays as it is. */
  kill(): Promise<void>;
  /** Ends it as a server that is told to stop does. */
  drain(): Promise<void>;
}

export interface StreamServerOptions extends Partial<HandlerOptions> {
  readonly port?: number;
}

export async function startStreamServer(options: StreamServerOptions = {}): Promise<StreamServer> {
  const { port = 0, store = createMemoryStore(), ...rest } = options;
  const handler = createHandler({ store, ...rest });
  const server = createServer(handler.request);
  configureServer(server);
  server.on('upgrade', handler.upgrade);
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const { port: actual } = server.address() as AddressInfo;
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const closed = () => new Promise<void>((resolve) => server.close(() => resolve()));
  return {
    url: `http://127.0.0.1:${actual}`,
    port: actual,
    store,
    received: () => [...sockets].reduce((bytes, socket) => bytes + socket.bytesRead, 0),
    cut,
    kill: async () => {
      const done = closed();
      cut();
      await done;
    },
    drain: async () => {
      const done = closed();
      await handler.close({ drainMs: 5_000 });
      server.closeAllConnections();
      await done;
    },
  };
}

/** Everything that comes, as one buffer. */
export async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}

/** The first `bytes` bytes of what comes; the rest is left to be read. */
export async function take(source: AsyncIterator<Uint8Array>, bytes: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for (let have = 0; have < bytes; ) {
    const { done, value } = await source.next();
    if (done) break;
    parts.push(value);
    have += value.length;
  }
  return Buffer.concat(parts);
}
