import { EventStream } from '../event-stream/index.js';
import type { HubEvent, HubMessage } from './channels.js';
import { type Codec, jsonCodec } from './codec.js';
import type { ChannelSink, DriverSubscription, Gap } from './driver.js';
import { ArrivedEvent, EncodedMessage, weightOf, withId } from './encoded-message.js';
import type { LagBudget } from './lag-budget.js';
import { patternMatcher } from './names.js';
import type { HubSubscription } from './subscription.js';

/** A subscriber is at most this many events, and this many bytes, further behind than it may be. */
const LAG_CHECK_INTERVAL_MAX = 128;
const LAG_CHECK_BYTES_MAX = 1024 * 1024;

/**
 * Events are freed in blocks of so many events or so many bytes: few, since a message pins memory until its block is
 * free, and the newest block stays while nothing comes after it.
 */
const BUFFER_SIZE = 64;
const BLOCK_BYTES = 8 * 1024;
/** What an event weighs at least. */
const EVENT_BYTES_MIN = 64;

/** How the messages of a hub are read: known for sure only once its driver is loaded. */
export interface Coding {
  /** Absent where the driver carries values. */
  codec: Codec | undefined;
}

/**
 * One channel (or pattern) of the hub: its one subscription on the broker, and the feeds of this process that it goes
 * to. It is the sink that the driver fills.
 */
export class Channel implements ChannelSink<unknown> {
  readonly key: string;
  readonly name: string;
  readonly pattern: string | undefined;
  feeds: Feed[] = [];
  /** Set once the broker has confirmed the subscription. */
  subscription: DriverSubscription | undefined;
  /** Settles when the broker has confirmed or refused it. */
  ready: Promise<void> = Promise.resolve();
  /** The id of the newest message, or of the point where the subscription began. Only where the driver can replay. */
  position: string | undefined;
  /** The id of the point where the subscription began. */
  begin: string | undefined;
  readonly #coding: Coding;
  readonly #matches: ((name: string) => boolean) | undefined;
  #label: string | undefined;

  constructor(name: string, isPattern: boolean, coding: Coding) {
    this.key = channelKey(name, isPattern);
    this.name = name;
    this.pattern = isPattern ? name : undefined;
    this.#matches = isPattern ? patternMatcher(name) : undefined;
    this.#coding = coding;
  }

  /** Stands for the name in ids: short, because the id of many channels has to fit in a header. */
  get label(): string {
    this.#label ??= shortHash(this.name);
    return this.#label;
  }

  message(channel: string, payload: unknown, id?: string): void {
    if (this.#matches !== undefined && !this.#matches(channel)) return;
    if (id !== undefined && this.pattern === undefined) this.position = id;
    // In memory there is nothing to decode. Asked here, so that all of it is small enough to be compiled as one piece.
    const plain =
      this.#coding.codec === undefined && this.pattern === undefined && !(payload instanceof EncodedMessage);
    const event = plain ? { channel, message: payload } : this.decode(channel, payload);
    const weight = weightOf(payload);
    // Counted loops here and in the memory broker: an iterator for one listener is a tenth of what a message costs.
    const { feeds } = this;
    for (let at = 0; at < feeds.length; at++) (feeds[at] as Feed).publish(event, id, weight);
  }

  /** What arrived, as an event; a gap when it cannot be read. JSON is read when somebody asks for its value. */
  decode(channel: string, payload: unknown, id?: string): HubEvent {
    const { codec } = this.#coding;
    const { pattern } = this;
    if (payload instanceof EncodedMessage) return new ArrivedEvent(channel, payload, pattern, id);
    if (codec === jsonCodec) {
      return new ArrivedEvent(channel, new EncodedMessage(payload as Uint8Array, 'unknown'), pattern, id);
    }
    let message = payload;
    if (codec !== undefined) {
      try {
        message = codec.decode(payload as Uint8Array);
      } catch (error) {
        const detail = error instanceof Error ? error.message : String(error);
        return gapEvent(this, { reason: 'undecodable', missed: 1, detail });
      }
    }
    return { channel, message, ...(pattern === undefined ? {} : { pattern }), ...(id === undefined ? {} : { id }) };
  }

  gap(gap: Gap): void {
    for (const feed of this.feeds) feed.publish(gapEvent(this, gap), undefined, EVENT_BYTES_MIN);
  }
}

/** Keeps channels and patterns of the same text apart. */
export function channelKey(name: string, isPattern: boolean): string {
  return (isPattern ? 'p' : 'c') + name;
}

/** The event that tells subscribers of a channel of a gap. */
export function gapEvent(channel: Channel, gap: Gap): HubEvent {
  return channel.pattern === undefined
    ? { channel: channel.name, gap }
    : { channel: channel.name, gap, pattern: channel.pattern };
}

/**
 * The event stream of one set of channels, shared by all subscribers of that same set: what arrives is put there
 * once, in the order of its arrival, however many they are.
 */
export class Feed {
  readonly key: string;
  readonly channels: readonly Channel[];
  readonly stream = new EventStream<HubEvent>({ bufferSize: BUFFER_SIZE });
  readonly subscriptions = new Set<HubSubscription>();
  readonly #budget: LagBudget;
  /** Nobody may be less far behind than this: as long as nobody is further, there is nobody to look at. */
  #strictest: LagLimits;
  /** How many bytes may come until the next {@link #settle}: one subtraction is all that an event costs for it. */
  readonly #stepBytes: number;
  #stepLeft: number;
  /** What all events up to the last step weigh, and which of them came first: for steps that somebody has not read. */
  #bytes = 0;
  #steps: Step[] = [];
  /** How many events there were at the last step. */
  #lastCount = 0;
  readonly #lagCheckInterval: number;
  readonly #lagCheckBytes: number;
  /** When the lag of the subscribers is looked at again. */
  #nextCheck: Step;

  constructor(key: string, channels: readonly Channel[], limits: LagLimits, budget: LagBudget) {
    this.key = key;
    this.channels = channels;
    this.#budget = budget;
    this.#strictest = limits;
    this.#lagCheckInterval = Math.max(1, Math.min(LAG_CHECK_INTERVAL_MAX, Math.floor(limits.maxLag / 8)));
    this.#lagCheckBytes = Math.max(1, Math.min(LAG_CHECK_BYTES_MAX, Math.floor(limits.maxLagBytes / 8)));
    this.#stepBytes = Math.min(BLOCK_BYTES, this.#lagCheckInterval * EVENT_BYTES_MIN);
    this.#stepLeft = this.#stepBytes;
    this.#nextCheck = { count: this.#lagCheckInterval, bytes: this.#lagCheckBytes };
    for (const channel of channels) channel.feeds = [...channel.feeds, this];
  }

  /** Takes in a subscriber that may be so far behind. */
  join(subscription: HubSubscription, { maxLag, maxLagBytes }: LagLimits): void {
    this.subscriptions.add(subscription);
    const { maxLag: leastLag, maxLagBytes: leastBytes } = this.#strictest;
    this.#strictest = { maxLag: Math.min(maxLag, leastLag), maxLagBytes: Math.min(maxLagBytes, leastBytes) };
  }

  publish(event: HubEvent, id: string | undefined, weight: number): void {
    this.stream.publish(id === undefined || event.gap !== undefined ? event : this.#withPosition(event));
    this.#stepLeft -= weight;
    if (this.#stepLeft <= 0) this.#settle();
  }

  /** What the newest so many events weigh, or a step more. */
  bytesOfNewest(count: number): number {
    if (count === 0) return 0;
    const from = this.stream.count - count;
    const before = this.#steps[this.#lastStepUpTo(from)]?.bytes ?? 0;
    return this.#bytes + this.#stepBytes - this.#stepLeft - before;
  }

  /** What the messages weigh that somebody has not read. */
  get lagBytes(): number {
    let most = 0;
    let own = 0;
    for (const { feedLag, replayBytes } of this.subscriptions) {
      most = Math.max(most, feedLag);
      own += replayBytes;
    }
    return this.bytesOfNewest(most) + own;
  }

  /** A subscriber has come back, and has so much to read of its own. */
  noteReplay(bytes: number): void {
    this.#budget.add(this, bytes);
  }

  /** Lets those who hold the most skip what they have not read: one at least, if anybody holds anything. */
  shed(): void {
    const held = Array.from(this.subscriptions, (subscription) => ({ subscription, bytes: subscription.lagBytes }));
    const most = held.reduce((sum, { bytes }) => Math.max(sum, bytes), 0);
    for (const { subscription, bytes } of held) if (bytes > most / 2) subscription.skip('all');
  }

  /** Once for several events, or for one that is large. */
  #settle(): void {
    const bytes = this.#stepBytes - this.#stepLeft;
    this.#stepLeft = this.#stepBytes;
    this.#bytes += bytes;
    const { count } = this.stream;
    // So many small events are in blocks that are full, or soon will be; and to end one costs each subscriber something.
    if (bytes > 2 * BLOCK_BYTES || count - this.#lastCount < BUFFER_SIZE) this.stream.endBlock();
    this.#lastCount = count;
    this.#steps.push({ count, bytes: this.#bytes });
    if (count >= this.#nextCheck.count || this.#bytes >= this.#nextCheck.bytes) this.#limitLag(count);
    this.#budget.add(this, bytes);
  }

  #limitLag(count: number): void {
    this.#nextCheck = { count: count + this.#lagCheckInterval, bytes: this.#bytes + this.#lagCheckBytes };
    let most = 0;
    for (const { feedLag } of this.subscriptions) if (feedLag > most) most = feedLag;
    const { maxLag, maxLagBytes } = this.#strictest;
    if (most > maxLag || this.bytesOfNewest(most) > maxLagBytes) {
      most = 0;
      for (const subscription of this.subscriptions) most = Math.max(most, subscription.limitLag());
    }
    // The step that the slowest one stands behind is the first that is still asked for.
    this.#steps.splice(0, Math.max(0, this.#lastStepUpTo(count - most)));
  }

  /** Where the last step is that has no more than so many events before it and in it; -1 where there is none. */
  #lastStepUpTo(count: number): number {
    let low = 0;
    let high = this.#steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#steps[middle] as Step).count <= count) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Takes the feed out of its channels; returns those that have none left. */
  detach(): Channel[] {
    for (const channel of this.channels) channel.feeds = channel.feeds.filter((each) => each !== this);
    return this.channels.filter((channel) => channel.feeds.length === 0);
  }

  #withPosition(event: HubMessage): HubMessage {
    const position = this.#position();
    return position === undefined ? event : withId(event, position);
  }

  /** Where a subscriber stands that has read everything; nowhere if it follows patterns only. */
  #position(): string | undefined {
    const [only, ...others] = this.channels;
    if (others.length === 0) return only?.position;
    return formatPositions(this.channels.map((channel) => [channel, channel.position])) || undefined;
  }
}

/** A moment of a feed: how many events it had, and what they weigh. */
interface Step {
  readonly count: number;
  readonly bytes: number;
}

/** How far behind a subscriber of a hub may be. */
export interface LagLimits {
  readonly maxLag: number;
  readonly maxLagBytes: number;
}

/** Where the live events of some channels begin for a subscriber. Only those that the driver can replay. */
export type Begins = ReadonlyMap<Channel, string>;

/**
 * Where a subscriber of several channels stands, as one id: `1x4k0qbfjgz=17;c0mv3ty2hlp=4`, with a hash of each name.
 * Channels without a position are left out.
 */
export function formatPositions(positions: Iterable<readonly [channel: Channel, id: string | undefined]>): string {
  const parts: string[] = [];
  for (const [channel, id] of positions) {
    if (id !== undefined && channel.pattern === undefined) parts.push(`${channel.label}=${id}`);
  }
  return parts.join(';');
}

/** The positions in an id made by a feed of these channels; none for a channel that it does not tell of. */
export function parsePositions(id: string, channels: readonly Channel[]): Map<Channel, string> {
  const positions = new Map<Channel, string>();
  const named = channels.filter((channel) => channel.pattern === undefined);
  if (channels.length === 1 && named.length === 1 && !id.includes('=')) {
    positions.set(named[0] as Channel, id);
    return positions;
  }
  const byLabel = new Map<string, string>();
  for (const part of id.split(';')) {
    const at = part.indexOf('=');
    if (at > 0) byLabel.set(part.slice(0, at), part.slice(at + 1));
  }
  for (const channel of named) {
    const position = byLabel.get(channel.label);
    if (position !== undefined) positions.set(channel, position);
  }
  return positions;
}

/** 53 bits of a text (cyrb53), so that names do not meet by chance. */
function shortHash(text: string): string {
  let high = 0xdeadbeef;
  let low = 0x41c6ce57;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    high = Math.imul(high ^ code, 2654435761);
    low = Math.imul(low ^ code, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return (4294967296 * (2097151 & low) + (high >>> 0)).toString(36);
}
