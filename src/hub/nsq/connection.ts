import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMillraceError, MillraceError } from '../../errors.js';
import { combineSignals } from '../../signals.js';
import type { ChannelNames, ChannelSink, DriverConnection, DriverContext, DriverSubscription } from '../driver.js';
import { hostAndPort, type NsqShared, nsqError } from './link.js';
import { NsqNode } from './node.js';
import { NsqTopic } from './topic.js';

/** How long `close` waits for the answers to publishes that are under way. */
const CLOSE_GRACE_MS = 1_000;

/** What the driver tells a connection. */
export interface NsqConnectionOptions {
  readonly nsqd: readonly string[];
  /** Where nsqd has its HTTP; undefined: at 4151 if it is at 4150. */
  readonly httpPort: number | undefined;
  readonly lookupd: readonly string[];
  readonly lookupPollMs: number;
  readonly names: ChannelNames;
}

/** The connection of one hub to all nsqd that it was told of, or that nsqlookupd tells of. */
export class NsqConnection implements DriverConnection {
  readonly #options: NsqConnectionOptions;
  readonly #shared: NsqShared;
  readonly #context: DriverContext;
  readonly #nodes = new Map<string, NsqNode>();
  readonly #topics = new Set<NsqTopic>();
  readonly #topicNames = new Map<string, string>();
  readonly #end = new AbortController();
  /** What stood and is lost, with the nsqd that it was lost at. */
  readonly #lost = new Map<object, NsqNode>();
  #open = false;
  /** Whether no nsqd is up: as long as one is, the hub can publish and subscribe. */
  #down = false;
  /** The one nsqd that publishes go to, for as long as it is up: their order is its order. */
  #publisher: NsqNode | undefined;

  constructor(
    options: NsqConnectionOptions,
    shared: Omit<NsqShared, 'hubId' | 'connectTimeoutMs' | 'onLost' | 'onRestored'>,
    context: DriverContext,
  ) {
    this.#options = options;
    this.#context = context;
    this.#shared = {
      ...shared,
      hubId: randomUUID(),
      connectTimeoutMs: context.connectTimeoutMs,
      onLost: (what, node, cause) => {
        this.#lost.set(what, node);
        if (!this.#open || this.#down || this.#nextPublisher() !== undefined) return;
        this.#down = true;
        context.onStatus('reconnecting', cause);
      },
      onRestored: (what) => {
        this.#lost.delete(what);
        if (!this.#open || !this.#down || !this.#hasWholeNode()) return;
        this.#down = false;
        context.onStatus('connected');
      },
    };
  }

  /** Resolves when at least one nsqd is up. */
  async open(): Promise<void> {
    const { signal } = this.#context;
    const onAbort = () => this.#closeAll();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      signal.throwIfAborted();
      await this.#discover(await this.#addresses());
      this.#publisher = this.#nextPublisher();
      if (this.#publisher === undefined) throw this.#failure();
      this.#open = true;
      if (this.#options.lookupd.length > 0) void this.#poll();
    } catch (error) {
      this.#closeAll();
      throw error;
    } finally {
      // From here on `close` ends the connection, with time for what is under way.
      signal.removeEventListener('abort', onAbort);
    }
  }

  publish(channel: string, payload: Uint8Array): Promise<void> {
    if (payload.length === 0) {
      return Promise.reject(
        new MillraceError('HUB_MESSAGE_INVALID', 'NSQ takes no empty messages: publish at least one byte.'),
      );
    }
    let topic: string;
    try {
      topic = this.#topicName(channel);
    } catch (error) {
      return Promise.reject(error);
    }
    let node = this.#publisher;
    if (node === undefined || !node.up) {
      node = this.#nextPublisher();
      if (node === undefined) return Promise.reject(this.#failure());
      this.#publisher = node;
    }
    return node.publish(topic, payload);
  }

  async subscribe(channel: string, sink: ChannelSink): Promise<DriverSubscription> {
    const topic = new NsqTopic(this.#shared, channel, this.#options.names.toBroker(channel), sink, (ended) =>
      this.#topics.delete(ended),
    );
    if (this.#end.signal.aborted) throw nsqError(new Error('the hub is closed'));
    this.#topics.add(topic);
    try {
      await topic.start(this.#nodes.values());
      return topic;
    } catch (error) {
      topic.end();
      throw isMillraceError(error) ? error : nsqError(error);
    }
  }

  async close(): Promise<void> {
    this.#open = false;
    for (const topic of [...this.#topics]) topic.end();
    const answered = Promise.all([...this.#nodes.values()].filter(({ up }) => up).map((node) => node.answered()));
    const grace = new AbortController();
    await Promise.race([answered, sleep(CLOSE_GRACE_MS, undefined, { signal: grace.signal }).catch(() => {})]);
    grace.abort();
    this.#closeAll();
  }

  #closeAll(): void {
    this.#open = false;
    this.#end.abort();
    for (const node of this.#nodes.values()) node.close();
    this.#nodes.clear();
  }

  /** The name on NSQ. The names in use are few and asked for with every message, so they are kept. */
  #topicName(channel: string): string {
    let topic = this.#topicNames.get(channel);
    if (topic === undefined) {
      topic = this.#options.names.toBroker(channel);
      if (this.#topicNames.size >= TOPIC_NAMES_MAX) this.#topicNames.clear();
      this.#topicNames.set(channel, topic);
    }
    return topic;
  }

  #nextPublisher(): NsqNode | undefined {
    for (const node of this.#nodes.values()) if (node.up) return node;
    return undefined;
  }

  /** Whether an nsqd is up, and all that was read from it is read again. */
  #hasWholeNode(): boolean {
    const lacking = new Set(this.#lost.values());
    return [...this.#nodes.values()].some((node) => node.up && !lacking.has(node));
  }

  #failure(): MillraceError {
    for (const { failure } of this.#nodes.values()) if (isMillraceError(failure)) return failure;
    return nsqError(this.#nodes.size === 0 ? new Error('nsqlookupd knows of none') : undefined);
  }

  // Which nsqd there are.

  /** Follows the nodes to new addresses. Resolves when each new one was tried and at least one is up, or none is left. */
  async #discover(addresses: Addresses): Promise<void> {
    const added = [...addresses].filter(([address]) => !this.#nodes.has(address));
    const nodes = added.map(([address, http]) => new NsqNode(address, http, this.#shared));
    for (const node of nodes) this.#nodes.set(node.address, node);
    // A refusal is told to whoever subscribes; here nobody waits for one.
    for (const topic of this.#topics) for (const node of nodes) topic.read(node).catch(() => {});
    // A node that does not answer must not hold up the hub while another does.
    const firstUp = nodes.map(async (node) => {
      if (!(await node.tried)) throw node.failure;
    });
    await Promise.any(firstUp).catch(() => {});
  }

  async #poll(): Promise<void> {
    for (;;) {
      await sleep(this.#options.lookupPollMs, undefined, { signal: this.#end.signal }).catch(() => {});
      if (this.#end.signal.aborted) return;
      try {
        const addresses = await this.#addresses();
        await this.#discover(addresses);
        for (const node of this.#nodes.values()) {
          // nsqlookupd forgets a node that has left; one that is up is kept whatever nsqlookupd says.
          if (addresses.has(node.address) || node.up) continue;
          this.#nodes.delete(node.address);
          node.close();
        }
      } catch {
        // What is known stays known until nsqlookupd is back.
      }
    }
  }

  async #addresses(): Promise<Addresses> {
    const { nsqd, lookupd, httpPort } = this.#options;
    if (lookupd.length === 0) {
      return new Map(
        nsqd.map((address) => {
          const [host, port] = hostAndPort(address);
          const httpOf = httpPort ?? (port === 4150 ? 4151 : undefined);
          return [address, httpOf === undefined ? undefined : httpBase(host, httpOf)];
        }),
      );
    }
    const answers = await Promise.allSettled(lookupd.map((address) => this.#askLookupd(address)));
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    const refused = answers.find((answer) => answer.status === 'rejected');
    if (addresses.length === 0 && refused !== undefined) {
      throw new MillraceError(
        'HUB_UNAVAILABLE',
        `nsqlookupd cannot be reached at ${lookupd.join(', ')}.`,
        {},
        { cause: refused.reason },
      );
    }
    return new Map(addresses);
  }

  async #askLookupd(address: string): Promise<[string, URL][]> {
    const producers = await this.#askProducers(address.includes('://') ? address : `http://${address}`);
    return producers.map(({ broadcast_address: host, tcp_port: port, http_port: httpPort }) => [
      host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
      httpBase(host, httpPort),
    ]);
  }

  async #askProducers(lookupd: string): Promise<Producer[]> {
    const { signal, release } = combineSignals([this.#end.signal], this.#context.connectTimeoutMs);
    try {
      const response = await fetch(new URL('/nodes', lookupd), { signal, redirect: 'error' });
      if (!response.ok) throw new Error(`nsqlookupd answered ${response.status}`);
      return ((await response.json()) as { producers: Producer[] }).producers;
    } finally {
      release();
    }
  }
}

/** By address of the TCP protocol: that of HTTP, where it is known. */
type Addresses = ReadonlyMap<string, URL | undefined>;

/** An nsqd, as nsqlookupd tells of it. */
interface Producer {
  readonly broadcast_address: string;
  readonly tcp_port: number;
  readonly http_port: number;
}

function httpBase(host: string, port: number): URL {
  return new URL(`http://${host.includes(':') ? `[${host}]` : host}:${port}`);
}

/** How many names of topics are kept at hand. */
const TOPIC_NAMES_MAX = 1024;
