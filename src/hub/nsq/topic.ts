import type { Message, NSQDConnection } from 'nsqjs';
import { isMillraceError, type MillraceError } from '../../errors.js';
import type { ChannelSink, DriverSubscription } from '../driver.js';
import { keepOpen, type Link, type NsqShared } from './link.js';
import type { NsqNode } from './node.js';

/** One channel of the hub: read from every nsqd, each time by an ephemeral NSQ channel that nobody else has. */
export class NsqTopic implements DriverSubscription {
  readonly #shared: NsqShared;
  readonly #channel: string;
  readonly #topic: string;
  readonly #sink: ChannelSink;
  readonly #end = new AbortController();
  readonly #onEnd: (topic: NsqTopic) => void;
  readonly #readers = new Map<string, object>();
  /**
   * By nsqd: the time at which the subscription began there. NSQ keeps what is published on a topic that nobody
   * reads, and gives it to the first who does; a subscriber of a hub sees only what comes after it.
   */
  readonly #since = new Map<string, bigint>();
  /** Whether the subscription stands, so that from now on a late start is a gap. */
  #stands = false;
  #linkCount = 0;

  constructor(shared: NsqShared, channel: string, topic: string, sink: ChannelSink, onEnd: (topic: NsqTopic) => void) {
    this.#shared = shared;
    this.#channel = channel;
    this.#topic = topic;
    this.#sink = sink;
    this.#onEnd = onEnd;
  }

  /** Reads from these nsqd; resolves when all of them that are up have confirmed, and at least one has. */
  async start(nodes: Iterable<NsqNode>): Promise<void> {
    const readers = [...nodes].map((node) => this.read(node));
    const settled = await Promise.all(readers.map(({ tried }) => tried));
    if (!settled.includes(true)) await Promise.race(readers.map(({ stands }) => stands));
    this.#stands = true;
  }

  /** Reads from one more nsqd, until that is given up or the subscription ends. */
  read(node: NsqNode): { readonly tried: Promise<boolean>; readonly stands: Promise<void> } {
    const key = {};
    this.#readers.set(node.address, key);
    const signal = AbortSignal.any([this.#end.signal, node.ended]);
    let lost = false;
    const stands = deferred<void>();
    const tried = deferred<boolean>();
    signal.addEventListener('abort', () => stands.reject(signal.reason), { once: true });
    // Whoever waits for it sees it; when nobody does, it is no fault of anybody's.
    stands.promise.catch(() => {});
    tried.promise.catch(() => {});
    const open = async () => {
      await node.tried;
      const link = await this.#open(node, signal);
      if (this.#stands) this.#sink.gap({ reason: 'reconnected' });
      lost = false;
      this.#shared.onRestored(key);
      stands.resolve();
      tried.resolve(true);
      void link.lost.then((cause) => {
        if (signal.aborted) return;
        lost = true;
        this.#shared.onLost(key, cause);
      });
      return link;
    };
    void keepOpen(open, signal, (error) => {
      if (isRefusal(error) && !this.#stands && !lost) {
        tried.reject(error);
        this.end();
      } else tried.resolve(false);
    }).then(() => {
      tried.reject(signal.reason);
      this.#shared.onRestored(key);
    });
    return { tried: tried.promise, stands: stands.promise };
  }

  async #open(node: NsqNode, signal: AbortSignal): Promise<Link<NSQDConnection>> {
    // A name of its own for each connection: had nsqd not noticed yet that the last one is lost, it would share the
    // messages out between the two.
    const reader = node.newReader(this.#topic, `mr-${this.#shared.hubId}-${++this.#linkCount}#ephemeral`);
    let since = this.#since.get(node.address);
    reader.on('message', (message: Message) => {
      if (signal.aborted) return;
      if (since !== undefined && message.timestamp >= since) this.#sink.message(this.#channel, message.body);
      message.finish();
    });
    const link = await node.connect(reader);
    const hangUp = () => link.connection.close();
    if (signal.aborted) hangUp();
    else signal.addEventListener('abort', hangUp, { once: true });
    void link.lost.then(() => signal.removeEventListener('abort', hangUp));
    try {
      since ??= await node.readClock();
      this.#since.set(node.address, since);
    } catch (error) {
      hangUp();
      throw error;
    }
    link.connection.setRdy(Math.min(this.#shared.maxInFlight, link.connection.maxRdyCount));
    return link;
  }

  end(): void {
    this.#end.abort(new Error('The subscription was ended.'));
    this.#onEnd(this);
  }

  unsubscribe(): Promise<void> {
    this.end();
    return Promise.resolve();
  }
}

function isRefusal(error: unknown): error is MillraceError {
  return isMillraceError(error) && error.code !== 'HUB_UNAVAILABLE';
}

function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
