import { EventStream } from '../event-stream/index.js';
import type { HubEvent, HubMessage } from './channels.js';
import type { Codec } from './codec.js';
import type { ChannelSink, DriverSubscription, Gap } from './driver.js';
import { patternMatcher } from './names.js';
import type { HubSubscription } from './subscription.js';

/** A subscriber is at most this many events further behind than its `maxLag`. */
const LAG_CHECK_INTERVAL_MAX = 128;

/** Events are freed in blocks of so many: few, since a message from a broker pins memory until its block is free. */
const BUFFER_SIZE = 64;

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
    const plain = this.#coding.codec === undefined && this.pattern === undefined;
    const event = plain ? { channel, message: payload } : this.decode(channel, payload);
    // Counted loops here and in the memory broker: an iterator for one listener is a tenth of what a message costs.
    const { feeds } = this;
    for (let at = 0; at < feeds.length; at++) (feeds[at] as Feed).publish(event, id);
  }

  /** What arrived, as an event without an id; a gap when it cannot be read. */
  decode(channel: string, payload: unknown): HubEvent {
    const { codec } = this.#coding;
    let message = payload;
    if (codec !== undefined) {
      try {
        message = codec.decode(payload as Uint8Array);
      } catch (error) {
        const detail = error instanceof Error ? error.message : String(error);
        return gapEvent(this, { reason: 'undecodable', missed: 1, detail });
      }
    }
    return this.pattern === undefined ? { channel, message } : { channel, message, pattern: this.pattern };
  }

  gap(gap: Gap): void {
    for (const feed of this.feeds) feed.publish(gapEvent(this, gap), undefined);
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
  /** How many events may come until the lag of the subscribers is looked at again. */
  readonly #lagCheckInterval: number;
  #untilLagCheck: number;
  readonly subscriptions = new Set<HubSubscription>();

  constructor(key: string, channels: readonly Channel[], maxLag: number) {
    this.key = key;
    this.channels = channels;
    this.#lagCheckInterval = Math.max(1, Math.min(LAG_CHECK_INTERVAL_MAX, Math.floor(maxLag / 8)));
    this.#untilLagCheck = this.#lagCheckInterval;
    for (const channel of channels) channel.feeds = [...channel.feeds, this];
  }

  publish(event: HubEvent, id: string | undefined): void {
    this.stream.publish(id === undefined || event.gap !== undefined ? event : this.#withPosition(event));
    // Looked at now and then, so that a delivery costs nothing for it: a bound in the stream would cost each one.
    if (--this.#untilLagCheck === 0) {
      this.#untilLagCheck = this.#lagCheckInterval;
      for (const subscription of this.subscriptions) subscription.limitLag();
    }
  }

  /** Takes the feed out of its channels; returns those that have none left. */
  detach(): Channel[] {
    for (const channel of this.channels) channel.feeds = channel.feeds.filter((each) => each !== this);
    return this.channels.filter((channel) => channel.feeds.length === 0);
  }

  #withPosition(event: HubMessage): HubMessage {
    const position = this.#position();
    return position === undefined ? event : { ...event, id: position };
  }

  /** Where a subscriber stands that has read everything; nowhere if it follows patterns only. */
  #position(): string | undefined {
    const [only, ...others] = this.channels;
    if (others.length === 0) return only?.position;
    return formatPositions(this.channels.map((channel) => [channel, channel.position])) || undefined;
  }
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
