import type { ConnectionOptions } from 'nsqjs';
import { MillraceError } from '../../errors.js';
import type { Driver } from '../driver.js';
import { loadClient } from '../load-client.js';
import { markedNames } from '../marked-names.js';
import { NsqConnection } from '../nsq/connection.js';
import { hostAndPort } from '../nsq/link.js';

/** Options of {@link nsq}. Give `nsqd` or `lookupd`. */
export interface NsqOptions {
  /** Addresses of nsqd (`host:4150`). All are read; publishes go to one of them that is up. */
  readonly nsqd?: readonly string[];
  /**
   * The port of HTTP on those nsqd, by which it is found out when nsqd has dropped messages. Default: 4151 for an nsqd at
   * port 4150, else none. nsqlookupd tells it by itself.
   */
  readonly httpPort?: number;
  /** HTTP addresses of nsqlookupd (`host:4161`): all nsqd that they know are read. */
  readonly lookupd?: readonly string[];
  /** Sent as `AUTH` where nsqd asks for it. */
  readonly authSecret?: string;
  readonly tls?: boolean | NsqTls;
  /** What nsqd takes as the largest message (its `--max-msg-size`, which it does not tell). */
  readonly maxMessageBytes?: number;
  /** How many messages nsqd may send ahead on one channel (nsqd's `--max-rdy-count` is the limit). */
  readonly maxInFlight?: number;
  /** How often nsqlookupd is asked for new nsqd. */
  readonly lookupPollMs?: number;
  /** nsqd and hub tell each other this often that they are alive. A silence of twice this long is a lost connection. */
  readonly heartbeatMs?: number;
  /** Further options of a connection of `nsqjs`, as the package names them: `clientId`, `deflate`… */
  readonly clientOptions?: Readonly<Record<string, unknown>>;
}

/** TLS as `node:tls` takes it. */
export interface NsqTls {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
  /** Default true. */
  readonly rejectUnauthorized?: boolean;
}

/** Default of {@link NsqOptions.maxMessageBytes}: that of nsqd. */
export const DEFAULT_MAX_MESSAGE_BYTES = 1024 * 1024;
/** Default of {@link NsqOptions.maxInFlight}: the most that nsqd allows unless told otherwise. */
export const DEFAULT_MAX_IN_FLIGHT = 2500;
/** Default of {@link NsqOptions.lookupPollMs}. */
export const DEFAULT_LOOKUP_POLL_MS = 5_000;
/** Default of {@link NsqOptions.heartbeatMs}. */
export const DEFAULT_HEARTBEAT_MS = 10_000;

/** The longest name of a topic on NSQ. */
const TOPIC_LENGTH_MAX = 64;
const names = markedNames({
  holds: (name) => name.length <= TOPIC_LENGTH_MAX && /^[A-Za-z0-9._-]+(?:#ephemeral)?$/.test(name),
  lengthMax: TOPIC_LENGTH_MAX,
});

/**
 * A driver for NSQ by its client `nsqjs`. Each hub reads by `#ephemeral` channels of its own, so every hub sees every
 * message and nothing is left on nsqd when it goes. docs/drivers/nsq.md says what NSQ promises and what not.
 *
 * Throws `INVALID_ARGUMENT`.
 */
export function nsq(options: NsqOptions): Driver {
  const settings = checkOptions(options);
  return {
    name: 'nsq',
    abilities: {
      ordering: true,
      replay: false,
      patterns: false,
      atLeastOnce: false,
      maxMessageBytes: settings.maxMessageBytes,
    },
    names,
    async connect(context) {
      const { default: client } = await loadClient('nsqjs', () => import('nsqjs'));
      const { maxInFlight, client: options } = settings;
      const connection = new NsqConnection({ ...settings, names }, { client, options, maxInFlight }, context);
      await connection.open();
      return connection;
    },
  };
}

/**
 * `nsq://[:SECRET@]host[:4150][,host…]` for nsqd, `nsq+lookupd://host[:4161][,host…]` for nsqlookupd. Parameters:
 * `tls=true`, `httpPort`, `maxMessageBytes`, `maxInFlight`, `lookupPollMs`, `heartbeatMs`.
 */
export function driverFromUrl(url: string): Driver {
  const match = /^(nsq|nsq\+lookupd):\/\/(?::?([^@/]*)@)?([^@/?#]+)\/?(?:\?(.*))?$/i.exec(url);
  if (match === null) {
    throw new MillraceError(
      'INVALID_ARGUMENT',
      'An NSQ URL looks like nsq://host:4150 or nsq+lookupd://host:4161, with more hosts after commas.',
    );
  }
  const [, scheme = '', secret, hosts = '', query = ''] = match;
  const lookup = scheme.toLowerCase() === 'nsq+lookupd';
  const addresses = hosts.split(',').map((host) => (/:\d+$/.test(host) ? host : `${host}:${lookup ? 4161 : 4150}`));
  const options: { -readonly [K in keyof NsqOptions]: NsqOptions[K] } = lookup
    ? { lookupd: addresses }
    : { nsqd: addresses };
  if (secret) options.authSecret = decodeURIComponent(secret);
  for (const [name, value] of new URLSearchParams(query)) {
    if (name === 'tls') options.tls = value !== 'false';
    else if (/^(httpPort|maxMessageBytes|maxInFlight|lookupPollMs|heartbeatMs)$/.test(name)) {
      options[name as 'maxInFlight'] = Number(value);
    } else throw new MillraceError('INVALID_ARGUMENT', `An NSQ URL has no parameter "${name}".`);
  }
  return nsq(options);
}

type Settings = Required<Omit<NsqOptions, 'tls' | 'authSecret' | 'httpPort' | 'clientOptions'>> & {
  readonly httpPort: number | undefined;
  readonly client: ConnectionOptions;
};

function checkOptions(options: NsqOptions): Settings {
  const { nsqd = [], lookupd = [], authSecret, tls } = options;
  if ((nsqd.length === 0) === (lookupd.length === 0)) {
    throw new MillraceError('INVALID_ARGUMENT', 'Give the NSQ driver addresses of nsqd or of nsqlookupd, not both.');
  }
  for (const address of nsqd) hostAndPort(address);
  const limit = (name: keyof NsqOptions, byDefault: number, min = 1): number => {
    const value = options[name] ?? byDefault;
    if (Number.isSafeInteger(value) && (value as number) >= min) return value as number;
    throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number of at least ${min}, not ${value}.`);
  };
  const heartbeatMs = limit('heartbeatMs', DEFAULT_HEARTBEAT_MS, 1000);
  const { ca, cert, key, rejectUnauthorized = true } = typeof tls === 'object' ? tls : {};
  return {
    nsqd,
    httpPort: options.httpPort === undefined ? undefined : limit('httpPort', 0),
    lookupd,
    maxMessageBytes: limit('maxMessageBytes', DEFAULT_MAX_MESSAGE_BYTES),
    maxInFlight: limit('maxInFlight', DEFAULT_MAX_IN_FLIGHT),
    lookupPollMs: limit('lookupPollMs', DEFAULT_LOOKUP_POLL_MS),
    heartbeatMs,
    client: {
      ...options.clientOptions,
      heartbeatInterval: heartbeatMs / 1000,
      idleTimeout: (2 * heartbeatMs) / 1000,
      tls: tls !== undefined && tls !== false,
      tlsVerification: rejectUnauthorized,
      ...(authSecret === undefined ? {} : { authSecret }),
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    },
  };
}
