import { mkdir } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { configureServer, createHandler, type Handler, type Log, type OriginCheckOptions } from '../http/index.js';
import { createHub, type Hub } from '../hub/index.js';
import { createFileStore, createMemoryStore, type Store } from '../log/index.js';
import { type CheckedConfig, checkConfig, type ServerConfig } from './config.js';
import { limitConnections } from './limit-connections.js';
import { isLoopbackAddress, listen } from './listen.js';
import { logLosses } from './log-losses.js';

/** Options of {@link startServer}. */
export interface ServerOptions extends ServerConfig {
  /** Default: nothing is logged. A pino logger fits. */
  readonly log?: Log;
  /** Gives up starting when it aborts: the root is free again, and the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** A server that runs. */
export interface RunningServer {
  /** Where a program on this machine reaches it, like `http://127.0.0.1:4437`, without a slash at the end. */
  readonly url: string;
  /** Where the streams are kept; undefined for the memory store. */
  readonly root: string | undefined;
  /** Resolves with the cause when the store fails for good: close the server, look at the disk. Never rejects. */
  readonly failed: Promise<Error>;
  /**
   * Takes no new work, commits what was accepted, brings followers to their proper end, and resolves when all is done;
   * after `drainMs` (default: that of the limits) whoever is left is cut off. Closing again waits for the same.
   */
  close(options?: { readonly drainMs?: number }): Promise<void>;
}

/**
 * Starts a server: picks the store, makes the handler, listens.
 * Errors: `INVALID_ARGUMENT`, `LISTEN_FAILED`, `STORE_LOCKED` (another process serves this root), `STORE_UNAVAILABLE`,
 * `JOURNAL_CORRUPT`; of the hub: `HUB_UNKNOWN_SCHEME`, `HUB_CLIENT_MISSING`, `HUB_UNAVAILABLE`, `HUB_UNAUTHORIZED`.
 */
export async function startServer(options: ServerOptions = {}): Promise<RunningServer> {
  const config = checkConfig(options);
  const { signal } = options;
  signal?.throwIfAborted();
  const hub = openHub(config.hub, options.log);
  const store = config.root === undefined ? createMemoryStore() : await openRoot(config.root, options.log);
  let made: Handler | undefined;
  // A hub that is closed connects no more: that ends the wait for its broker.
  const giveUp = () => void hub.close();
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    signal?.throwIfAborted();
    const handler = createHandler({
      store,
      hub,
      limits: config.limits,
      originCheck: await originCheckFor(config),
      subscriptions: { allowLoopback: config.webhooksToLoopback },
      ...(config.publicUrl === undefined ? {} : { publicUrl: config.publicUrl }),
      ...(options.log === undefined ? {} : { log: options.log }),
    });
    made = handler;
    const server = createServer(handler.request);
    configureServer(server);
    server.on('upgrade', handler.upgrade);
    server.maxConnections = config.connectionsMax;
    limitConnections(server, config.connectionsPerAddressMax, options.log);
    await hub.connect();
    const url = await listen(server, config.host, config.port);
    if (signal?.aborted) server.close();
    signal?.throwIfAborted();
    let closing: Promise<void> | undefined;
    return {
      url,
      root: config.root,
      failed: store.failed,
      close: ({ drainMs = config.limits.drainMs } = {}) => {
        closing ??= stop(server, handler, hub, store, drainMs);
        return closing;
      },
    };
  } catch (error) {
    // The root must be free for the next try.
    await made?.close({ drainMs: 0 });
    await hub.close();
    await store.close();
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener('abort', giveUp);
  }
}

/** Nothing here authorizes, so where a request comes from is all there is to go by. */
async function originCheckFor({ origins, hostNames, host }: CheckedConfig): Promise<OriginCheckOptions> {
  if (!(await isLoopbackAddress(host))) return { origins, hostNames };
  return { origins, hostNames: [...hostNames, host], checkHost: true };
}

/** The hub, which says in the log when its broker is lost and found again. */
function openHub(url: string, log: Log | undefined): Hub {
  let lost = false;
  return createHub({
    url,
    onStatus(status, cause) {
      if (status === 'reconnecting')
        log?.warn({ err: cause }, 'the hub has lost its broker, and goes on trying to reach it');
      else if (status === 'connected' && lost) log?.info({}, 'the hub has its broker back');
      lost = status === 'reconnecting';
    },
  });
}

/**
 * Makes the root where there is none, but not the directories above it: a disk that is not mounted must not be taken
 * for an empty one. What else is wrong with it the store says.
 */
async function openRoot(root: string, log: Log | undefined): Promise<Store> {
  await mkdir(root).catch(() => undefined);
  return createFileStore({ root, onLoss: logLosses(log) });
}

async function stop(server: Server, handler: Handler, hub: Hub, store: Store, drainMs: number): Promise<void> {
  // First of all the port: whoever comes now may already meet our successor.
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  await handler.close({ drainMs });
  server.closeAllConnections();
  await closed;
  await hub.close();
  await store.close();
}
