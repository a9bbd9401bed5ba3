import { MillraceError } from '../errors.js';
import { DEFAULT_HTTP_LIMITS, type HttpLimits, httpLimits } from '../http/limits.js';
import { parseHostName, parseOrigin } from '../http/origin-check.js';

/** Where the streams are kept, and where the server listens. Everything has a default. */
export interface ServerConfig {
  /** Directory of the streams; it is made if there is none, but not those above it. Default {@link DEFAULT_ROOT}. */
  readonly root?: string;
  /** Keep the streams in memory only: they are gone when the process ends. Excludes `root`. */
  readonly memory?: boolean;
  /** Default {@link DEFAULT_HOST}: only programs on this machine get in. */
  readonly host?: string;
  /** Default {@link DEFAULT_PORT}; 0 picks a free one. */
  readonly port?: number;
  /**
   * The broker behind `/-/events` and `/-/publish`, as a URL for `createHub`. Default {@link DEFAULT_HUB}: channels within this
   * process, whose newest messages are kept for clients that come back.
   */
  readonly hub?: string;
  /**
   * Scheme and host under which clients reach the server, like `https://streams.example`: for the URLs that it gives out, as a
   * host that requests may name, and as the origin of its own pages. Default: as each request names them, where that may be.
   * Needed behind a proxy: one that passes `Host` on names a host that is not known, one that does not a wrong one.
   */
  readonly publicUrl?: string;
  /**
   * Origins whose pages in browsers may use the server, like `https://app.example`, beside those of this machine and that
   * of `publicUrl`; `*` for every page there is.
   */
  readonly origins?: readonly string[];
  /**
   * Names under which clients reach the server, beside loopback names and that of `publicUrl`. A server that listens on a
   * loopback address refuses requests for others.
   */
  readonly hostNames?: readonly string[];
  /** Whether webhooks of subscriptions may go to `http://localhost` and `http://127.x.x.x`. Default: no. */
  readonly webhooksToLoopback?: boolean;
  /** What the HTTP side allows; what is not given has the default of `DEFAULT_HTTP_LIMITS`. */
  readonly limits?: Partial<HttpLimits>;
  /** Connections at one time; the kernel queues a few more, the rest are refused. Default {@link DEFAULT_CONNECTIONS_MAX}. */
  readonly connectionsMax?: number;
  /**
   * The same of one address (of one IPv6 network of 64 bits), except those of this machine. A proxy on another machine is one
   * address: raise it for that. Default {@link DEFAULT_CONNECTIONS_PER_ADDRESS_MAX}.
   */
  readonly connectionsPerAddressMax?: number;
}

/** Default of {@link ServerConfig.root}, below the working directory. */
export const DEFAULT_ROOT = './data';
/** Default of {@link ServerConfig.host}. */
export const DEFAULT_HOST = '127.0.0.1';
/** Default of {@link ServerConfig.port}. */
export const DEFAULT_PORT = 4437;
/** Default of {@link ServerConfig.hub}. */
export const DEFAULT_HUB = 'memory:?history=1000';
/** Default of {@link ServerConfig.connectionsMax}. */
export const DEFAULT_CONNECTIONS_MAX = 100_000;
/** Default of {@link ServerConfig.connectionsPerAddressMax}. A connection may hold what one read brings, some 64 KiB. */
export const DEFAULT_CONNECTIONS_PER_ADDRESS_MAX = 4_096;

/** A configuration that can be used as it is. */
export interface CheckedConfig {
  /** Undefined for the memory store. */
  readonly root: string | undefined;
  readonly host: string;
  readonly port: number;
  readonly hub: string;
  readonly publicUrl: string | undefined;
  readonly origins: readonly string[];
  readonly hostNames: readonly string[];
  readonly webhooksToLoopback: boolean;
  readonly limits: HttpLimits;
  readonly connectionsMax: number;
  readonly connectionsPerAddressMax: number;
}

/** Fills in the defaults. Errors: `INVALID_ARGUMENT`, which names the option. */
export function checkConfig(config: ServerConfig): CheckedConfig {
  const { memory = false, host = DEFAULT_HOST, port = DEFAULT_PORT } = config;
  if (memory && config.root !== undefined) throw invalid('Give either root or memory, not both.');
  if (config.root === '') throw invalid('root must not be empty: name a directory.');
  if (host === '') throw invalid('host must not be empty: use 0.0.0.0 or :: to listen on every address.');
  if (!Number.isSafeInteger(port) || port < 0 || port > 65_535) {
    throw invalid(`port must be a whole number from 0 to 65535, not ${port}.`);
  }
  return {
    root: memory ? undefined : (config.root ?? DEFAULT_ROOT),
    host,
    port,
    hub: config.hub ?? DEFAULT_HUB,
    publicUrl: checkPublicUrl(config.publicUrl),
    origins: (config.origins ?? []).map(parseOrigin),
    hostNames: (config.hostNames ?? []).map(parseHostName),
    webhooksToLoopback: config.webhooksToLoopback ?? false,
    limits: checkLimits(config.limits ?? {}),
    connectionsMax: checkWhole('connectionsMax', config.connectionsMax ?? DEFAULT_CONNECTIONS_MAX, 1),
    connectionsPerAddressMax: checkWhole(
      'connectionsPerAddressMax',
      config.connectionsPerAddressMax ?? DEFAULT_CONNECTIONS_PER_ADDRESS_MAX,
      1,
    ),
  };
}

function checkPublicUrl(text: string | undefined): string | undefined {
  if (text === undefined || /^https?:\/\/[^/?#@\s]+\/?$/.test(text)) return text;
  throw invalid(`publicUrl must be a scheme and a host, like https://streams.example, not ${text}.`);
}

function checkLimits(given: Partial<HttpLimits>): HttpLimits {
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(DEFAULT_HTTP_LIMITS, name)) throw invalid(`There is no limit called ${name}.`);
  }
  return httpLimits(given);
}

function checkWhole(name: string, value: number, min: number): number {
  if (Number.isSafeInteger(value) && value >= min) return value;
  throw invalid(`${name} must be a whole number of at least ${min}, not ${value}.`);
}

function invalid(message: string): MillraceError {
  return new MillraceError('INVALID_ARGUMENT', message);
}
