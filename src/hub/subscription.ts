import { isMillraceError, MillraceError } from '../errors.js';
import { done, type Subscription } from '../event-stream/index.js';
import type { HubEvent, HubGap } from './channels.js';
import { type Feed, gapEvent } from './feed.js';

/** What happens to a subscriber that is further behind than `maxLag`. */
export type LagPolicy = 'gap' | 'disconnect';

/** What a subscription is made with; the hub fills it in. */
export interface SubscriptionSetup {
  readonly feed: Feed;
  readonly ready: Promise<void>;
  /** Resolves to what comes before the live events, once the broker's subscription stands. */
  readonly resume: Promise<Resumed> | undefined;
  readonly onGap: ((event: HubGap) => void) | undefined;
  readonly whenLagging: LagPolicy;
  readonly signal: AbortSignal | undefined;
  /** Called once, when the subscription needs the feed no more. */
  readonly leave: (subscription: HubSubscription) => void;
}

/** What a resumed subscription starts with. */
export interface Resumed {
  readonly events: HubEvent[];
  /** Live events up to these ids are in `events` already. */
  readonly seen: Map<string, string>;
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
  readonly #events: Subscription<HubEvent>;
  /** Events to be read before those of the feed. */
  readonly #first: HubEvent[] = [];
  #resuming: Promise<void> | undefined;
  #seen: Map<string, string> | undefined;
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
    this.ready = setup.ready;
    setup.ready.catch((error: unknown) => this.#fail(error));
    if (setup.resume !== undefined) {
      this.#resuming = setup.resume.then(
        ({ events, seen }) => {
          this.#first.push(...events);
          this.#seen = seen.size > 0 ? seen : undefined;
          this.#resuming = undefined;
        },
        (error: unknown) => this.#fail(error),
      );
    }
    const { signal } = setup;
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** How many events arrived and were not read yet. */
  get lag(): number {
    return this.#first.length + this.#events.lag;
  }

  /**
   * The next message or gap; `done` after {@link close} and after `hub.close()`, then once all is read.
   * Rejects with the signal's reason, with what `ready` rejects with, and, where the policy is `disconnect`, with
   * `HUB_LAGGED`.
   */
  next(options: ReadOptions = {}): Promise<IteratorResult<E, undefined>> {
    if (this.#first.length > 0 || this.#resuming !== undefined || this.#seen !== undefined || this.#setup.onGap) {
      return this.#nextChecked(options);
    }
    // An event that is there for sure needs no second promise.
    if (this.#events.isReady && this.#events.lag <= this.#setup.feed.maxLag) {
      return this.#events.next(options) as Promise<IteratorResult<E, undefined>>;
    }
    return this.#events.next(options).then(this.#pass, (error: unknown) => {
      this.#afterError(error);
      return this.#nextChecked(options);
    }) as Promise<IteratorResult<E, undefined>>;
  }

  /**
   * The fast path: calls `consumer` with every event, all that are ready in one go. A promise that it returns is
   * awaited before the next event; when it answers `done` (of `millrace/event-stream`) the subscription ends.
   * Settles as {@link next} does, and rejects with what the consumer throws.
   */
  async consume(consumer: (event: E) => unknown, options: ReadOptions = {}): Promise<void> {
    await this.#resuming;
    const { onGap } = this.#setup;
    const give = (event: HubEvent): unknown =>
      onGap !== undefined && event.gap !== undefined ? onGap(event) : consumer(event as E);
    const checked = (event: HubEvent): unknown => (this.#isSeen(event) ? undefined : give(event));
    try {
      for (;;) {
        while (this.#first.length > 0) {
          if ((await give(this.#first.shift() as HubEvent)) === done) return;
        }
        try {
          await this.#events.consume(this.#seen === undefined ? give : checked, options);
          if (this.#failure !== undefined) throw this.#failure.error;
          return;
        } catch (error) {
          this.#afterError(error);
        }
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

  /** The hub is closing: what is there may still be read. */
  end(): void {
    this.#end();
  }

  async #nextChecked(options: ReadOptions): Promise<IteratorResult<E, undefined>> {
    await this.#resuming;
    for (;;) {
      let event = this.#first.shift();
      if (event === undefined) {
        try {
          const result = this.#pass(await this.#events.next(options));
          if (result.done) return result;
          event = result.value;
        } catch (error) {
          this.#afterError(error);
          continue;
        }
        if (this.#isSeen(event)) continue;
      }
      if (event.gap === undefined || this.#setup.onGap === undefined) return { done: false, value: event as E };
      this.#setup.onGap(event);
    }
  }

  readonly #pass = <R extends IteratorResult<HubEvent, undefined>>(result: R): R => {
    if (result.done) {
      if (this.#failure !== undefined) throw this.#failure.error;
      this.#end();
    }
    return result;
  };

  /** Makes gaps of a lag; anything else ends the reading. */
  #afterError(error: unknown): void {
    if (!isMillraceError(error, 'EVENT_STREAM_LAGGED')) throw error;
    const missed = error.details.missed as number;
    if (this.#setup.whenLagging === 'disconnect') {
      this.#fail(
        new MillraceError(
          'HUB_LAGGED',
          `This subscriber fell behind by more than maxLag and missed ${missed} messages: subscribe again, and read faster or raise maxLag.`,
          { missed },
        ),
      );
      return;
    }
    // Nobody knows which of its channels the missed ones belonged to, so each of them has a gap.
    for (const channel of this.#setup.feed.channels) this.#first.push(gapEvent(channel, { reason: 'lagged', missed }));
  }

  /** Whether a live event was read already as part of the history. */
  #isSeen(event: HubEvent): boolean {
    if (this.#seen === undefined || event.gap !== undefined || event.id === undefined) return false;
    const last = this.#seen.get(event.channel);
    if (last === undefined) return false;
    if (idOfChannel(event.id, event.channel) <= last) return true;
    this.#seen.delete(event.channel);
    if (this.#seen.size === 0) this.#seen = undefined;
    return false;
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

/** The part of an event's id that belongs to its own channel. */
function idOfChannel(id: string, channel: string): string {
  if (!id.includes('=')) return id;
  const prefix = `${encodeURIComponent(channel)}=`;
  return (
    id
      .split(';')
      .find((part) => part.startsWith(prefix))
      ?.slice(prefix.length) ?? ''
  );
}
