/**
 * The contract between the hub and a broker. A driver is one file that implements {@link Driver}; the hub does
 * everything that is the same for all of them: one broker subscription per channel shared by all local subscribers,
 * codecs, limits, lag of slow subscribers, checks of names and of the closed state.
 *
 * docs/write-a-driver.md takes a newcomer through one, `hubDriverSuite` of `millrace/testing` proves it.
 */

/** What a broker can do. The driver suite skips a case only by one of these, and says so. */
export interface DriverAbilities {
  /** Messages of one publisher on one channel arrive in the order in which they were published. */
  readonly ordering: boolean;
  /** {@link DriverConnection.replay} exists: messages carry ids and can be read again. */
  readonly replay: boolean;
  /** {@link DriverConnection.subscribePattern} exists. */
  readonly patterns: boolean;
  /**
   * What was published while a subscriber was away for a moment (lost connection, restarted broker) reaches it after
   * all, perhaps twice. Without it a message reaches a subscriber once or, around a lost connection, never.
   */
  readonly atLeastOnce: boolean;
  /** The largest message in bytes, `Infinity` where there is no limit. The hub refuses larger ones before it asks the driver. */
  readonly maxMessageBytes: number;
}

/** How channel names look on the broker. MUST be pure, and `fromBroker(toBroker(name)) === name` for every valid name. */
export interface ChannelNames {
  /**
   * The name on the broker. MUST be `name` itself wherever the broker can hold it, so that other programs are peers;
   * else an escaped form (see `nameEscaper` in names.ts). Different names MUST have different results.
   * MUST throw `HUB_CHANNEL_INVALID` for a name that the broker cannot hold in any form (too long once escaped).
   */
  toBroker(name: string): string;
  /** The channel name again. MUST accept any name found on the broker, also one that no hub made: then as it is. */
  fromBroker(name: string): string;
}

/** Why messages may be missing at this point of a channel. */
export interface Gap {
  /**
   * - `reconnected`: the broker's connection was lost and is back; what was published meanwhile may be missing.
   * - `lagged`: this subscriber was further behind than `maxLag`; `missed` says by how much.
   * - `undecodable`: a message arrived that the codec could not read; `detail` says why.
   * - `history`: the messages after the id that the subscriber asked for are not kept (any more).
   */
  readonly reason: 'reconnected' | 'lagged' | 'undecodable' | 'history';
  /** How many messages are missing, where that is known. */
  readonly missed?: number;
  readonly detail?: string;
}

/** Where a driver hands over what arrives for one subscription. Calls MUST be synchronous, in order of arrival. */
export interface ChannelSink<P = Uint8Array> {
  /**
   * One message.
   *
   * @param channel The channel's name as the user knows it (`names.fromBroker` applied).
   * @param payload Exactly the bytes on the broker. MUST NOT be changed afterwards (copy out of a reused buffer).
   * @param id Only with `abilities.replay`: see {@link DriverConnection.replay}.
   */
  message(channel: string, payload: P, id?: string): void;
  /**
   * Messages may be missing here. MUST be called once after each lost connection, when the subscription stands
   * again (not before), unless the driver knows that nothing was lost or has replayed what was.
   */
  gap(gap: Gap): void;
}

/** One live subscription on the broker. */
export interface DriverSubscription {
  /**
   * Ends it on the broker. After the call the driver MUST NOT call the sink any more, even before the promise
   * settles. MUST resolve also while the connection is down. The hub calls it once.
   */
  unsubscribe(): Promise<void>;
  /**
   * Only with `abilities.replay`: the id after which this subscription began, so that
   * `replay(channel, position)` yields nothing that was published before it.
   */
  readonly position?: string;
}

/** Tells how the connection fares. */
export type DriverStatus = 'connected' | 'reconnecting';

/** What the hub gives to a driver when it connects. */
export interface DriverContext {
  /** Aborts when the hub closes, also in the middle of `connect`. Then the driver MUST stop retrying. */
  readonly signal: AbortSignal;
  /** How long one attempt to connect may take (ms). The hub itself gives up after this time too. */
  readonly connectTimeoutMs: number;
  /** MUST be called on every change after the first connection, with the cause of a loss. */
  onStatus(status: DriverStatus, cause?: unknown): void;
}

/**
 * A way to reach one broker. Making it MUST NOT do I/O, nor load the client package: `connect` does.
 *
 * `P` is what travels: bytes for every broker; the memory driver carries the values themselves (`carries: 'values'`).
 */
export interface Driver<P = Uint8Array> {
  /** For messages to people: `redis`. */
  readonly name: string;
  readonly abilities: DriverAbilities;
  /** `bytes` (default): the hub encodes and decodes. `values`: the message itself is passed on by reference. */
  readonly carries?: 'bytes' | 'values';
  readonly names: ChannelNames;
  /**
   * Opens the connection; the hub calls it at first use, and again only if it rejected.
   *
   * - MUST reject when the broker cannot be reached (`HUB_UNAVAILABLE`) or refuses the credentials
   *   (`HUB_UNAUTHORIZED`), with the client's error as `cause`; MUST NOT retry a first connection on its own, and MUST
   *   leave no socket or timer behind when it rejects.
   * - MUST load its client package here, by `loadClient` (load-client.ts), so that a missing one is `HUB_CLIENT_MISSING`.
   * - Once it has resolved, the driver MUST reconnect by itself after every loss, without end, with the delays of
   *   `reconnectDelayMs` (backoff.ts), and MUST restore every subscription.
   * - MUST NOT leave an `error` event or a rejection without a handler.
   */
  connect(context: DriverContext): Promise<DriverConnection<P>>;
}

/** An open connection. */
export interface DriverConnection<P = Uint8Array> {
  /** The broker's own limit where it is known only once connected (bytes). It takes the place of the ability's when smaller. */
  readonly maxMessageBytes?: number;
  /**
   * Publishes one message; calls of one channel MUST go out in the order in which they were made.
   *
   * - MUST resolve only when the broker has taken the message, and MUST reject when it did not.
   * - While the connection is down it MUST reject at once with `HUB_UNAVAILABLE`, and MUST NOT queue the message.
   * - When the connection breaks before the answer, MUST reject with `HUB_UNAVAILABLE`: the message may or may not have
   *   been taken; MUST NOT send it again on its own (that would be a repeat).
   * - A driver that asks the broker once for several messages SHOULD return the same promise for all of them: it costs
   *   the hub nothing then.
   */
  publish(channel: string, payload: P): Promise<void>;
  /**
   * Subscribes to one channel. MUST resolve only when a message that anyone publishes from then on is sure to arrive.
   * MUST see every message, whoever else is subscribed (no shared groups). MUST reject when the broker refuses.
   * The hub never has two live subscriptions of the same channel: it waits for `unsubscribe` first.
   */
  subscribe(channel: string, sink: ChannelSink<P>): Promise<DriverSubscription>;
  /**
   * Only with `abilities.patterns`. `*` in the pattern stands for any run of characters, also an empty one; all else
   * is literal. Where the broker's own patterns are coarser the driver MUST subscribe to more, never less: the hub drops
   * what does not match. MUST NOT deliver one message twice to the sink.
   */
  subscribePattern?(pattern: string, sink: ChannelSink<P>): Promise<DriverSubscription>;
  /**
   * Only with `abilities.replay`. Yields, in order, what was published on the channel after the message `after`, up to
   * the newest at the time of the call, then ends. MUST throw `HUB_HISTORY_GONE` when `after` is unknown or messages
   * after it are no longer kept. Ids MUST be non-empty, without white space, `,`, `;` and `=`, and later messages of
   * a channel MUST have ids that sort later as text.
   */
  replay?(channel: string, after: string, signal: AbortSignal): AsyncIterable<Replayed<P>>;
  /**
   * Ends everything: subscriptions, sockets, timers, so that the process can exit. Messages whose publish has not
   * settled MUST be brought to an end first (resolve or reject), within a second or so when the broker does not answer.
   * MUST NOT reject, MUST NOT end a client that the user passed in (but MUST remove what it added to it).
   */
  close(): Promise<void>;
}

/** A message from the broker's history. */
export interface Replayed<P = Uint8Array> {
  readonly id: string;
  readonly payload: P;
}
