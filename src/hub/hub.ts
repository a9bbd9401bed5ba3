import { MillraceError } from '../errors.js';
import type {
  AnyChannels,
  ChannelName,
  GapsOf,
  HubEvent,
  HubGap,
  MessageOfAll,
  MessagesOf,
  Target,
} from './channels.js';
import type { Codec } from './codec.js';
import type { Driver, DriverAbilities } from './driver.js';
import type { EncodedMessage } from './encoded-message.js';
import { HubCore } from './hub-core.js';
import { DEFAULT_CHANNEL_BYTES_MAX } from './names.js';
import { limit } from './options.js';
import { carriesValues, driverLoader } from './schemes.js';
import type { HubSubscription, LagPolicy } from './subscription.js';

/** How the connection to the broker fares. `idle`: not used yet. */
export type HubStatus = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'closed';

/** Options of {@link createHub}. */
export interface HubOptions {
  /** The broker as a URL: `redis://…`, `nats://…`; see `hubSchemes`. Default: `memory:`. */
  readonly url?: string;
  /** The broker as a driver, of this package (`redis({ client })`) or your own. In place of `url`. */
  readonly driver?: Driver | Driver<unknown>;
  /** How messages become bytes (default: `jsonCodec`). Not used by drivers that carry values (memory). */
  readonly codec?: Codec;
  /** How many messages a subscriber may be behind (default {@link DEFAULT_MAX_LAG}). */
  readonly maxLag?: number;
  /**
   * How many bytes of messages a subscriber may be behind (default {@link DEFAULT_MAX_LAG_BYTES}); one message may always
   * wait. In memory, values that are neither bytes nor text are the program's and count next to nothing.
   */
  readonly maxLagBytes?: number;
  /** How many bytes all subscribers together may be behind (default {@link DEFAULT_TOTAL_LAG_BYTES_MAX}): who holds the most skips first. */
  readonly totalLagBytesMax?: number;
  /** How long a first connection may take, and how long a subscribe waits for a broker that is away. */
  readonly connectTimeoutMs?: number;
  /** How long a publish waits for the broker's answer. */
  readonly publishTimeoutMs?: number;
  /** How many publishes may wait for the broker's answer; more are rejected with `HUB_BUSY`. */
  readonly publishesMax?: number;
  /** How many bytes these may have (default {@link DEFAULT_PUBLISH_BYTES_MAX}); one may always go out. */
  readonly publishBytesMax?: number;
  /** How many channels and patterns may be subscribed at a time; more are refused with `HUB_BUSY`. */
  readonly channelsMax?: number;
  /** The longest channel name in bytes of UTF-8. */
  readonly channelBytesMax?: number;
  /** The largest message in bytes, where the broker's own limit is not smaller. */
  readonly messageBytesMax?: number;
  /** Called on every change of {@link Hub.status}; `cause` tells why a connection was lost. */
  readonly onStatus?: (status: HubStatus, cause?: unknown) => void;
}

/** Options of {@link Hub.subscribe}. */
export interface SubscribeOptions {
  /** Ends the subscription when it aborts; whoever waits is rejected with its reason. */
  readonly signal?: AbortSignal;
  /**
   * Goes on after the event with this `id`, of an earlier subscription to the same channels: first what was missed,
   * then what is live. What is not kept (any more), and all of it where the driver cannot replay, is told as a gap of
   * reason `history`.
   */
  readonly after?: string;
  /**
   * `gap` (default): a subscriber that lags too far is told what it missed and goes on. `disconnect`: its subscription
   * fails with `HUB_LAGGED`.
   */
  readonly whenLagging?: LagPolicy;
  /** How many messages this subscriber may be behind, where that is less than the hub's `maxLag`. */
  readonly maxLag?: number;
  /** How many bytes of messages, where that is less than the hub's `maxLagBytes`. */
  readonly maxLagBytes?: number;
}

/** Options of {@link Hub.subscribe} for those who want messages only in the iteration. */
export interface SubscribeWithGapsOptions extends SubscribeOptions {
  /** Called with each gap, in order among the messages, in place of its being yielded. */
  readonly onGap: (gap: HubGap) => void;
}

/**
 * Publish and subscribe over a broker, or in memory. One connection serves the process, and one subscription on the
 * broker serves all local subscribers of a channel.
 */
export interface Hub<C extends object = AnyChannels> {
  /** What the broker can do. Until a driver named by URL is loaded (see {@link connect}): undefined. */
  readonly abilities: DriverAbilities | undefined;
  readonly status: HubStatus;
  /** How many channels and patterns are subscribed on the broker. */
  readonly channelCount: number;
  /**
   * Connects now. Need not be called: the first publish or subscribe does. Rejects with `HUB_UNAVAILABLE`,
   * `HUB_UNAUTHORIZED`, `HUB_CLIENT_MISSING`; the next call tries again. Once connected, the hub reconnects by itself.
   */
  connect(): Promise<void>;
  /**
   * Sends a message to a channel, or to each of several. Resolves when the broker has taken it; rejects with
   *
   * - `HUB_CHANNEL_INVALID`, `HUB_MESSAGE_INVALID` (the codec cannot encode it), `HUB_MESSAGE_TOO_LARGE`, `HUB_CLOSED`;
   * - `HUB_UNAVAILABLE` at once while the connection is down, and when the broker does not answer: it is not queued or
   *   sent again by itself;
   * - `HUB_BUSY` when too many publishes wait for their answers.
   *
   * Publishes of one hub to one channel go out in the order of the calls. One that is made while a `subscribe` of the
   * same hub waits for the broker goes out after it, so whoever subscribes and then publishes sees the message.
   *
   * An {@link EncodedMessage} goes out as it is written: for programs that pass messages on.
   */
  publish<N extends ChannelName<C>>(
    channels: N | readonly N[],
    message: MessageOfAll<C, N> | EncodedMessage,
  ): Promise<void>;
  /**
   * Follows channels, by name or by `{ pattern: 'job/*' }`: every message that is published from then on, by anyone.
   * Yields `{ channel, message }` and, where messages may be missing, `{ channel, gap }`, unless `onGap` takes those.
   *
   * Throws `INVALID_ARGUMENT`, `HUB_CHANNEL_INVALID`, `HUB_PATTERNS_UNSUPPORTED`, `HUB_BUSY`, `HUB_CLOSED`. What the broker refuses is
   * rejected by `ready` and by the iteration.
   */
  subscribe<const T extends Target<C>>(
    channels: T | readonly T[],
    options: SubscribeWithGapsOptions,
  ): HubSubscription<MessagesOf<C, T>>;
  subscribe<const T extends Target<C>>(
    channels: T | readonly T[],
    options?: SubscribeOptions,
  ): HubSubscription<MessagesOf<C, T> | GapsOf<T>>;
  /**
   * Ends the hub: publishes under way are finished or rejected, subscriptions end once drained, the connection is
   * closed. Never rejects. Closing again is the same close.
   */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A hub whatever its channels are: for programs that pass its messages on and ask nothing of their types. */
export interface AnyHub extends Pick<Hub, 'status'> {
  publish(channels: never, message: never): Promise<void>;
  subscribe(channels: never, options?: SubscribeOptions): HubSubscription<HubEvent>;
}

/** Default of {@link HubOptions.maxLag}. */
export const DEFAULT_MAX_LAG = 65_536;
/** Default of {@link HubOptions.maxLagBytes}. */
export const DEFAULT_MAX_LAG_BYTES = 64 * 1024 * 1024;
/** Default of {@link HubOptions.totalLagBytesMax}. */
export const DEFAULT_TOTAL_LAG_BYTES_MAX = 64 * 1024 * 1024;
/** Default of {@link HubOptions.connectTimeoutMs}. */
export const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
/** Default of {@link HubOptions.publishTimeoutMs}. */
export const DEFAULT_PUBLISH_TIMEOUT_MS = 10_000;
/** Default of {@link HubOptions.publishesMax}. */
export const DEFAULT_PUBLISHES_MAX = 65_536;
/** Default of {@link HubOptions.publishBytesMax}. */
export const DEFAULT_PUBLISH_BYTES_MAX = 64 * 1024 * 1024;
/** Default of {@link HubOptions.channelsMax}. */
export const DEFAULT_CHANNELS_MAX = 65_536;
/** Default of {@link HubOptions.messageBytesMax}. */
export const DEFAULT_MESSAGE_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Makes a hub. Does no I/O: it connects at first use, or at `connect()`.
 *
 * @param broker A URL, a driver object, or options. Without one, the hub is in memory.
 * Throws `HUB_UNKNOWN_SCHEME` and `INVALID_ARGUMENT`.
 */
export function createHub<C extends object = AnyChannels>(
  broker: string | Driver | Driver<unknown> | HubOptions = {},
): Hub<C> {
  const options: HubOptions =
    typeof broker === 'string' ? { url: broker } : isDriver(broker) ? { driver: broker } : broker;
  if (options.url !== undefined && options.driver !== undefined) {
    throw new MillraceError('INVALID_ARGUMENT', 'Give createHub a url or a driver, not both.');
  }
  const { driver, url = 'memory:' } = options;
  const load = driver === undefined ? driverLoader(url) : () => Promise.resolve(driver as Driver);
  return new HubCore(driver as Driver | undefined, load, {
    codec: options.codec,
    carriesValues: carriesValues(url),
    maxLag: limit('maxLag', options.maxLag, DEFAULT_MAX_LAG),
    maxLagBytes: limit('maxLagBytes', options.maxLagBytes, DEFAULT_MAX_LAG_BYTES),
    totalLagBytesMax: limit('totalLagBytesMax', options.totalLagBytesMax, DEFAULT_TOTAL_LAG_BYTES_MAX),
    connectTimeoutMs: limit('connectTimeoutMs', options.connectTimeoutMs, DEFAULT_CONNECT_TIMEOUT_MS),
    publishTimeoutMs: limit('publishTimeoutMs', options.publishTimeoutMs, DEFAULT_PUBLISH_TIMEOUT_MS),
    publishesMax: limit('publishesMax', options.publishesMax, DEFAULT_PUBLISHES_MAX),
    publishBytesMax: limit('publishBytesMax', options.publishBytesMax, DEFAULT_PUBLISH_BYTES_MAX),
    channelsMax: limit('channelsMax', options.channelsMax, DEFAULT_CHANNELS_MAX),
    channelBytesMax: limit('channelBytesMax', options.channelBytesMax, DEFAULT_CHANNEL_BYTES_MAX),
    messageBytesMax: limit('messageBytesMax', options.messageBytesMax, DEFAULT_MESSAGE_BYTES_MAX),
    onStatus: options.onStatus,
  }) as unknown as Hub<C>;
}

function isDriver(value: Driver | Driver<unknown> | HubOptions): value is Driver | Driver<unknown> {
  return typeof (value as Driver).connect === 'function';
}
