import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { MillraceError } from '../../errors.js';
import { reconnectDelayMs } from '../backoff.js';
import { orAborted } from '../deadline.js';
import type {
  ChannelNames,
  ChannelSink,
  Driver,
  DriverAbilities,
  DriverConnection,
  DriverContext,
  DriverSubscription,
} from '../driver.js';
import { Interruption } from '../interruption.js';
import { loadClient } from '../load-client.js';
import { nameEscaper } from '../names.js';

/** What is used of a message of the client package. */
interface NatsMessage {
  readonly subject: string;
  readonly data: Uint8Array;
}

/** What is used of a connection of the package `@nats-io/transport-node` (or of any other NATS 3 transport). */
export interface NatsConnectionLike {
  readonly info?: { readonly max_payload: number };
  publish(subject: string, payload: Uint8Array): void;
  subscribe(
    subject: string,
    options: { callback: (error: Error | null, message: NatsMessage) => void },
  ): { unsubscribe(): void };
  flush(): Promise<void>;
  status(): AsyncIterable<{ readonly type: string; readonly error?: Error }>;
  isClosed(): boolean;
  close(): Promise<void>;
}

/** Options of {@link nats}: a URL or a client. */
export interface NatsOptions {
  /** `nats://[user:password@|token@]host[:port][,host…]`; `tls://…` insists on TLS. */
  readonly url?: string;
  /**
   * Your own connection. It stays yours: the hub never ends it. It reconnects as you configured it: give it
   * `maxReconnectAttempts: -1`, or the hub cannot come back once it has given up.
   */
  readonly client?: NatsConnectionLike;
  /**
   * How often the server is asked whether it is still there (default {@link DEFAULT_PING_INTERVAL_MS}). Two answers that do
   * not come are a lost connection. Not for a client of your own: it pings as you configured it.
   */
  readonly pingIntervalMs?: number;
}

/** Default of {@link NatsOptions.pingIntervalMs}. */
export const DEFAULT_PING_INTERVAL_MS = 10_000;

const abilities: DriverAbilities = {
  ordering: true,
  replay: false,
  patterns: true,
  atLeastOnce: false,
  // The most that a server can be configured for; the connection knows the real one (1 MiB by default).
  maxMessageBytes: 64 * 1024 * 1024,
};

/** A protocol line may have 4,096 bytes, of which the command and the sizes need some. */
const SUBJECT_LENGTH_MAX = 3_900;

/** How long `close` waits for the server to have everything. */
const CLOSE_GRACE_MS = 1_000;

/**
 * Subjects are the channel names. White space, control characters, the wildcards `*` and `>`, a `$` in front (NATS keeps
 * those for itself) and dots that would make an empty token become `%HH`.
 */
const names: ChannelNames = nameEscaper({
  escape: '%',
  lengthMax: SUBJECT_LENGTH_MAX,
  holds(character, index, name) {
    if (character === '.') return index > 0 && index < name.length - 1 && name[index - 1] !== '.';
    if (character === '$') return index > 0;
    return !/[\s\p{Cc}*>]/u.test(character);
  },
});

/** Core NATS, on the channel's own name as the subject: whoever publishes and subscribes there is a peer. */
export function nats(options: NatsOptions = {}): Driver {
  if (options.url !== undefined && options.client !== undefined) {
    throw new MillraceError('INVALID_ARGUMENT', 'Give the nats driver a url or a client, not both.');
  }
  const { url = 'nats://127.0.0.1:4222', client, pingIntervalMs = DEFAULT_PING_INTERVAL_MS } = options;
  const address = parseUrl(url);
  return {
    name: 'nats',
    abilities,
    names,
    async connect(context) {
      const attempts = { count: 0 };
      if (client !== undefined) return new NatsDriverConnection(client, false, context, attempts);
      const made = await makeClient(address, pingIntervalMs, context, attempts);
      return new NatsDriverConnection(made, true, context, attempts);
    },
  };
}

/** See {@link NatsOptions.url}. */
export function driverFromUrl(url: string): Driver {
  return nats({ url });
}

interface Address {
  readonly servers: string[];
  readonly user?: string;
  readonly pass?: string;
  readonly token?: string;
  readonly tls?: object;
}

function parseUrl(url: string): Address {
  const match = /^(nats|tls):\/\/(?:([^@/]*)@)?([^@/]+)\/?$/i.exec(url);
  if (match === null) {
    throw new MillraceError('INVALID_ARGUMENT', 'A NATS URL looks like nats://user:password@host:4222,otherhost:4222.');
  }
  const [, scheme = '', credentials, hosts = ''] = match;
  return {
    servers: hosts.split(','),
    ...(credentials === undefined ? {} : parseCredentials(credentials)),
    ...(scheme.toLowerCase() === 'tls' ? { tls: {} } : {}),
  };
}

/** The password is all that is after the first colon; without one it is a token. */
function parseCredentials(credentials: string): Pick<Address, 'user' | 'pass' | 'token'> {
  const colon = credentials.indexOf(':');
  try {
    if (colon < 0) return { token: decodeURIComponent(credentials) };
    return {
      user: decodeURIComponent(credentials.slice(0, colon)),
      pass: decodeURIComponent(credentials.slice(colon + 1)),
    };
  } catch (cause) {
    throw new MillraceError(
      'INVALID_ARGUMENT',
      'A "%" in the credentials of a NATS URL begins an escape such as %25: write %25 for the character itself.',
      {},
      { cause },
    );
  }
}

const CLIENT_SOCKETS = 'net.client.socket';

/**
 * The sockets of one attempt to connect. The package forgets a socket whose server took the connection and then said
 * nothing: it would keep the process for ever. The package can neither be given a socket nor asked for it, but Node tells
 * of each that is made, and the context tells whose it is.
 */
class Attempt {
  readonly #context = new AsyncLocalStorage<true>();
  readonly #sockets: Socket[] = [];
  #failed = false;
  readonly #onSocket = (message: unknown) => {
    if (this.#context.getStore() === undefined) return;
    this.#sockets.push((message as { readonly socket: Socket }).socket);
    if (this.#failed) this.#destroy();
  };

  run<T>(make: () => Promise<T>): Promise<T> {
    subscribe(CLIENT_SOCKETS, this.#onSocket);
    const made = this.#context.run(true, make);
    const forget = () => {
      unsubscribe(CLIENT_SOCKETS, this.#onSocket);
      // While a context is in use every promise of the process costs more.
      this.#context.disable();
    };
    made.then(forget, forget);
    return made;
  }

  /** Destroys every socket, and those that are still to come. */
  fail(): void {
    this.#failed = true;
    this.#destroy();
  }

  #destroy(): void {
    // Once the socket that is told of just now has begun to connect.
    for (const socket of this.#sockets.splice(0)) setImmediate(() => socket.destroy());
  }
}

async function makeClient(
  address: Address,
  pingIntervalMs: number,
  context: DriverContext,
  attempts: { count: number },
): Promise<NatsConnectionLike> {
  const { connect } = await loadClient('@nats-io/transport-node', () => import('@nats-io/transport-node'));
  const attempt = new Attempt();
  const connecting = attempt.run(() =>
    connect({
      ...address,
      timeout: context.connectTimeoutMs,
      pingInterval: pingIntervalMs,
      maxReconnectAttempts: -1,
      ignoreAuthErrorAbort: true,
      reconnectDelayHandler: () => reconnectDelayMs(attempts.count),
    }),
  );
  const late = (client: NatsConnectionLike) => client.close();
  try {
    return await orAborted(connecting, context.signal, late);
  } catch (error) {
    attempt.fail();
    throw context.signal.aborted ? context.signal.reason : explain(error);
  }
}

/** What the publishes and subscribes of one turn of the event loop wait for: one answer of the server to all of them. */
interface Batch {
  readonly answer: Promise<void>;
  /** By subject. */
  readonly published: Map<string, Published>;
}

/** The messages of one batch to one subject. */
interface Published {
  count: number;
  /** How many of them the server has refused. */
  refused: number;
  readonly outcome: Promise<void>;
}

class NatsDriverConnection implements DriverConnection {
  readonly maxMessageBytes?: number;
  readonly #client: NatsConnectionLike;
  readonly #owned: boolean;
  readonly #context: DriverContext;
  readonly #attempts: { count: number };
  readonly #subscriptions = new Set<{ readonly sink: ChannelSink; end(): void }>();
  readonly #interruption = new Interruption();
  readonly #statuses: AsyncIterable<{ readonly type: string; readonly error?: Error }>;
  /** What is asked for in this turn of the event loop. */
  #batch: Batch | undefined;
  /** What the server has been asked, and has not answered yet, in order. */
  readonly #unanswered = new Set<Batch>();
  /**
   * Ends the wait for an answer that will not come. Not a promise to race with: each race would stay with it for as long
   * as the connection lives.
   */
  readonly #waiting = new Set<() => void>();
  #connected = true;
  #closed = false;

  constructor(client: NatsConnectionLike, owned: boolean, context: DriverContext, attempts: { count: number }) {
    this.#client = client;
    this.#owned = owned;
    this.#context = context;
    this.#attempts = attempts;
    if (client.info !== undefined) this.maxMessageBytes = client.info.max_payload;
    this.#statuses = client.status();
    this.#watch().catch((error: unknown) => this.#onLost(error));
  }

  publish(channel: string, payload: Uint8Array): Promise<void> {
    if (!this.#connected || this.#closed) return Promise.reject(unavailable());
    const subject = names.toBroker(channel);
    try {
      this.#client.publish(subject, payload);
    } catch (error) {
      return Promise.reject(explain(error));
    }
    const { answer, published } = this.#ask();
    let messages = published.get(subject);
    if (messages === undefined) {
      const made: Published = {
        count: 0,
        refused: 0,
        outcome: answer.then(() => {
          if (made.refused > 0) throw refused(`publish to ${subject}`);
        }),
      };
      messages = made;
      published.set(subject, messages);
    }
    messages.count++;
    return messages.outcome;
  }

  subscribe(channel: string, sink: ChannelSink): Promise<DriverSubscription> {
    return this.#subscribe([names.toBroker(channel)], sink, () => channel);
  }

  subscribePattern(pattern: string, sink: ChannelSink): Promise<DriverSubscription> {
    return this.#subscribe(subjectsOf(pattern), sink, names.fromBroker);
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#connected && !this.#client.isClosed()) {
      const timer = setTimeout(() => this.#giveUp(), CLOSE_GRACE_MS);
      await this.#ask().answer.catch(() => {});
      clearTimeout(timer);
    }
    for (const subscription of this.#subscriptions) subscription.end();
    this.#giveUp();
    if (this.#owned) {
      await this.#client.close().catch(() => {});
      // In the middle of a reconnect the client leaves its socket; its interface does not tell of the way to it.
      (this.#client as { protocol?: { transport?: { discard?: () => void } } }).protocol?.transport?.discard?.();
    }
    // The iterator of statuses has a stop of its own that its interface does not tell of.
    else (this.#statuses as { stop?: () => void }).stop?.();
  }

  async #subscribe(
    subjects: readonly string[],
    sink: ChannelSink,
    nameOf: (subject: string) => string,
  ): Promise<DriverSubscription> {
    if (!this.#connected) throw unavailable();
    let active = true;
    let failure: Error | undefined;
    const callback = (error: Error | null, message: NatsMessage) => {
      if (error !== null) failure = error;
      else if (active) {
        this.#interruption.tell(sink);
        sink.message(nameOf(message.subject), message.data);
      }
    };
    const parts: { unsubscribe(): void }[] = [];
    const subscription = {
      sink,
      end: () => {
        active = false;
        this.#subscriptions.delete(subscription);
        this.#interruption.forget(sink);
        if (!this.#client.isClosed()) for (const part of parts) part.unsubscribe();
      },
    };
    try {
      for (const subject of subjects) parts.push(this.#client.subscribe(subject, { callback }));
      await this.#ask().answer;
      if (failure !== undefined) throw failure;
    } catch (error) {
      subscription.end();
      throw explain(error);
    }
    this.#subscriptions.add(subscription);
    return {
      async unsubscribe() {
        subscription.end();
      },
    };
  }

  /** What this turn asks for: answered when the server has dealt with everything that was sent before. */
  #ask(): Batch {
    if (this.#batch !== undefined) return this.#batch;
    const batch: Batch = {
      published: new Map(),
      answer: Promise.resolve().then(async () => {
        this.#batch = undefined;
        this.#unanswered.add(batch);
        try {
          await this.#flush();
          // What the server refused came before this answer, and reaches us by now.
          await new Promise((resolve) => setImmediate(resolve));
        } catch (error) {
          throw unavailable(error);
        } finally {
          this.#unanswered.delete(batch);
        }
      }),
    };
    this.#batch = batch;
    return batch;
  }

  #flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(new Error('the connection was lost'));
      if (!this.#connected) return giveUp();
      this.#waiting.add(giveUp);
      const leave = () => this.#waiting.delete(giveUp);
      this.#client.flush().then(resolve, reject).finally(leave);
    });
  }

  #giveUp(): void {
    for (const giveUp of this.#waiting) giveUp();
    this.#waiting.clear();
  }

  async #watch(): Promise<void> {
    for await (const { type, error } of this.#statuses) {
      if (type === 'disconnect' || type === 'close') this.#onLost();
      else if (type === 'reconnecting') this.#attempts.count++;
      else if (type === 'reconnect') this.#onRestored();
      else if (type === 'error' && error !== undefined) this.#onError(error);
    }
  }

  #onLost(cause?: unknown): void {
    if (!this.#connected || this.#closed) return;
    this.#connected = false;
    this.#giveUp();
    this.#interruption.begin([...this.#subscriptions].map(({ sink }) => sink));
    this.#context.onStatus('reconnecting', cause);
  }

  #onRestored(): void {
    this.#attempts.count = 0;
    // The client has sent all subscriptions again; an answer from the server means that they stand.
    this.#client.flush().then(
      () => {
        if (this.#connected || this.#closed) return;
        this.#connected = true;
        this.#interruption.end();
        this.#context.onStatus('connected');
      },
      () => {
        // Lost again: the next `reconnect` tries anew.
      },
    );
  }

  #onError(error: Error): void {
    const { operation, subject } = error as { operation?: unknown; subject?: unknown };
    if (operation !== 'publish' || typeof subject !== 'string') return;
    // The server refuses each message by itself, in order, before it answers to the batch.
    for (const { published } of this.#unanswered) {
      const messages = published.get(subject);
      if (messages === undefined || messages.refused === messages.count) continue;
      messages.refused++;
      return;
    }
  }
}

/**
 * The subjects that hold all channels of a pattern. NATS has wildcards for whole tokens only, so this is everything below
 * the complete tokens in front of the first `*`; the hub drops what does not match.
 */
function subjectsOf(pattern: string): string[] {
  const star = pattern.indexOf('*');
  if (star < 0) return [names.toBroker(pattern)];
  const head = pattern.slice(0, star);
  const tokens = head.split('.').slice(0, -1);
  if (tokens.length === 0 || tokens.includes('')) return ['>'];
  const subjects = [`${names.toBroker(tokens.join('.'))}.>`];
  // A name that ends with the dot has it escaped, and so is not below those tokens.
  const shortest = pattern.replaceAll('*', '');
  if (shortest.endsWith('.') && shortest === head) subjects.push(names.toBroker(shortest));
  return subjects;
}

function unavailable(cause?: unknown): MillraceError {
  return new MillraceError(
    'HUB_UNAVAILABLE',
    'The connection to NATS is down: try again when the hub is connected. A message under way may or may not have been taken.',
    {},
    { cause },
  );
}

function refused(what: string, cause?: unknown): MillraceError {
  return new MillraceError('HUB_UNAUTHORIZED', `NATS does not let this user ${what}.`, {}, { cause });
}

function explain(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error;
  const { name = '', message = String(error) } = error as Error;
  if (name === 'PermissionViolationError') return refused('do this', error);
  if (/Authorization|Authentication/.test(name)) {
    return new MillraceError('HUB_UNAUTHORIZED', `NATS refuses these credentials: ${message}`, {}, { cause: error });
  }
  return new MillraceError(
    'HUB_UNAVAILABLE',
    `NATS cannot be used, or did not answer: ${message}`,
    {},
    { cause: error },
  );
}
