import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { MillraceError } from '../../errors.js';
import { settledWithin } from '../deadline.js';
import type { ChannelSink, DriverConnection, DriverContext, DriverSubscription } from '../driver.js';
import type { SocketSettings } from './options.js';
import { PublishingSocket, SubscribingSocket, type ZeromqPackage } from './sockets.js';

/** Topics that begin with this byte are the hubs' own: no text in UTF-8 does, so no channel. */
const CONTROL = 0xff;
/** How long `close` waits for what was published to be taken. */
const CLOSE_GRACE_MS = 1_000;
/** Once closed, how long libzmq may still send what it was given. */
const LINGER_MS = 1_000;

/** How often a peer is asked whether it is alive, and how long it may be silent before the connection counts as lost. */
const HEARTBEAT_INTERVAL_MS = 5_000;
const HEARTBEAT_TIMEOUT_MS = 10_000;

/** What both ways of connecting have. */
export interface ZeromqConnectionOptions {
  readonly highWaterMark: number;
  readonly maxMessageBytes: number;
  readonly socketOptions: SocketSettings;
}

interface Subscribed {
  /** Topics that begin with it are subscribed on the socket, as ZeroMQ knows no other way. */
  readonly prefix: string;
  readonly prefixBytes: Buffer;
  /** Whether only the topic itself is meant. */
  readonly exact: boolean;
  readonly sink: ChannelSink;
}

/**
 * What a forwarder and a mesh have in common. A message has two frames, the channel's name and the payload, so any
 * ZeroMQ program that publishes or subscribes like that is a peer.
 *
 * ZeroMQ does not tell whether a message was taken. Here each hub follows a topic of its own, and after its messages
 * publishes a number there: as ZeroMQ keeps the order, the number's return tells that all before it are through.
 */
export abstract class ZeromqConnection implements DriverConnection {
  protected readonly hubId = randomUUID();
  protected readonly context: DriverContext;
  protected readonly publisher: PublishingSocket;
  protected readonly end = new AbortController();
  readonly #zeromq: ZeromqPackage;
  readonly #socketOptions: SocketSettings;
  readonly #subscribers = new Set<SubscribingSocket>();
  /** What every subscribing socket is subscribed to: prefixes, each as often as it is wanted. */
  readonly #prefixes: Buffer[] = [];
  readonly #subscribed = new Set<Subscribed>();
  readonly #exact = new Map<string, Subscribed>();
  readonly #confirmTopic = controlTopic(`confirm/${this.hubId}`);
  readonly #control = new Map<string, (payload: Buffer) => void>();
  #published = 0;
  #confirmed = 0;
  #confirmQueued = false;
  readonly #waiting: {
    readonly number: number;
    readonly resolve: () => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  #onConfirmed: () => void = () => {};

  constructor(zeromq: ZeromqPackage, options: ZeromqConnectionOptions, noDrop: boolean, context: DriverContext) {
    this.context = context;
    // Every question that is out listens to it.
    setMaxListeners(0, this.end.signal);
    const { highWaterMark, maxMessageBytes, socketOptions } = options;
    const common = {
      heartbeatInterval: HEARTBEAT_INTERVAL_MS,
      heartbeatTimeout: HEARTBEAT_TIMEOUT_MS,
      ...socketOptions,
      maxMessageSize: maxMessageBytes,
    };
    this.#zeromq = zeromq;
    this.#socketOptions = { ...common, linger: 0, receiveHighWaterMark: highWaterMark };
    this.publisher = new PublishingSocket(
      new zeromq.XPublisher({
        ...common,
        linger: LINGER_MS,
        sendHighWaterMark: highWaterMark,
        noDrop,
        verbosity: 'allSubs',
      }),
      (topic, begins) => {
        if (topic[0] === CONTROL) this.onControlSubscription(topic, begins);
      },
    );
    this.#control.set(key(this.#confirmTopic), (payload) => this.#confirm(Number(payload)));
    this.#prefixes.push(this.#confirmTopic);
  }

  /** One more socket to subscribe by: it gets all subscriptions that there are and will be. */
  protected newSubscriber(): SubscribingSocket {
    const { XSubscriber } = this.#zeromq;
    const subscriber = new SubscribingSocket(new XSubscriber(this.#socketOptions), (frames) => this.#receive(frames));
    for (const prefix of this.#prefixes) subscriber.subscribe(prefix);
    this.#subscribers.add(subscriber);
    return subscriber;
  }

  #addPrefix(prefix: Buffer): void {
    this.#prefixes.push(prefix);
    for (const subscriber of this.#subscribers) subscriber.subscribe(prefix);
  }

  #removePrefix(prefix: Buffer): void {
    this.#prefixes.splice(this.#prefixes.indexOf(prefix), 1);
    for (const subscriber of this.#subscribers) subscriber.unsubscribe(prefix);
  }

  /** Resolves when everything that is subscribed now is in effect everywhere. Rejects when it cannot be. */
  protected abstract settle(): Promise<void>;
  /** Somebody subscribed to a topic of the hubs' own, or no longer does. */
  protected abstract onControlSubscription(topic: Buffer, begins: boolean): void;
  /** Why nothing can be published now; undefined when it can. */
  protected abstract outage(): MillraceError | undefined;

  publish(channel: string, payload: Uint8Array): Promise<void> {
    const outage = this.end.signal.aborted ? closedError() : this.outage();
    if (outage !== undefined) return Promise.reject(outage);
    this.publisher.publish(channel, payload);
    const number = ++this.#published;
    if (!this.#confirmQueued) {
      this.#confirmQueued = true;
      queueMicrotask(() => {
        this.#confirmQueued = false;
        this.publisher.publish(this.#confirmTopic, String(this.#published));
      });
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ number, resolve, reject });
    });
  }

  subscribe(channel: string, sink: ChannelSink): Promise<DriverSubscription> {
    return this.#subscribe({ prefix: channel, prefixBytes: Buffer.from(channel), exact: true, sink });
  }

  subscribePattern(pattern: string, sink: ChannelSink): Promise<DriverSubscription> {
    const prefix = pattern.slice(0, pattern.indexOf('*') < 0 ? pattern.length : pattern.indexOf('*'));
    return this.#subscribe({ prefix, prefixBytes: Buffer.from(prefix), exact: false, sink });
  }

  async close(): Promise<void> {
    if (this.#waiting.length > 0 && this.outage() === undefined) {
      const confirmed = new Promise<void>((resolve) => {
        this.#onConfirmed = resolve;
      });
      await settledWithin(confirmed, CLOSE_GRACE_MS);
    }
    this.end.abort(closedError());
    this.#subscribed.clear();
    this.#exact.clear();
    this.failPublishes(closedError());
    this.publisher.close();
    for (const subscriber of this.#subscribers) subscriber.close();
  }

  async #subscribe(subscribed: Subscribed): Promise<DriverSubscription> {
    const outage = this.end.signal.aborted ? closedError() : this.outage();
    if (outage !== undefined) throw outage;
    this.#addPrefix(subscribed.prefixBytes);
    try {
      await this.settle();
    } catch (error) {
      this.#removePrefix(subscribed.prefixBytes);
      throw error;
    }
    // Only now, so that nothing is handed over that was published before it was sure to arrive.
    this.#subscribed.add(subscribed);
    if (subscribed.exact) this.#exact.set(subscribed.prefix, subscribed);
    return {
      unsubscribe: async () => {
        if (!this.#subscribed.delete(subscribed)) return;
        if (this.#exact.get(subscribed.prefix) === subscribed) this.#exact.delete(subscribed.prefix);
        this.#removePrefix(subscribed.prefixBytes);
      },
    };
  }

  #receive([topic, payload]: readonly Buffer[]): void {
    if (topic === undefined) return;
    if (topic[0] === CONTROL) {
      this.#control.get(key(topic))?.(payload ?? EMPTY);
      return;
    }
    const channel = topic.toString();
    this.#exact.get(channel)?.sink.message(channel, payload ?? EMPTY);
    if (this.#exact.size === this.#subscribed.size) return;
    for (const { prefix, exact, sink } of this.#subscribed) {
      if (!exact && channel.startsWith(prefix)) sink.message(channel, payload ?? EMPTY);
    }
  }

  /** Tells every subscription that messages may be missing. */
  protected gap(): void {
    for (const { sink } of [...this.#subscribed]) sink.gap({ reason: 'reconnected' });
  }

  /** Follows a topic of the hubs' own on one socket; the returned function ends it. */
  protected follow(subscriber: SubscribingSocket, topic: Buffer, onMessage: (payload: Buffer) => void): () => void {
    this.#control.set(key(topic), onMessage);
    subscriber.subscribe(topic);
    return () => {
      this.#control.delete(key(topic));
      subscriber.unsubscribe(topic);
    };
  }

  #confirm(number: number): void {
    if (!(number > this.#confirmed)) return;
    this.#confirmed = number;
    let count = 0;
    for (const { number: each, resolve } of this.#waiting) {
      if (each > number) break;
      resolve();
      count++;
    }
    this.#waiting.splice(0, count);
    if (this.#waiting.length === 0) this.#onConfirmed();
  }

  /** Rejects every publish that was not confirmed. */
  protected failPublishes(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#onConfirmed();
  }
}

const EMPTY = Buffer.alloc(0);

function key(topic: Buffer): string {
  return topic.toString('latin1');
}

/** A topic of the hubs' own. */
export function controlTopic(name: string): Buffer {
  return Buffer.concat([Buffer.from([CONTROL]), Buffer.from(`millrace/${name}`)]);
}

/** The name in a topic of the hubs' own, or undefined where it is not of this kind. */
export function controlName(topic: Buffer, kind: string): string | undefined {
  const start = `millrace/${kind}/`;
  const text = topic.toString('utf8', 1);
  return text.startsWith(start) ? text.slice(start.length) : undefined;
}

function closedError(): MillraceError {
  return new MillraceError('HUB_UNAVAILABLE', 'The ZeroMQ sockets were closed before the message was through.');
}

/** What ZeroMQ said, in the hub's terms. */
export function zeromqError(sentence: string, cause?: unknown): MillraceError {
  return new MillraceError('HUB_UNAVAILABLE', sentence, {}, { cause });
}
