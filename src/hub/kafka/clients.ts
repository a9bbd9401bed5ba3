import type { Admin, BaseOptions, Connection, Consumer, Producer } from '@platformatic/kafka';
import { settledWithin } from '../deadline.js';

/** The package, as far as it is used here. */
export type KafkaPackage = Pick<
  typeof import('@platformatic/kafka'),
  'Admin' | 'Consumer' | 'Producer' | 'describeConfigsV4'
>;

/** How long a client may take to say good-bye before its sockets are cut. */
const GOODBYE_MS = 300;

type Client = Admin | Consumer | Producer;

/** What a broker answers to a fetch. */
export type FetchResponse = Awaited<ReturnType<Consumer['fetch']>>;
export type FetchedPartition = FetchResponse['responses'][number]['partitions'][number];

/** A request that had no answer in time. */
export class KafkaTimeout extends Error {
  readonly code = 'KAFKA_TIMEOUT';
}

/**
 * The package's clients of one hub. They connect when used, and anew after a loss; what they lack is a time limit for a
 * request: here each has one, and a client that let one pass is thrown away with its sockets.
 */
export class KafkaClients {
  readonly kafka: KafkaPackage;
  readonly #options: BaseOptions;
  readonly #requestTimeoutMs: number;
  readonly #onDisconnect: () => void;
  readonly #sockets = new Map<Client, Set<Connection>>();
  #producer: Producer | undefined;
  #consumer: Consumer | undefined;
  #closed = false;

  constructor(kafka: KafkaPackage, options: BaseOptions, requestTimeoutMs: number, onDisconnect: () => void) {
    this.kafka = kafka;
    // Retries are the driver's: it must know what was lost.
    this.#options = { ...options, retries: 0, connectTimeout: requestTimeoutMs, timeout: requestTimeoutMs };
    this.#requestTimeoutMs = requestTimeoutMs;
    this.#onDisconnect = onDisconnect;
  }

  /** Asks by the client that publishes. */
  produce<T>(ask: (producer: Producer) => Promise<T>): Promise<T> {
    this.#producer ??= this.#watch(
      new this.kafka.Producer<Buffer, Buffer, Buffer, Buffer>({ ...this.#options, acks: -1 }),
    );
    return this.#ask(this.#producer, ask);
  }

  /** Asks by the client that reads; `waitMs` is how long the broker may hold the answer back. */
  consume<T>(ask: (consumer: Consumer) => Promise<T>, waitMs = 0): Promise<T> {
    this.#consumer ??= this.newConsumer();
    return this.#ask(this.#consumer, ask, waitMs);
  }

  /** One more client that reads. End it by {@link discard}. */
  newConsumer(): Consumer {
    // A group has to be named, and is never joined.
    return this.#watch(
      new this.kafka.Consumer<Buffer, Buffer, Buffer, Buffer>({ ...this.#options, groupId: 'millrace' }),
    );
  }

  /** Asks a client of {@link newConsumer}. */
  async #ask<C extends Client, T>(client: C, ask: (client: C) => Promise<T>, waitMs = 0): Promise<T> {
    const timeoutMs = this.#requestTimeoutMs + waitMs;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new KafkaTimeout(`no answer within ${timeoutMs} ms`));
        void this.discard(client);
      }, timeoutMs);
    });
    const answer = ask(client);
    // Whoever asked has given up by the time a late answer fails.
    answer.catch(() => {});
    try {
      return await Promise.race([answer, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }

  ask<T>(consumer: Consumer, ask: (consumer: Consumer) => Promise<T>): Promise<T> {
    return this.#ask(consumer, ask);
  }

  /** Makes topics, by a client of its own. */
  async createTopic(topic: string, partitions: number, replicas: number): Promise<void> {
    const admin = this.#watch(new this.kafka.Admin(this.#options));
    try {
      await this.#ask(admin, () => admin.createTopics({ topics: [topic], partitions, replicas }));
    } finally {
      await this.discard(admin);
    }
  }

  /** Ends one client. */
  async discard(client: Client): Promise<void> {
    if (client === this.#producer) this.#producer = undefined;
    if (client === this.#consumer) this.#consumer = undefined;
    const connections = this.#sockets.get(client);
    if (connections === undefined) return;
    this.#sockets.delete(client);
    await settledWithin(client.close(), GOODBYE_MS);
    for (const connection of connections) connection.socket.destroy();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#sockets.keys()].map((client) => this.discard(client)));
  }

  #watch<C extends Client>(client: C): C {
    // What was under way when the hub closed may ask for one more thing: nobody would end the client that it gets.
    if (this.#closed) throw new Error('the clients are closed');
    const connections = new Set<Connection>();
    this.#sockets.set(client, connections);
    client.on('client:broker:connect', ({ connection }: { connection: Connection }) => {
      if (!this.#sockets.has(client)) connection.socket.destroy();
      connections.add(connection);
      // The package listens for the first error only; a second one would end the process.
      connection.on('error', () => {});
    });
    client.on('client:broker:disconnect', ({ connection }: { connection: Connection }) => {
      connections.delete(connection);
      if (!this.#closed && this.#sockets.has(client)) this.#onDisconnect();
    });
    return client;
  }
}
