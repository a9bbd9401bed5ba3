import { setTimeout as sleep } from 'node:timers/promises';
import type { Message, NSQDConnection } from 'nsqjs';
import { isMillraceError, MillraceError } from '../../errors.js';
import { combineSignals } from '../../signals.js';
import type { ChannelSink, DriverSubscription } from '../driver.js';
import { keepOpen, type Link, type NsqShared } from './link.js';
import type { NsqNode } from './node.js';

/** What a subscriber is told of messages that nsqd had no room for. */
const LOSS = 'nsqd has dropped messages that were not read fast enough: raise its --mem-queue-size.';

/** A backlog has been read when nothing of it came for so long, and nsqd, where it can be asked, says so too. */
const BACKLOG_QUIET_MS = 50;
const BACKLOG_POLL_MS = 20;

/** One channel of the hub: read from every nsqd, each time by an ephemeral NSQ channel that nobody else has. */
export class NsqTopic implements DriverSubscription {
  readonly #shared: NsqShared;
  readonly #channel: string;
  readonly #topic: string;
  readonly #sink: ChannelSink;
  readonly #end = new AbortController();
  readonly #onEnd: (topic: NsqTopic) => void;
  /**
   * By nsqd: the time at which the subscription began there. NSQ keeps what is published on a topic that nobody
   * reads, and gives it to the first who does; a subscriber of a hub sees only what comes after it.
   */
  readonly #since = new Map<string, bigint>();
  /** Settles when the first nsqd has confirmed, or the subscription ended before. */
  readonly #standing = deferred<void>();
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
    this.#standing.promise.catch(() => {});
    await Promise.all(
      [...nodes].map((node) => {
        const reading = this.read(node);
        if (node.up || node.failure === undefined) return reading;
        // It is down, and may hang: it is not waited for, nor is anybody told when it refuses.
        return void reading.catch(() => {});
      }),
    );
    await this.#standing.promise;
    this.#stands = true;
  }

  /**
   * Reads from one more nsqd, until that is given up or the subscription ends. Settles with the first attempt: rejects
   * when nsqd refuses, resolves also when it cannot be reached.
   */
  read(node: NsqNode): Promise<void> {
    const reader = {};
    const { signal, release } = combineSignals([this.#end.signal, node.ended]);
    const tried = deferred<void>();
    const open = async () => {
      await node.tried;
      const link = await this.#open(node, signal);
      if (this.#stands) this.#sink.gap({ reason: 'reconnected' });
      this.#shared.onRestored(reader);
      this.#standing.resolve();
      tried.resolve();
      void link.lost.then((cause) => {
        if (!signal.aborted) this.#shared.onLost(reader, node, cause);
      });
      return link;
    };
    const onFailure = (error: unknown) => {
      if (isMillraceError(error) && (error.code !== 'HUB_UNAVAILABLE' || error.details.refused)) tried.reject(error);
      else tried.resolve();
    };
    void keepOpen(open, signal, onFailure).then(() => {
      release();
      tried.resolve();
      this.#shared.onRestored(reader);
    });
    return tried.promise;
  }

  async #open(node: NsqNode, signal: AbortSignal): Promise<Link<NSQDConnection>> {
    // A name of its own for each connection: had nsqd not noticed yet that the last one is lost, it would share the
    // messages out between the two.
    const channel = `mr-${this.#shared.hubId}-${++this.#linkCount}#ephemeral`;
    const reader = node.newReader(this.#topic, channel);
    let since = this.#since.get(node.address);
    let backlogSeenAt = Number.NEGATIVE_INFINITY;
    let received = 0;
    let receivedNews = false;
    reader.on('message', (message: Message) => {
      if (signal.aborted) return;
      received++;
      if (since === undefined || message.timestamp < since) backlogSeenAt = performance.now();
      else {
        receivedNews = true;
        this.#sink.message(this.#channel, message.body);
      }
      message.finish();
    });
    const link = await node.connect(reader);
    const hangUp = () => link.connection.close();
    if (signal.aborted) hangUp();
    else signal.addEventListener('abort', hangUp, { once: true });
    void link.lost.then(() => signal.removeEventListener('abort', hangUp));
    const ready = () => link.connection.setRdy(Math.min(this.#shared.maxInFlight, link.connection.maxRdyCount));
    try {
      if (since === undefined) {
        since = await node.readClock();
        this.#since.set(node.address, since);
        ready();
        // A long backlog fills the NSQ channel, which drops what comes after: what is published next must not be that.
        await node.readClock();
        while (
          performance.now() - backlogSeenAt < BACKLOG_QUIET_MS ||
          (await node.losses?.isDrained(this.#topic, channel)) === false
        ) {
          if (receivedNews) break;
          await sleep(BACKLOG_POLL_MS, undefined, { signal });
        }
      } else ready();
    } catch (error) {
      hangUp();
      throw error;
    }
    const counted = {
      topic: this.#topic,
      channel,
      received: () => received,
      onLoss: (missed: number) => {
        if (!signal.aborted) this.#sink.gap({ reason: 'lagged', missed, detail: LOSS });
      },
    };
    const unwatch = node.losses?.watch(counted, backlogSeenAt > 0);
    if (unwatch !== undefined) void link.lost.then(unwatch);
    return link;
  }

  end(): void {
    const reason = new MillraceError('HUB_UNAVAILABLE', 'The subscription was ended before nsqd confirmed it.');
    this.#standing.reject(reason);
    this.#end.abort(reason);
    this.#onEnd(this);
  }

  unsubscribe(): Promise<void> {
    this.end();
    return Promise.resolve();
  }
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
