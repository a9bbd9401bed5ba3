import type { ConnectionOptions } from 'node:tls';
import { MillraceError } from '../../errors.js';
import type { Driver } from '../driver.js';
import { KafkaConnection } from '../kafka/connection.js';
import { loadClient } from '../load-client.js';
import { markedNames } from '../marked-names.js';

/** Options of {@link kafka}. */
export interface KafkaOptions {
  /** Some brokers of the cluster, `host:9092`; the others are learned from them. */
  readonly brokers: readonly string[];
  /** `true`, or as `node:tls` takes it. */
  readonly tls?: boolean | ConnectionOptions;
  readonly sasl?: KafkaSasl;
  /** Whether topics that are missing are made, with one partition (default true). */
  readonly createTopics?: boolean;
  /** How many replicas such a topic gets. Default: what the brokers have as their default. */
  readonly replicas?: number;
  /**
   * How long a broker may hold an answer back when there is nothing new. A message does not wait for it, but a channel
   * that was subscribed just now may, once.
   */
  readonly fetchWaitMs?: number;
  /** How long a broker may take for any other answer. After that the connection counts as lost. */
  readonly requestTimeoutMs?: number;
  /** Further options of the clients of `@platformatic/kafka`, as the package names them: `tlsServerName`, `metrics`… */
  readonly clientOptions?: Readonly<Record<string, unknown>>;
}

/** Who the hub is to the brokers. */
export interface KafkaSasl {
  readonly mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512';
  readonly username: string;
  readonly password: string;
}

/** Default of {@link KafkaOptions.fetchWaitMs}. */
export const DEFAULT_FETCH_WAIT_MS = 250;
/** Default of {@link KafkaOptions.requestTimeoutMs}. */
export const DEFAULT_REQUEST_TIMEOUT_MS = 5_000;
/** Kafka's default of `message.max.bytes`, less what it adds to a message. The brokers' own is asked for. */
export const DEFAULT_MAX_MESSAGE_BYTES = 1_048_588 - 88;

/** The longest name of a topic. */
const TOPIC_LENGTH_MAX = 249;
/** Topics that belong to Kafka. */
const INTERNAL = /^__(?:consumer_offsets|transaction_state|share_group_state|cluster_metadata)$/;

const names = markedNames({
  holds: (name) => /^[A-Za-z0-9._-]{1,249}$/.test(name) && !/^\.\.?$/.test(name) && !INTERNAL.test(name),
  lengthMax: TOPIC_LENGTH_MAX,
});

/**
 * A driver for Apache Kafka (3.5 or newer) by its client `@platformatic/kafka`. A channel is a topic, read
 * from the end and by offsets of the hub's own, so every hub sees every message, and after a lost connection reads on
 * where it was. docs/drivers/kafka.md has the rest.
 *
 * Throws `INVALID_ARGUMENT`.
 */
export function kafka(options: KafkaOptions): Driver {
  const { brokers, tls, sasl, createTopics = true } = options;
  if (brokers.length === 0 || !brokers.every((broker) => /^[^\s/@?#]+:\d{1,5}$/.test(broker))) {
    throw new MillraceError('INVALID_ARGUMENT', 'Give the Kafka driver brokers, each as host:port.');
  }
  const limit = (name: 'fetchWaitMs' | 'requestTimeoutMs' | 'replicas', byDefault: number): number => {
    const value = options[name] ?? byDefault;
    if (Number.isSafeInteger(value) && (value >= 1 || value === byDefault)) return value;
    throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number of at least 1, not ${value}.`);
  };
  const connectionOptions = {
    names,
    createTopics,
    replicas: limit('replicas', -1),
    fetchWaitMs: limit('fetchWaitMs', DEFAULT_FETCH_WAIT_MS),
    requestTimeoutMs: limit('requestTimeoutMs', DEFAULT_REQUEST_TIMEOUT_MS),
    maxMessageBytes: DEFAULT_MAX_MESSAGE_BYTES,
    client: {
      clientId: 'millrace',
      ...options.clientOptions,
      bootstrapBrokers: [...brokers],
      ...(tls ? { tls: tls === true ? {} : tls } : {}),
      ...(sasl === undefined ? {} : { sasl }),
    },
  };
  return {
    name: 'kafka',
    abilities: {
      ordering: true,
      replay: true,
      patterns: false,
      atLeastOnce: true,
      maxMessageBytes: DEFAULT_MAX_MESSAGE_BYTES,
    },
    names,
    async connect(context) {
      const client = await loadClient('@platformatic/kafka', () => import('@platformatic/kafka'));
      const connection = new KafkaConnection(client, connectionOptions, context);
      await connection.open();
      return connection;
    },
  };
}

/**
 * `kafka://[user:password@]host[:9092][,host…]`. Parameters: `tls=true`, `mechanism` (`PLAIN`, the default where there
 * is a user, `SCRAM-SHA-256` or `SCRAM-SHA-512`), `createTopics=false`, `replicas`, `fetchWaitMs`, `requestTimeoutMs`.
 */
export function driverFromUrl(url: string): Driver {
  const match = /^kafka:\/\/(?:([^:@/]*):([^@/]*)@)?([^@/?#]+)\/?(?:\?(.*))?$/i.exec(url);
  if (match === null) {
    throw new MillraceError(
      'INVALID_ARGUMENT',
      'A Kafka URL looks like kafka://host:9092, with more brokers after commas and user:password@ in front.',
    );
  }
  const [, user, password = '', hosts = '', query = ''] = match;
  const brokers = hosts.split(',').map((host) => (/:\d+$/.test(host) ? host : `${host}:9092`));
  const options: { -readonly [K in keyof KafkaOptions]: KafkaOptions[K] } = { brokers };
  let mechanism: KafkaSasl['mechanism'] = 'PLAIN';
  for (const [name, value] of new URLSearchParams(query)) {
    if (name === 'tls' || name === 'createTopics') options[name] = value !== 'false';
    else if (name === 'replicas' || name === 'fetchWaitMs' || name === 'requestTimeoutMs')
      options[name] = Number(value);
    else if (name === 'mechanism' && (value === 'PLAIN' || value === 'SCRAM-SHA-256' || value === 'SCRAM-SHA-512')) {
      mechanism = value;
    } else throw new MillraceError('INVALID_ARGUMENT', `A Kafka URL has no parameter "${name}=${value}".`);
  }
  if (user) {
    options.sasl = { mechanism, username: decodeURIComponent(user), password: decodeURIComponent(password) };
  }
  return kafka(options);
}
