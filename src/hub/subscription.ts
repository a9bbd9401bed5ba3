import { MillraceError } from '../errors.js';
import { done, type Subscription } from '../event-stream/index.js';
import type { HubEvent, HubGap } from './channels.js';
import type { Gap } from './driver.js';
import { eventWeight, withId } from './encoded-message.js';
import { type Begins, type Channel, type Feed, formatPositions, gapEvent, parsePositions } from './feed.js';
import type { Resumed } from './resuming.js';

/** What happens to a subscriber that is further behind than `maxLag`. */
export type LagPolicy = 'gap' | 'disconnect';

/** What a subscription is made with; the hub fills it in. */
export interface SubscriptionSetup {
  readonly feed: Feed;
  /** Resolves when the broker has confirmed all channels, to where their live events begin. */
  readonly begins: Promise<Begins>;
  /** Resolves to what comes before the live events, once the broker's subscription stands. */
  readonly resume: Promise<Resumed> | undefined;
  readonly onGap: ((event: HubGap) => void) | undefined;
  readonly whenLagging: LagPolicy;
  readonly maxLag: number;
  readonly maxLagBytes: number;
  readonly signal: AbortSignal | undefined;
  /** Called once, when the subscription needs the feed no more. */
  readonly leave: (subscription: HubSubscription) => void;
}

type ReadOptions = { readonly signal?: AbortSignal };

/**
 * One subscriber's view of the channels that it asked for: an async iterable of messages and gaps, in order of arrival.
 * `break`, {@link close}, `return()`, `await using` and the signal that it was made with all unsubscribe.
 */
export class HubSubscription<E extends HubEvent = HubEvent> implements AsyncIterableIterator<E, undefined> {
  /**
   * Resolves when the broker has confirmed all channels: what anyone publishes from then on arrives. Rejects, as then
   * does every read, when it refused (`HUB_UNAVAILABLE`, `HUB_UNAUTHORIZED`, …). Need not be awaited.
   */
  readonly ready: Promise<void>;
  /** Resolves when the subscription has ended, for whatever reason. (The seed's `CloseNotify`.) */
  readonly closed: Promise<void>;
  readonly #setup: SubscriptionSetup;
  #events: Subscription<HubEvent>;
  /** Events to be read before those of the feed, and what they weigh. */
  readonly #first: HubEvent[] = [];
  #firstBytes = 0;
  /** How many events were skipped, and not yet told of: they come after `#first`. */
  #missed = 0;
  #resuming: Promise<void> | undefined;
  /** Where a resumed subscriber is in the channels whose live events are not as far yet. */
  #seen: Map<Channel, string> | undefined;
  #position: string | undefined;
  #ended = false;
  #failure: { readonly error: unknown } | undefined;
  #settleClosed: () => void = () => {};

  /** Made by `hub.subscribe()`. */
  constructor(setup: SubscriptionSetup) {
    this.#setup = setup;
    this.#events = setup.feed.stream.subscribe();
    this.closed = new Promise((resolve) => {
      this.#settleClosed = resolve;
    });
    const { channels } = setup.feed;
    this.ready = setup.begins.then((begins) => {
      const [only, ...others] = channels;
      if (others.length === 0) this.#position = begins.get(only as Channel);
      else this.#position = formatPositions(begins) || undefined;
    });
    this.ready.catch((error: unknown) => this.#fail(error));
    if (setup.resume !== undefined) {
      this.#resuming = setup.resume.then(
        ({ events, seen }) => {
          this.#resuming = undefined;
          if (this.#ended) return;
          for (const event of events) this.#pushFirst(event);
          setup.feed.noteReplay(this.#firstBytes);
          this.#seen = seen.size > 0 ? seen : undefined;
        },
        (error: unknown) => this.#fail(error),
      );
    }
    const { signal } = setup;
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /**
   * Where the live events begin, as an id for `after`: for a subscriber that goes away before it has read any. Set when
   * {@link ready} has resolved, where the driver can replay.
   */
  get position(): string | undefined {
    return this.#position;
  }

  /** How many events arrived and were not read yet, skipped ones included. */
  get lag(): number {
    return this.#missed + this.#first.length + this.#events.lag;
  }

  /**
   * The next message or gap; `done` after {@link close} and after `hub.close()`, then once all is read.
   * Rejects with the signal's reason, with what `ready` rejects with, and, where the policy is `disconnect`, with
   * `HUB_LAGGED`.
   */
  next(options: ReadOptions = {}): Promise<IteratorResult<E, undefined>> {
    if (this.#isSpecial()) return this.#nextChecked(options);
    const events = this.#events;
    const next = events.next(options) as Promise<IteratorResult<E, undefined>>;
    return next.then((result) => {
      if (!result.done) return result;
      return events === this.#events ? this.#pass(result) : this.#nextChecked(options);
    });
  }

  /**
   * The fast path: calls `consumer` with every event, all that are ready in one go. A promise that it returns is
   * awaited before the next event; when it answers `done` (of `millrace/event-stream`) the subscription ends.
   * Settles as {@link next} does, and rejects with what the consumer throws.
   */
  async consume(consumer: (event: E) => unknown, options: ReadOptions = {}): Promise<void> {
    await this.#resuming;
    const { onGap } = this.#setup;
    // Nothing stands between the list and a consumer that takes everything as it comes.
    const give =
      onGap === undefined
        ? (consumer as (event: HubEvent) => unknown)
        : (event: HubEvent): unknown => (event.gap === undefined ? consumer(event as E) : onGap(event));
    const checked = (event: HubEvent): unknown => {
      const unseen = this.#unseen(event);
      return unseen === undefined ? undefined : give(unseen);
    };
    try {
      for (;;) {
        for (let event = this.#takeFirst(); event !== undefined; event = this.#takeFirst()) {
          if ((await give(event)) === done) return;
        }
        const events = this.#events;
        await events.consume(this.#seen === undefined ? give : checked, options);
        if (this.#failure !== undefined) throw this.#failure.error;
        if (events === this.#events) return;
      }
    } finally {
      this.close();
    }
  }

  /** Ends the subscription; whoever waits is answered with `done`. The broker is told when nobody else needs it. */
  close(): void {
    this.#end();
    this.#events.return();
    this.#first.length = 0;
    this.#firstBytes = 0;
    this.#missed = 0;
  }

  /** As {@link close}. */
  return(): Promise<IteratorReturnResult<undefined>> {
    this.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** How many events of the feed it has not read. */
  get feedLag(): number {
    return this.#events.lag;
  }

  /** What the events weigh that it alone has not read, since it came back for them. */
  get replayBytes(): number {
    return this.#firstBytes;
  }

  /** What is in memory because it has not been read: its own, and what it shares with other subscribers. */
  get lagBytes(): number {
    return this.#firstBytes + this.#setup.feed.bytesOfNewest(this.#events.lag);
  }

  /**
   * Bounds what the feed keeps for this subscriber: one that is too far behind skips to the newest event, and is told so,
   * or is ended. One message may always wait, however large it is. Answers how many events of the feed it has not read.
   */
  limitLag(): number {
    const { feed, maxLag, maxLagBytes } = this.#setup;
    const { lag } = this.#events;
    if (lag > maxLag || (lag > 1 && feed.bytesOfNewest(lag) > maxLagBytes)) this.skip('live');
    return this.#events.lag;
  }

  /** Lets go of the events that it has not read, or only of those that came live, and tells it so, or ends it. */
  skip(what: 'live' | 'all'): void {
    if (this.#ended) return;
    const { lag } = this.#events;
    const { maxLag, maxLagBytes } = this.#setup;
    if (this.#setup.whenLagging === 'disconnect') {
      this.#fail(
        new MillraceError(
          'HUB_LAGGED',
          `This subscriber is ${lag} messages behind, more than it may be: subscribe again, and read faster or raise maxLag or maxLagBytes.`,
          { missed: lag, maxLag, maxLagBytes },
        ),
      );
      return;
    }
    if (what === 'all') {
      this.#missed += this.#first.length;
      this.#first.length = 0;
      this.#firstBytes = 0;
    }
    this.#missed += lag;
    const skipped = this.#events;
    this.#events = this.#setup.feed.stream.subscribe();
    skipped.return();
  }

  /** The hub is closing: what is there may still be read. */
  end(): void {
    this.#end();
  }

  /** Whether an event may come from elsewhere than the feed, or has to be looked at. */
  #isSpecial(): boolean {
    return (
      this.#first.length > 0 ||
      this.#missed > 0 ||
      this.#resuming !== undefined ||
      this.#seen !== undefined ||
      this.#setup.onGap !== undefined
    );
  }

  async #nextChecked(options: ReadOptions): Promise<IteratorResult<E, undefined>> {
    await this.#resuming;
    for (;;) {
      let event = this.#takeFirst();
      if (event === undefined) {
        const events = this.#events;
        const result = await events.next(options);
        if (result.done) {
          if (events !== this.#events) continue;
          return this.#pass(result);
        }
        event = this.#unseen(result.value);
        if (event === undefined) continue;
      }
      if (event.gap === undefined || this.#setup.onGap === undefined) return { done: false, value: event as E };
      this.#setup.onGap(event);
    }
  }

  #pass(result: IteratorReturnResult<undefined>): IteratorReturnResult<undefined> {
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#end();
    return result;
  }

  #pushFirst(event: HubEvent): void {
    this.#first.push(event);
    this.#firstBytes += eventWeight(event);
  }

  /** The next of the events that come before those of the feed. */
  #takeFirst(): HubEvent | undefined {
    if (this.#first.length === 0 && this.#missed > 0) {
      // Nobody knows which of its channels the missed ones belonged to, so each of them has a gap.
      const gap: Gap = { reason: 'lagged', missed: this.#missed };
      this.#missed = 0;
      for (const channel of this.#setup.feed.channels) this.#pushFirst(gapEvent(channel, gap));
    }
    const event = this.#first.shift();
    if (event !== undefined) this.#firstBytes -= eventWeight(event);
    return event;
  }

  /**
   * A live event for a resumed subscriber: nothing when it had it already. The live events may be behind what it read of
   * the history, and so may their ids: then it gets the later positions, so that it comes back to where it was.
   */
  #unseen(event: HubEvent): HubEvent | undefined {
    const seen = this.#seen;
    if (seen === undefined || event.gap !== undefined || event.id === undefined) return event;
    const { channels } = this.#setup.feed;
    const positions = parsePositions(event.id, channels);
    let isSeen = false;
    let isBehind = false;
    for (const [channel, last] of seen) {
      const live = positions.get(channel) ?? '';
      if (event.pattern === undefined && event.channel === channel.name) isSeen = live <= last;
      if (live >= last) seen.delete(channel);
      else {
        positions.set(channel, last);
        isBehind = true;
      }
    }
    if (seen.size === 0) this.#seen = undefined;
    if (isSeen) return undefined;
    // The very event where it can be: it is encoded once for all who get it.
    return isBehind ? withId(event, formatPositions(positions)) : event;
  }

  readonly #onAbort = (): void => this.#fail(this.#setup.signal?.reason);

  #fail(error: unknown): void {
    if (this.#ended) return;
    this.#failure = { error };
    this.close();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#setup.signal?.removeEventListener('abort', this.#onAbort);
    this.#settleClosed();
    this.#setup.leave(this as unknown as HubSubscription);
  }
}
