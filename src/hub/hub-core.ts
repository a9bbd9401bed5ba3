import { isMillraceError, MillraceError } from '../errors.js';
import type { HubGap } from './channels.js';
import { type Codec, jsonCodec } from './codec.js';
import { Deadline, orAborted, settledWithin, withResolver } from './deadline.js';
import type { Driver, DriverAbilities, DriverConnection } from './driver.js';
import { EncodedMessage, weightOf } from './encoded-message.js';
import { type Begins, Channel, type Coding, channelKey, Feed, type LagLimits } from './feed.js';
import type { HubStatus, SubscribeOptions } from './hub.js';
import { LagBudget } from './lag-budget.js';
import { checkChannelName } from './names.js';
import { checkSubscribeOptions, limit } from './options.js';
import { PendingPublishes } from './pending-publishes.js';
import { type Resumed, readMissed } from './resuming.js';
import { HubSubscription } from './subscription.js';

/** The checked options of a hub. */
export interface HubLimits extends LagLimits {
  readonly codec: Codec | undefined;
  /** Whether a driver that is not loaded yet will carry values. */
  readonly carriesValues: boolean;
  readonly totalLagBytesMax: number;
  readonly connectTimeoutMs: number;
  readonly publishTimeoutMs: number;
  readonly publishesMax: number;
  readonly publishBytesMax: number;
  readonly channelsMax: number;
  readonly channelBytesMax: number;
  readonly messageBytesMax: number;
  readonly onStatus: ((status: HubStatus, cause?: unknown) => void) | undefined;
}

/** How long `close` waits for a driver that does not come to an end. */
const CLOSE_TIMEOUT_MS = 5_000;

/**
 * What is the same for all brokers: the connection and its states, the channels and who listens to them, the way of a
 * message in and out. `Hub` in hub.ts is its public, typed face.
 */
export class HubCore {
  readonly #load: () => Promise<Driver>;
  readonly #limits: HubLimits;
  #driver: Driver | undefined;
  readonly #coding: Coding;
  #carriesValues = false;
  #connection: DriverConnection | undefined;
  /** The connection of a driver that carries values, while the hub is open. */
  #direct: DriverConnection | undefined;
  #connecting: Promise<DriverConnection> | undefined;
  #messageBytesMax: number;
  #status: HubStatus = 'idle';
  /** What is under way, and the connection: all are aborted when the hub closes. */
  readonly #deadlines = new Set<Deadline>();
  #closed: Promise<void> | undefined;
  readonly #channels = new Map<string, Channel>();
  readonly #feeds = new Map<string, Feed>();
  readonly #lagBudget: LagBudget;
  /** By channel key: unsubscribes that a new subscribe has to wait for. */
  readonly #leaving = new Map<string, Promise<void>>();
  /** Settles when the first connection and all subscribes so far have: publishes wait for it. */
  #gate: Promise<unknown> | undefined;
  readonly #pending: PendingPublishes;
  /** Resolves at the next change to `connected`. Only while the connection is down. */
  #restored: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  #checkedName: string | undefined;

  constructor(driver: Driver | undefined, load: () => Promise<Driver>, limits: HubLimits) {
    this.#load = load;
    this.#limits = limits;
    this.#coding = { codec: limits.codec ?? jsonCodec };
    this.#messageBytesMax = limits.messageBytesMax;
    this.#lagBudget = new LagBudget(limits.totalLagBytesMax);
    this.#pending = new PendingPublishes(limits, (error) => unavailable(error, this.#driver?.name));
    if (driver !== undefined) this.#adopt(driver);
    else this.#carriesValues = limits.carriesValues;
  }

  get abilities(): DriverAbilities | undefined {
    return this.#driver?.abilities;
  }

  get status(): HubStatus {
    return this.#status;
  }

  get channelCount(): number {
    return this.#channels.size;
  }

  async connect(): Promise<void> {
    await this.#connect();
  }

  publish(channels: string | readonly string[], message: unknown): Promise<void> {
    // The way of nearly every message in memory: a channel that was checked a moment ago, and nothing to wait for.
    if (channels === this.#checkedName && this.#direct !== undefined && this.#gate === undefined) {
      return this.#direct.publish(channels, message as Uint8Array);
    }
    if (typeof channels === 'string') return this.#publishOne(channels, message);
    if (!Array.isArray(channels)) {
      return Promise.reject(new MillraceError('HUB_CHANNEL_INVALID', 'Give publish a channel name or a list of them.'));
    }
    const names = [...new Set<string>(channels)];
    return Promise.all(names.map((name) => this.#publishOne(name, message))).then(() => undefined);
  }

  subscribe(
    channels: unknown,
    options: SubscribeOptions & { readonly onGap?: (gap: HubGap) => void } = {},
  ): HubSubscription {
    checkSubscribeOptions(options);
    const { after } = options;
    const ownLimit = (name: keyof LagLimits) => {
      const most = this.#limits[name];
      return Math.min(limit(name, options[name], most), most);
    };
    const maxLag = ownLimit('maxLag');
    const maxLagBytes = ownLimit('maxLagBytes');
    const targets = this.#targets(channels);
    if (this.#closed !== undefined) throw closedError();
    const feed = this.#feed(targets);
    const begins = whereItBegins(feed);
    const subscription = new HubSubscription({
      feed,
      begins,
      resume: after === undefined ? undefined : this.#resume(after, begins, feed, maxLag),
      onGap: options.onGap,
      whenLagging: options.whenLagging ?? 'gap',
      maxLag,
      maxLagBytes,
      signal: options.signal,
      leave: (each) => this.#leave(feed, each),
    });
    if (!options.signal?.aborted) feed.join(subscription, { maxLag, maxLagBytes });
    return subscription;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // The connection.

  #connect(): Promise<DriverConnection> {
    if (this.#connection !== undefined) return Promise.resolve(this.#connection);
    if (this.#closed !== undefined) return Promise.reject(closedError());
    if (this.#connecting === undefined) {
      const attempt = this.#open();
      this.#connecting = attempt;
      this.#holdPublishes(attempt);
      // Told when the attempt is known, so that a listener that publishes begins no second one.
      this.#setStatus('connecting');
      const forget = () => {
        this.#connecting = undefined;
      };
      attempt.then(forget, forget);
    }
    return this.#connecting;
  }

  async #open(): Promise<DriverConnection> {
    const { connectTimeoutMs } = this.#limits;
    const attempt = this.#deadline();
    try {
      const driver = this.#driver ?? (await this.#load());
      this.#adopt(driver);
      const connecting = driver.connect({
        signal: attempt.signal,
        connectTimeoutMs,
        onStatus: (status, cause) => this.#setStatus(status, cause),
      });
      const connection = await orAborted(connecting, attempt.signal, (late) => late.close());
      this.#connection = connection;
      if (this.#carriesValues) this.#direct = connection;
      this.#messageBytesMax = Math.min(this.#messageBytesMax, connection.maxMessageBytes ?? Number.POSITIVE_INFINITY);
      if (this.#status === 'connecting') this.#setStatus('connected');
      attempt.met();
      return connection;
    } catch (error) {
      attempt.clear();
      if (this.#closed === undefined) this.#setStatus('idle', error);
      throw unavailable(error, this.#driver?.name);
    }
  }

  #deadline(): Deadline {
    const timeoutMs = this.#limits.connectTimeoutMs;
    return new Deadline(timeoutMs, () => lateError(timeoutMs), this.#deadlines);
  }

  #adopt(driver: Driver): void {
    this.#driver = driver;
    this.#carriesValues = driver.carries === 'values';
    if (this.#carriesValues) this.#coding.codec = undefined;
    this.#messageBytesMax = Math.min(this.#limits.messageBytesMax, driver.abilities.maxMessageBytes);
  }

  #setStatus(status: HubStatus, cause?: unknown): void {
    if (this.#status === status || this.#status === 'closed') return;
    this.#status = status;
    if (status === 'reconnecting') this.#restored ??= withResolver();
    else if (this.#restored !== undefined) {
      this.#restored.resolve();
      this.#restored = undefined;
    }
    this.#limits.onStatus?.(status, cause);
  }

  // The way out.

  #publishOne(channel: string, message: unknown): Promise<void> {
    let payload = message;
    try {
      if (channel !== this.#checkedName) {
        checkChannelName(channel, this.#limits.channelBytesMax);
        this.#checkedName = channel;
      }
      if (this.#closed !== undefined) throw closedError();
      if (!this.#carriesValues) payload = this.#encode(message);
    } catch (error) {
      return Promise.reject(error);
    }
    const connection = this.#connection;
    if (connection === undefined || (this.#gate !== undefined && this.#status === 'connected')) {
      return this.#publishLater(channel, payload);
    }
    if (this.#carriesValues) return connection.publish(channel, payload as Uint8Array);
    const bytes = payload as Uint8Array;
    return this.#pending.run(bytes.length, () => connection.publish(channel, bytes));
  }

  /** Behind the first connection and the subscribes that are under way. The wait counts as one for the broker does. */
  #publishLater(channel: string, payload: unknown): Promise<void> {
    return this.#pending.run(weightOf(payload), (deadline) => {
      const connecting = this.#connect();
      const send = (connection: DriverConnection) => {
        if (this.#closed !== undefined) throw closedError();
        // Its publisher is told, or was told, that it failed.
        if (performance.now() >= deadline) throw lateError(this.#limits.publishTimeoutMs);
        // The limit of the broker may be known only now.
        if (!this.#carriesValues) this.#checkSize(payload as Uint8Array);
        return connection.publish(channel, payload as Uint8Array);
      };
      // Asked in the very reaction to the gate: a turn later, a publish made after this one could be before it.
      const open = () => (this.#connection === undefined ? connecting.then(send) : send(this.#connection));
      return (this.#gate ?? connecting).then(open);
    });
  }

  #encode(message: unknown): Uint8Array {
    const codec = this.#coding.codec as Codec;
    let bytes: Uint8Array;
    if (message instanceof EncodedMessage && codec === jsonCodec) {
      this.#checkSize(message.bytes);
      return message.bytes;
    }
    const value = message instanceof EncodedMessage ? message.value : message;
    try {
      bytes = codec.encode(value);
    } catch (cause) {
      if (isMillraceError(cause)) throw cause;
      throw new MillraceError(
        'HUB_MESSAGE_INVALID',
        `The message cannot be encoded: ${cause instanceof Error ? cause.message : String(cause)}`,
        {},
        { cause },
      );
    }
    this.#checkSize(bytes);
    // A driver may send it later, when the publisher has changed it.
    const isShared = value instanceof Uint8Array && value.buffer === bytes.buffer;
    return isShared ? new Uint8Array(bytes) : bytes;
  }

  #checkSize({ length }: Uint8Array): void {
    const bytesMax = this.#messageBytesMax;
    if (length <= bytesMax) return;
    throw new MillraceError(
      'HUB_MESSAGE_TOO_LARGE',
      `The message has ${length} bytes and may have ${bytesMax}: split it, or send a reference.`,
      { bytes: length, bytesMax },
    );
  }

  // The way in.

  /** Checks what a caller wants to follow: key of the channel to its name and kind. */
  #targets(channels: unknown): Map<string, { readonly name: string; readonly isPattern: boolean }> {
    const targets = new Map<string, { readonly name: string; readonly isPattern: boolean }>();
    for (const target of Array.isArray(channels) ? channels : [channels]) {
      const pattern: unknown = (target as { pattern?: unknown } | null | undefined)?.pattern;
      const isPattern = typeof target === 'object' && pattern !== undefined;
      const name = isPattern ? pattern : target;
      checkChannelName(name, this.#limits.channelBytesMax);
      if (isPattern && this.#driver?.abilities.patterns === false) throw this.#noPatterns();
      targets.set(channelKey(name, isPattern), { name, isPattern });
    }
    if (targets.size === 0) {
      throw new MillraceError('HUB_CHANNEL_INVALID', 'Give subscribe at least one channel.');
    }
    const added = [...targets.keys()].filter((key) => !this.#channels.has(key)).length;
    if (this.#channels.size + added > this.#limits.channelsMax) {
      throw new MillraceError(
        'HUB_BUSY',
        `The hub follows ${this.#channels.size} channels already: close subscriptions, or raise channelsMax.`,
        { channelsMax: this.#limits.channelsMax },
      );
    }
    return targets;
  }

  #noPatterns(): MillraceError {
    const name = this.#driver?.name ?? 'this';
    return new MillraceError(
      'HUB_PATTERNS_UNSUPPORTED',
      `The ${name} broker cannot subscribe by pattern: name the channels.`,
    );
  }

  #feed(targets: Map<string, { readonly name: string; readonly isPattern: boolean }>): Feed {
    const keys = [...targets.keys()].sort();
    const key = JSON.stringify(keys);
    let feed = this.#feeds.get(key);
    if (feed === undefined) {
      const channels = [...targets].map(([each, target]) => {
        let channel = this.#channels.get(each);
        if (channel === undefined) {
          channel = new Channel(target.name, target.isPattern, this.#coding);
          this.#channels.set(each, channel);
          channel.ready = this.#openChannel(channel);
          this.#holdPublishes(channel.ready);
        }
        return channel;
      });
      feed = new Feed(key, channels, this.#limits, this.#lagBudget);
      this.#feeds.set(key, feed);
    }
    return feed;
  }

  #holdPublishes(ready: Promise<unknown>): void {
    const gate = Promise.allSettled([this.#gate, ready]);
    this.#gate = gate;
    // The first reaction to it, so that publishes which waited still come before those made after.
    gate.then(() => {
      if (this.#gate === gate) this.#gate = undefined;
    });
  }

  async #openChannel(channel: Channel): Promise<void> {
    try {
      const leaving = this.#leaving.get(channel.key);
      if (leaving !== undefined) {
        await this.#inTime(leaving);
        // Left while it waited: nobody needs it, and whoever comes next has a channel of its own.
        if (this.#channels.get(channel.key) !== channel) return;
      }
      const connection = await this.#connect();
      const subscription = await this.#subscribeOnBroker(connection, channel);
      channel.subscription = subscription;
      channel.begin = subscription.position;
      channel.position ??= subscription.position;
    } catch (error) {
      // Whoever comes next tries anew.
      if (this.#channels.get(channel.key) === channel) this.#channels.delete(channel.key);
      for (const feed of channel.feeds) this.#dropFeed(feed);
      throw error;
    }
  }

  /** Waits for as long as a connection may take. */
  async #inTime(work: Promise<void>): Promise<void> {
    const deadline = this.#deadline();
    try {
      await orAborted(work, deadline.signal);
    } finally {
      deadline.clear();
    }
  }

  /** Asks the broker, and asks again when the connection is lost meanwhile, for as long as a connection may take. */
  async #subscribeOnBroker(connection: DriverConnection, channel: Channel) {
    if (channel.pattern !== undefined && connection.subscribePattern === undefined) throw this.#noPatterns();
    const deadline = this.#deadline();
    const { signal } = deadline;
    for (;;) {
      try {
        if (this.#restored !== undefined) await orAborted(this.#restored.promise, signal);
        const subscribing =
          channel.pattern === undefined
            ? connection.subscribe(channel.name, channel)
            : (connection.subscribePattern as NonNullable<DriverConnection['subscribePattern']>)(channel.name, channel);
        const subscription = await orAborted(subscribing, signal, (late) => late.unsubscribe());
        deadline.clear();
        return subscription;
      } catch (error) {
        if (signal.aborted || this.#restored === undefined) {
          deadline.clear();
          throw this.#closed === undefined ? unavailable(error, this.#driver?.name) : closedError();
        }
      }
    }
  }

  #leave(feed: Feed, subscription: HubSubscription): void {
    feed.subscriptions.delete(subscription);
    if (feed.subscriptions.size === 0 && this.#closed === undefined) this.#dropFeed(feed);
  }

  #dropFeed(feed: Feed): void {
    if (this.#feeds.get(feed.key) !== feed) return;
    this.#feeds.delete(feed.key);
    for (const channel of feed.detach()) {
      if (this.#channels.get(channel.key) !== channel) continue;
      this.#channels.delete(channel.key);
      this.#unsubscribe(channel);
    }
  }

  /** Also of a channel that the broker has not confirmed yet: two of one key must never stand at the same time. */
  #unsubscribe(channel: Channel): void {
    const unsubscribe = () => channel.subscription?.unsubscribe();
    const left = channel.subscription === undefined ? channel.ready.then(unsubscribe) : Promise.resolve(unsubscribe());
    const leaving = left.catch(() => {});
    this.#leaving.set(channel.key, leaving);
    leaving.then(() => {
      if (this.#leaving.get(channel.key) === leaving) this.#leaving.delete(channel.key);
    });
  }

  /** What comes before the live events of a subscriber that returns, once the broker has confirmed its channels. */
  async #resume(after: string, begins: Promise<Begins>, feed: Feed, countMax: number): Promise<Resumed> {
    const positions = await begins;
    const deadline = this.#deadline();
    const connection = this.#connection;
    try {
      return await readMissed({ feed, after, begins: positions, connection, countMax, signal: deadline.signal });
    } finally {
      deadline.clear();
    }
  }

  // The end.

  async #close(): Promise<void> {
    const connecting = this.#connecting;
    const connection = this.#connection;
    this.#direct = undefined;
    // From here on every call is refused: `#closed` is set once this function has returned its promise.
    await Promise.resolve();
    this.#setStatus('closed');
    for (const deadline of this.#deadlines) deadline.abort(closedError());
    await settledWithin(connection?.close() ?? Promise.resolve(connecting), CLOSE_TIMEOUT_MS);
    this.#pending.rejectAll(closedError());
    for (const feed of this.#feeds.values()) {
      feed.stream.close();
      for (const subscription of feed.subscriptions) subscription.end();
    }
    this.#feeds.clear();
    this.#channels.clear();
  }
}

/** Where the live events begin for a subscriber that comes now, once all channels are confirmed. */
async function whereItBegins(feed: Feed): Promise<Begins> {
  // Of a channel that has events already the feed will have what comes after them.
  const now = feed.channels.map(({ position }) => position);
  await Promise.all(feed.channels.map((channel) => channel.ready));
  const begins = new Map<Channel, string>();
  for (const [at, channel] of feed.channels.entries()) {
    const begin = now[at] ?? channel.begin;
    if (begin !== undefined) begins.set(channel, begin);
  }
  return begins;
}

function closedError(): MillraceError {
  return new MillraceError('HUB_CLOSED', 'The hub is closed: make a new one with createHub.');
}

function lateError(timeoutMs: number): MillraceError {
  return new MillraceError('HUB_UNAVAILABLE', `The broker did not answer within ${timeoutMs} ms.`, { timeoutMs });
}

/** The error of a driver as one of ours. */
function unavailable(error: unknown, name = 'hub'): MillraceError {
  if (isMillraceError(error)) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new MillraceError('HUB_UNAVAILABLE', `The ${name} broker cannot be used: ${reason}`, {}, { cause: error });
}
