import { MillraceError } from '../../errors.js';
import type {
  ChannelSink,
  Driver,
  DriverAbilities,
  DriverConnection,
  DriverSubscription,
  Replayed,
} from '../driver.js';
import { EncodedMessage, MESSAGE_BYTES, type MessageForm } from '../encoded-message.js';
import { patternMatcher, plainNames } from '../names.js';

/** Options of {@link MemoryBroker}. */
export interface MemoryBrokerOptions {
  /**
   * How many messages of each channel are kept for subscribers that come back with an `after` (default 0: none, and
   * messages carry no ids).
   */
  readonly historyMax?: number;
  /** How many channels are remembered (default {@link DEFAULT_HISTORY_CHANNELS_MAX}); the longest unused one goes first. */
  readonly historyChannelsMax?: number;
  /**
   * How many bytes of messages are kept of each channel (default {@link DEFAULT_HISTORY_CHANNEL_BYTES_MAX}); the oldest go
   * first. A message is kept as its bytes or those of its JSON, and counts these and 512 more, which is what it takes.
   */
  readonly historyChannelBytesMax?: number;
  /** The same of all channels together (default {@link DEFAULT_HISTORY_BYTES_MAX}); the longest unused channel goes first. */
  readonly historyBytesMax?: number;
}

/** Default of {@link MemoryBrokerOptions.historyChannelsMax}. */
export const DEFAULT_HISTORY_CHANNELS_MAX = 10_000;
/** Default of {@link MemoryBrokerOptions.historyChannelBytesMax}. */
export const DEFAULT_HISTORY_CHANNEL_BYTES_MAX = 16 * 1024 * 1024;
/** Default of {@link MemoryBrokerOptions.historyBytesMax}. */
export const DEFAULT_HISTORY_BYTES_MAX = 64 * 1024 * 1024;

const TAKEN = Promise.resolve();

/**
 * What hubs in one process meet on: give the same one to `memory({ broker })` of each. Messages are passed on by
 * reference, as they are; in the history there are their bytes, or those of their JSON. What has no such form is passed on
 * and not kept.
 */
export class MemoryBroker {
  readonly historyMax: number;
  readonly #sinks = new Map<string, ChannelSink<unknown>[]>();
  /** The channel last published to, and who listens: most messages go where the one before them went. */
  #lastChannel: string | undefined;
  #lastSinks: ChannelSink<unknown>[] | undefined;
  #patterns: readonly PatternSink[] = [];
  readonly #histories = new Map<string, History>();
  /** Begins every id, so that ids of an earlier broker are not taken for ours. */
  readonly #epoch = `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;

  readonly #historyChannelsMax: number;
  readonly #historyChannelBytesMax: number;
  readonly #historyBytesMax: number;
  /** Of all histories. */
  #historyBytes = 0;
  #historiesMade = 0;

  constructor(options: MemoryBrokerOptions = {}) {
    const {
      historyMax = 0,
      historyChannelsMax = DEFAULT_HISTORY_CHANNELS_MAX,
      historyChannelBytesMax = DEFAULT_HISTORY_CHANNEL_BYTES_MAX,
      historyBytesMax = DEFAULT_HISTORY_BYTES_MAX,
    } = options;
    for (const [name, value] of Object.entries({ historyMax, historyChannelBytesMax, historyBytesMax })) {
      if (!Number.isSafeInteger(value) || value < 0) {
        throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number from 0 on, not ${value}.`);
      }
    }
    this.historyMax = historyMax;
    this.#historyChannelsMax = historyChannelsMax;
    this.#historyChannelBytesMax = historyChannelBytesMax;
    this.#historyBytesMax = historyBytesMax;
  }

  publish(channel: string, value: unknown): void {
    let message = value;
    let id: string | undefined;
    if (this.historyMax > 0) {
      const encoded = value instanceof EncodedMessage ? value : EncodedMessage.of(value);
      id = this.#remember(channel, encoded);
      // Whoever sends it on needs not encode it again.
      message = encoded ?? value;
    }
    if (channel !== this.#lastChannel) {
      this.#lastChannel = channel;
      this.#lastSinks = this.#sinks.get(channel);
    }
    const sinks = this.#lastSinks;
    if (sinks !== undefined) {
      for (let at = 0; at < sinks.length; at++) (sinks[at] as ChannelSink<unknown>).message(channel, message, id);
    }
    if (this.#patterns.length === 0) return;
    for (const { matches, sink } of this.#patterns) if (matches(channel)) sink.message(channel, message, id);
  }

  subscribe(channel: string, sink: ChannelSink<unknown>): DriverSubscription {
    this.#lastChannel = undefined;
    this.#sinks.set(channel, [...(this.#sinks.get(channel) ?? []), sink]);
    const unsubscribe = async () => {
      this.#lastChannel = undefined;
      const rest = (this.#sinks.get(channel) ?? []).filter((each) => each !== sink);
      if (rest.length > 0) this.#sinks.set(channel, rest);
      else this.#sinks.delete(channel);
    };
    return this.historyMax === 0 ? { unsubscribe } : { unsubscribe, position: this.#history(channel).position };
  }

  subscribePattern(pattern: string, sink: ChannelSink<unknown>): DriverSubscription {
    const entry = { matches: patternMatcher(pattern), sink };
    this.#patterns = [...this.#patterns, entry];
    return {
      unsubscribe: async () => {
        this.#patterns = this.#patterns.filter((each) => each !== entry);
      },
    };
  }

  /** See `DriverConnection.replay`. */
  replay(channel: string, after: string): Replayed<unknown>[] {
    return this.#history(channel).after(after);
  }

  #remember(channel: string, message: EncodedMessage | undefined): string {
    const history = this.#history(channel);
    const before = history.bytes;
    const id = history.add(message);
    this.#historyBytes += history.bytes - before;
    // The one at hand was used last, and is within a bound of its own.
    while (this.#historyBytes > this.#historyBytesMax && this.#histories.size > 1) this.#forgetOldest();
    return id;
  }

  #forgetOldest(): void {
    const [oldest] = this.#histories;
    if (oldest === undefined) return;
    const [channel, { bytes }] = oldest;
    this.#histories.delete(channel);
    this.#historyBytes -= bytes;
  }

  #history(channel: string): History {
    let history = this.#histories.get(channel);
    if (history === undefined) {
      // A channel that was forgotten begins anew under a later epoch: its old ids must not be taken for new ones.
      const serial = (this.#historiesMade++).toString(36).padStart(8, '0');
      const bytesMax = Math.min(this.#historyChannelBytesMax, this.#historyBytesMax);
      history = new History(`${this.#epoch}.${serial}`, this.historyMax, bytesMax);
      if (this.#histories.size >= this.#historyChannelsMax) this.#forgetOldest();
    } else this.#histories.delete(channel);
    this.#histories.set(channel, history);
    return history;
  }
}

interface PatternSink {
  readonly matches: (name: string) => boolean;
  readonly sink: ChannelSink<unknown>;
}

/** A message that is kept: its bytes alone, without what a subscriber may have made of them. */
interface Kept {
  readonly bytes: Uint8Array;
  readonly form: MessageForm;
}

/** The newest messages of one channel, in a ring. */
class History {
  readonly #epoch: string;
  readonly #max: number;
  readonly #bytesMax: number;
  readonly #ring: (Kept | undefined)[] = [];
  /** What the messages in the ring take. */
  #bytes = 0;
  /** How many came, and how many of those are gone. */
  #count = 0;
  #gone = 0;

  constructor(epoch: string, max: number, bytesMax: number) {
    this.#epoch = epoch;
    this.#max = max;
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The id of the newest message. */
  get position(): string {
    return this.#id(this.#count);
  }

  /** Without a message: one that cannot be kept, and with it all before it. */
  add(message: EncodedMessage | undefined): string {
    if (this.#count - this.#gone === this.#max) this.#dropOldest();
    if (message === undefined) while (this.#gone < this.#count) this.#dropOldest();
    else {
      const { bytes, form } = message;
      this.#ring[this.#count % this.#max] = { bytes, form };
      this.#bytes += MESSAGE_BYTES + bytes.length;
    }
    this.#count++;
    if (message === undefined) this.#gone++;
    while (this.#bytes > this.#bytesMax) this.#dropOldest();
    return this.position;
  }

  #dropOldest(): void {
    const at = this.#gone % this.#max;
    const kept = this.#ring[at];
    if (kept !== undefined) this.#bytes -= MESSAGE_BYTES + kept.bytes.length;
    this.#ring[at] = undefined;
    this.#gone++;
  }

  after(id: string): Replayed<unknown>[] {
    const [epoch, digits = ''] = id.split('-');
    const from = Number.parseInt(digits, 36);
    if (epoch !== this.#epoch || !(from >= this.#gone && from <= this.#count)) {
      throw new MillraceError(
        'HUB_HISTORY_GONE',
        `The last ${this.#max} messages of a channel are kept, or fewer if they are large, and ${JSON.stringify(id)} is older or of another run: start from the present state.`,
      );
    }
    const replayed: Replayed<unknown>[] = [];
    for (let at = from; at < this.#count; at++) {
      const { bytes, form } = this.#ring[at % this.#max] as Kept;
      replayed.push({ id: this.#id(at + 1), payload: new EncodedMessage(bytes, form) });
    }
    return replayed;
  }

  #id(count: number): string {
    // Eleven digits in base 36 hold every safe integer, so that ids sort as text.
    return `${this.#epoch}-${count.toString(36).padStart(11, '0')}`;
  }
}

/** Options of {@link memory}. */
export interface MemoryOptions extends MemoryBrokerOptions {
  /** The broker to share with other hubs (default: one of its own). */
  readonly broker?: MemoryBroker;
}

const abilities: DriverAbilities = {
  ordering: true,
  replay: false,
  patterns: true,
  atLeastOnce: true,
  maxMessageBytes: Number.POSITIVE_INFINITY,
};

/** A hub within the process: nothing is encoded, subscribers get the very value that was published. */
export function memory(options: MemoryOptions = {}): Driver<unknown> {
  const broker = options.broker ?? new MemoryBroker(options);
  return {
    name: 'memory',
    carries: 'values',
    abilities: { ...abilities, replay: broker.historyMax > 0 },
    names: plainNames,
    connect: async () => new MemoryConnection(broker),
  };
}

class MemoryConnection implements DriverConnection<unknown> {
  readonly #broker: MemoryBroker;
  readonly #subscriptions = new Set<DriverSubscription>();

  constructor(broker: MemoryBroker) {
    this.#broker = broker;
  }

  publish(channel: string, message: unknown): Promise<void> {
    this.#broker.publish(channel, message);
    return TAKEN;
  }

  async subscribe(channel: string, sink: ChannelSink<unknown>): Promise<DriverSubscription> {
    return this.#keep(this.#broker.subscribe(channel, sink));
  }

  async subscribePattern(pattern: string, sink: ChannelSink<unknown>): Promise<DriverSubscription> {
    return this.#keep(this.#broker.subscribePattern(pattern, sink));
  }

  async *replay(channel: string, after: string): AsyncIterable<Replayed<unknown>> {
    yield* this.#broker.replay(channel, after);
  }

  async close(): Promise<void> {
    for (const subscription of this.#subscriptions) await subscription.unsubscribe();
  }

  #keep(subscription: DriverSubscription): DriverSubscription {
    const kept: DriverSubscription = {
      ...subscription,
      unsubscribe: async () => {
        this.#subscriptions.delete(kept);
        await subscription.unsubscribe();
      },
    };
    this.#subscriptions.add(kept);
    return kept;
  }
}

/** `memory:`, or `memory:?history=1000` to keep the newest messages of each channel. */
export function driverFromUrl(url: string): Driver<unknown> {
  const history = new URL(url).searchParams.get('history');
  return memory(history === null ? {} : { historyMax: Number(history) });
}
