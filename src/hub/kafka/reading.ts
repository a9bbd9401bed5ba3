import type { ChannelSink, DriverSubscription } from '../driver.js';
import type { FetchedPartition } from './clients.js';
import { formatOffset, formatPosition, topicMark } from './position.js';
import { readRecords } from './records.js';
import type { TopicFacts } from './topics.js';

/** One channel that is read: its topic, and how far in each partition. */
export class TopicReading implements DriverSubscription {
  readonly topic: string;
  readonly position: string;
  readonly #channel: string;
  readonly #sink: ChannelSink;
  readonly #onEnd: (reading: TopicReading) => void;
  #facts: TopicFacts;
  readonly #offsets: bigint[];
  readonly #waiting = new Set<() => void>();
  #ended = false;

  /** `offsets`: where to begin, by partition. */
  constructor(
    channel: string,
    topic: string,
    sink: ChannelSink,
    facts: TopicFacts,
    offsets: readonly bigint[],
    onEnd: (reading: TopicReading) => void,
  ) {
    this.topic = topic;
    this.#channel = channel;
    this.#sink = sink;
    this.#facts = facts;
    this.#offsets = [...offsets];
    this.#onEnd = onEnd;
    this.position = formatPosition({ mark: topicMark(facts.id), offsets });
  }

  get topicId(): string {
    return this.#facts.id;
  }

  /** The brokers that lead a partition of it. */
  get leaders(): readonly number[] {
    return this.#facts.leaders;
  }

  /** What to ask a broker for. */
  partitionsLedBy(node: number): { readonly partition: number; readonly offset: bigint }[] {
    const partitions = [];
    for (const [partition, leader] of this.#facts.leaders.entries()) {
      if (leader === node) partitions.push({ partition, offset: this.#offsets[partition] ?? 0n });
    }
    return partitions;
  }

  /** Takes in what a broker answered for one partition. */
  receive(fetched: FetchedPartition): void {
    const partition = fetched.partitionIndex;
    const from = this.#offsets[partition];
    if (this.#ended || from === undefined) return;
    const mark = topicMark(this.#facts.id);
    const before = this.#offsets.slice(0, partition).map((offset) => `${formatOffset(offset)}.`);
    const after = this.#offsets.slice(partition + 1).map((offset) => `.${formatOffset(offset)}`);
    const [head, tail] = [`${mark}.${before.join('')}`, after.join('')];
    this.#offsets[partition] = readRecords(fetched, from, (value, next) => {
      if (this.#ended) return false;
      this.#sink.message(this.#channel, value, `${head}${formatOffset(next)}${tail}`);
      return true;
    });
    this.#moved();
  }

  /**
   * Resolves to where it stands, as soon as all that is before these offsets has been delivered. Resolves early when it
   * ends or the topic is another one by the same name. Rejects with the signal's reason.
   */
  async reached(offsets: readonly bigint[], signal: AbortSignal): Promise<readonly bigint[]> {
    const { topicId } = this;
    const isBehind = () => offsets.some((offset, partition) => (this.#offsets[partition] ?? 0n) < offset);
    while (!this.#ended && this.topicId === topicId && isBehind()) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        this.#waiting.add(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    return [...this.#offsets];
  }

  #moved(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  /** The offset in a partition is not there any more: goes on where the partition has messages. */
  moveInto(partition: number, earliest: bigint, latest: bigint): void {
    const offset = this.#offsets[partition];
    if (this.#ended || offset === undefined || (offset >= earliest && offset <= latest)) return;
    this.#offsets[partition] = offset < earliest ? earliest : latest;
    this.#moved();
    const missed = Number(earliest - offset);
    const detail = 'Kafka has deleted messages that were not read yet.';
    this.#sink.gap(missed > 0 ? { reason: 'history', missed, detail } : { reason: 'history', detail });
  }

  /** What is in a partition before `end` cannot be read. */
  skip(partition: number, end: bigint, detail: string): void {
    const offset = this.#offsets[partition];
    if (this.#ended || offset === undefined || offset >= end) return;
    this.#offsets[partition] = end;
    this.#moved();
    this.#sink.gap({ reason: 'undecodable', detail });
  }

  /** What is known of the topic has changed: other leaders, more partitions, or another topic by the same name. */
  update(facts: TopicFacts): void {
    if (this.#ended) return;
    const renewed = facts.id !== this.#facts.id;
    this.#facts = facts;
    if (renewed) this.#offsets.length = 0;
    // All that is in a partition which was not there before is news.
    while (this.#offsets.length < facts.leaders.length) this.#offsets.push(0n);
    this.#moved();
    if (renewed) this.#sink.gap({ reason: 'history', detail: 'The topic was deleted and made anew.' });
  }

  unsubscribe(): Promise<void> {
    this.#ended = true;
    this.#moved();
    this.#onEnd(this);
    return Promise.resolve();
  }
}
