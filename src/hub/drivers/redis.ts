import { MillraceError } from '../../errors.js';
import { reconnectDelayMs } from '../backoff.js';
import type {
  ChannelSink,
  Driver,
  DriverAbilities,
  DriverConnection,
  DriverContext,
  DriverSubscription,
} from '../driver.js';
import { Interruption } from '../interruption.js';
import { loadClient } from '../load-client.js';
import { plainNames } from '../names.js';

type Listener = (message: Buffer, channel: Buffer) => void;

/** A function of a client, whatever its types: releases of the package differ in them. */
type Method = (...values: never[]) => unknown;

/** What makes a client of the package `redis`: `createClient`, `createCluster` and `createSentinel` give one. */
export interface RedisClientLike {
  readonly isOpen: boolean;
  readonly publish: Method;
  readonly subscribe: Method;
  readonly unsubscribe: Method;
  readonly pSubscribe: Method;
  readonly pUnsubscribe: Method;
  readonly duplicate: Method;
  readonly on: Method;
  readonly off: Method;
}

/** The same as it is used here. */
interface RedisClient {
  readonly isOpen: boolean;
  /** Absent in a cluster. */
  readonly isReady?: boolean;
  publish(channel: string, message: Buffer): Promise<unknown>;
  subscribe(channel: string, listener: Listener, bufferMode: true): Promise<unknown>;
  unsubscribe(channel: string, listener: Listener, bufferMode: true): Promise<unknown>;
  pSubscribe(pattern: string, listener: Listener, bufferMode: true): Promise<unknown>;
  pUnsubscribe(pattern: string, listener: Listener, bufferMode: true): Promise<unknown>;
  duplicate(): RedisClient;
  connect(): Promise<unknown>;
  destroy(): void;
  on(event: string, listener: (cause?: unknown) => void): unknown;
  off(event: string, listener: (cause?: unknown) => void): unknown;
}

/** Options of {@link redis}: a URL or a client. */
export interface RedisOptions {
  /** `redis://[[user]:password@]host[:port][/database]`, `rediss://…` for TLS. */
  readonly url?: string;
  /**
   * Your own, connected client, cluster or sentinel of the package `redis` (6). It publishes; subscriptions get a
   * connection of their own, made by its `duplicate()`. It stays yours: the hub never ends it.
   */
  readonly client?: RedisClientLike;
  /**
   * How often the server is asked whether it is still there (default {@link DEFAULT_PING_INTERVAL_MS}). A silence of two and
   * a half times as long is a lost connection. Not for a client of your own: it pings as you configured it.
   */
  readonly pingIntervalMs?: number;
}

/** Default of {@link RedisOptions.pingIntervalMs}. */
export const DEFAULT_PING_INTERVAL_MS = 10_000;

const abilities: DriverAbilities = {
  ordering: true,
  replay: false,
  patterns: true,
  atLeastOnce: false,
  // The server's `proto-max-bulk-len`, unless it is configured otherwise.
  maxMessageBytes: 512 * 1024 * 1024,
};

/** The client waits out a delay even when it is ended meanwhile, so delays are kept short here. */
const RECONNECT_DELAY_MAX_MS = 1_000;

/** How long `close` waits for the answers to publishes that are under way. */
const CLOSE_GRACE_MS = 1_000;

/** Events of a client, a sentinel and the nodes of a cluster that tell of a lost connection, and of one that is back. */
const LOST_EVENTS = ['error', 'reconnecting', 'end', 'disconnect', 'node-error', 'node-reconnecting'];
const READY_EVENTS = ['ready', 'node-ready'];

/** Redis Pub/Sub, on the channel's own name: whoever uses `PUBLISH` and `SUBSCRIBE` is a peer. */
export function redis(options: RedisOptions = {}): Driver {
  if (options.url !== undefined && options.client !== undefined) {
    throw new MillraceError('INVALID_ARGUMENT', 'Give the redis driver a url or a client, not both.');
  }
  const { url = 'redis://127.0.0.1:6379', pingIntervalMs = DEFAULT_PING_INTERVAL_MS } = options;
  const client = options.client as RedisClient | undefined;
  return {
    name: 'redis',
    abilities,
    names: plainNames,
    async connect(context) {
      if (client !== undefined && !client.isOpen) {
        throw new MillraceError('INVALID_ARGUMENT', 'The redis client is not open: await its connect() first.');
      }
      const connection = new RedisConnection(
        client ?? (await makeClient(url, pingIntervalMs, context)),
        client === undefined,
        context,
      );
      await connection.open();
      return connection;
    },
  };
}

/** See {@link RedisOptions.url}. */
export function driverFromUrl(url: string): Driver {
  if (!URL.canParse(url)) throw new MillraceError('INVALID_ARGUMENT', 'This is not a redis:// URL.');
  return redis({ url });
}

async function makeClient(url: string, pingIntervalMs: number, context: DriverContext): Promise<RedisClient> {
  const { createClient } = await loadClient('redis', () => import('redis'));
  let connected = false;
  const client = createClient({
    url,
    disableOfflineQueue: true,
    // The hub has a limit of its own for the answer; the client's is a timer and a signal for every single command.
    commandOptions: { timeout: 0 },
    pingInterval: pingIntervalMs,
    socket: {
      connectTimeout: context.connectTimeoutMs,
      socketTimeout: Math.ceil(pingIntervalMs * 2.5),
      // A first connection fails at once; one that stood before is sought again without end.
      reconnectStrategy: (retries) => connected && Math.min(RECONNECT_DELAY_MAX_MS, reconnectDelayMs(retries)),
    },
  });
  client.once('ready', () => {
    connected = true;
  });
  return client as unknown as RedisClient;
}

class RedisConnection implements DriverConnection {
  readonly #publisher: RedisClient;
  readonly #subscriber: RedisClient;
  /** Whether the publisher is ours to connect and to end. */
  readonly #owned: boolean;
  readonly #context: DriverContext;
  readonly #sinks = new Set<ChannelSink>();
  readonly #interruption = new Interruption();
  /** Unsubscribes that could not be sent while the connection was down. */
  readonly #leftovers = new Set<() => Promise<unknown>>();
  #subscriberLost = false;
  #publisherLost = false;
  #publishing = 0;
  #onIdle: (() => void) | undefined;
  #closed = false;

  constructor(publisher: RedisClient, owned: boolean, context: DriverContext) {
    this.#publisher = publisher;
    this.#owned = owned;
    this.#context = context;
    this.#subscriber = publisher.duplicate();
  }

  async open(): Promise<void> {
    const { signal } = this.#context;
    signal.throwIfAborted();
    const onAbort = () => {
      // Ended before it has a socket, a client waits on the one that it gets then: it has to be ended once more.
      for (const client of this.#own) client.on('connect', () => client.destroy());
      this.#destroy();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    // Without a listener an 'error' event would end the process.
    this.#publisher.on('error', ignore);
    this.#subscriber.on('error', ignore);
    try {
      await Promise.all([this.#owned ? this.#publisher.connect() : undefined, this.#subscriber.connect()]);
      signal.throwIfAborted();
    } catch (error) {
      this.#destroy();
      throw signal.aborted ? signal.reason : explain(error);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    this.#listen(this.#publisher, 'on');
    this.#listen(this.#subscriber, 'on');
  }

  async publish(channel: string, payload: Uint8Array): Promise<void> {
    if (this.#closed || !isReady(this.#publisher)) throw unavailable();
    this.#publishing++;
    try {
      await this.#publisher.publish(channel, Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength));
    } catch (error) {
      throw explain(error);
    } finally {
      this.#publishing--;
      if (this.#publishing === 0) this.#onIdle?.();
    }
  }

  subscribe(channel: string, sink: ChannelSink): Promise<DriverSubscription> {
    const subscriber = this.#subscriber;
    return this.#subscribe(
      sink,
      (listener) => subscriber.subscribe(channel, listener, true),
      (listener) => subscriber.unsubscribe(channel, listener, true),
      () => channel,
    );
  }

  subscribePattern(pattern: string, sink: ChannelSink): Promise<DriverSubscription> {
    const subscriber = this.#subscriber;
    const glob = pattern.replace(/[\\?[\]]/g, '\\$&');
    return this.#subscribe(
      sink,
      (listener) => subscriber.pSubscribe(glob, listener, true),
      (listener) => subscriber.pUnsubscribe(glob, listener, true),
      (channel) => channel.toString(),
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#publishing > 0 && isReady(this.#publisher)) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, CLOSE_GRACE_MS);
        this.#onIdle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#listen(this.#publisher, 'off');
    this.#listen(this.#subscriber, 'off');
    this.#sinks.clear();
    this.#destroy();
    if (!this.#owned) this.#publisher.off('error', ignore);
  }

  async #subscribe(
    sink: ChannelSink,
    subscribe: (listener: Listener) => Promise<unknown>,
    unsubscribe: (listener: Listener) => Promise<unknown>,
    nameOf: (channel: Buffer) => string,
  ): Promise<DriverSubscription> {
    if (!isReady(this.#subscriber)) throw unavailable();
    let active = true;
    const listener: Listener = (message, channel) => {
      if (!active) return;
      this.#interruption.tell(sink);
      sink.message(nameOf(channel), message);
    };
    try {
      await subscribe(listener);
    } catch (error) {
      active = false;
      throw explain(error);
    }
    this.#sinks.add(sink);
    return {
      unsubscribe: async () => {
        active = false;
        this.#sinks.delete(sink);
        this.#interruption.forget(sink);
        if (this.#closed) return;
        const leave = () => unsubscribe(listener);
        await leave().catch(() => this.#leftovers.add(leave));
      },
    };
  }

  #listen(client: RedisClient, how: 'on' | 'off'): void {
    const [lost, ready] =
      client === this.#publisher
        ? [this.#onPublisherLost, this.#onPublisherReady]
        : [this.#onSubscriberLost, this.#onSubscriberReady];
    for (const event of LOST_EVENTS) client[how](event, lost);
    for (const event of READY_EVENTS) client[how](event, ready);
  }

  readonly #onPublisherLost = (cause?: unknown): void => {
    if (this.#publisher.isReady === true) return;
    this.#publisherLost = true;
    this.#context.onStatus('reconnecting', cause);
  };

  readonly #onPublisherReady = (): void => {
    this.#publisherLost = false;
    if (!this.#subscriberLost) this.#context.onStatus('connected');
  };

  readonly #onSubscriberLost = (cause?: unknown): void => {
    if (this.#subscriber.isReady === true) return;
    this.#subscriberLost = true;
    this.#interruption.begin(this.#sinks);
    this.#context.onStatus('reconnecting', cause);
  };

  /** The client has renewed all subscriptions by the time it says `ready`. */
  readonly #onSubscriberReady = (): void => {
    if (!this.#subscriberLost) return;
    this.#subscriberLost = false;
    for (const leave of this.#leftovers) leave().catch(() => {});
    this.#leftovers.clear();
    this.#interruption.end();
    if (!this.#publisherLost) this.#context.onStatus('connected');
  };

  /** The clients that are ours to end. */
  get #own(): readonly RedisClient[] {
    return this.#owned ? [this.#publisher, this.#subscriber] : [this.#subscriber];
  }

  #destroy(): void {
    for (const client of this.#own) {
      // Ending a client that is not open throws, and there is nothing to end then.
      if (client.isOpen) client.destroy();
    }
  }
}

const ignore = (): void => {};

function isReady(client: RedisClient): boolean {
  return client.isReady ?? client.isOpen;
}

function unavailable(cause?: unknown): MillraceError {
  return new MillraceError(
    'HUB_UNAVAILABLE',
    'The connection to Redis is down: try again when the hub is connected.',
    {},
    { cause },
  );
}

/** An error of the client or of the server, as one of ours. */
function explain(error: unknown): MillraceError {
  const message = error instanceof Error ? error.message : String(error);
  if (/^(WRONGPASS|NOAUTH|NOPERM|ERR AUTH|ERR invalid password)/.test(message)) {
    return new MillraceError('HUB_UNAUTHORIZED', `Redis refuses these credentials: ${message}`, {}, { cause: error });
  }
  return new MillraceError(
    'HUB_UNAVAILABLE',
    `Redis cannot be used, or did not answer: ${message}`,
    {},
    { cause: error },
  );
}
