import { setTimeout as sleep } from 'node:timers/promises';
import type { BaseOptions, Consumer } from '@platformatic/kafka';
import { MillraceError } from '../../errors.js';
import { reconnectDelayMs } from '../backoff.js';
import { settledWithin } from '../deadline.js';
import type {
  ChannelNames,
  ChannelSink,
  DriverConnection,
  DriverContext,
  DriverSubscription,
  Replayed,
} from '../driver.js';
import { type FetchResponse, KafkaClients, type KafkaPackage } from './clients.js';
import { describeKafkaError, isConnectionError, isNotTakenYet, kafkaError } from './errors.js';
import { formatPosition, parsePosition, topicMark } from './position.js';
import { TopicReading } from './reading.js';
import { readRecords } from './records.js';
import { KafkaTopics, type TopicCreation } from './topics.js';
import { BATCH_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES, TopicWriter } from './writer.js';

/** How long `close` waits for the answers to publishes that are under way. */
const CLOSE_GRACE_MS = 1_000;
/** How often leaders and partitions of the topics that are read are asked for, apart from when a broker complains. */
const METADATA_REFRESH_MS = 30_000;
/** How much one fetch may bring: of one partition, and in all. Kafka exceeds it for a message that is larger. */
const FETCH_PARTITION_BYTES_MAX = 1024 * 1024;
const FETCH_BYTES_MAX = 8 * 1024 * 1024;
/** How often a partition's leader is asked that does not know yet that it leads. */
const LEADER_ATTEMPTS_MAX = 8;
/** `timestamp` in a request for offsets. */
const LATEST = -1n;
const EARLIEST = -2n;
/** Kafka's number for configurations of a broker. */
const BROKER_CONFIG = 4;

/** What the driver tells a connection. */
export interface KafkaConnectionOptions extends TopicCreation {
  readonly names: ChannelNames;
  readonly client: BaseOptions;
  readonly fetchWaitMs: number;
  readonly requestTimeoutMs: number;
  /** Used when the broker does not tell its own. */
  readonly maxMessageBytes: number;
}

/** The connection of one hub to a Kafka cluster. It reads by offsets of its own, without a group. */
export class KafkaConnection implements DriverConnection {
  #maxMessageBytes: number;
  readonly #options: KafkaConnectionOptions;
  readonly #context: DriverContext;
  readonly #clients: KafkaClients;
  readonly #topics: KafkaTopics;
  readonly #end = new AbortController();
  readonly #writers = new Map<string, TopicWriter>();
  #onWritten: () => void = () => {};
  readonly #readings = new Set<TopicReading>();
  /** The brokers that are being read from. */
  readonly #reading = new Set<number>();
  #refreshedAt = 0;
  #opened = false;
  /** Set while the connection is lost. */
  #outage: { readonly error: MillraceError; readonly over: Promise<void> } | undefined;
  /** Settles with the question whether the connection is lost; stays while it is. */
  #checking: Promise<void> | undefined;

  constructor(kafka: KafkaPackage, options: KafkaConnectionOptions, context: DriverContext) {
    this.#options = options;
    this.#context = context;
    this.#maxMessageBytes = options.maxMessageBytes;
    this.#clients = new KafkaClients(kafka, options.client, options.requestTimeoutMs, () => void this.#check());
    this.#topics = new KafkaTopics(this.#clients, options, this.#end.signal);
  }

  get maxMessageBytes(): number {
    return this.#maxMessageBytes;
  }

  async open(): Promise<void> {
    const { signal } = this.#context;
    const onAbort = () => void this.close();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      signal.throwIfAborted();
      await this.#clients.consume((consumer) => consumer.metadata({ topics: [] }));
      this.#maxMessageBytes = await this.#askMaxMessageBytes();
      signal.throwIfAborted();
      this.#opened = true;
    } catch (error) {
      await this.close();
      throw signal.aborted ? signal.reason : kafkaError(error);
    } finally {
      // From here on `close` ends the connection, with time for what is under way.
      signal.removeEventListener('abort', onAbort);
    }
  }

  publish(channel: string, payload: Uint8Array): Promise<void> {
    if (this.#outage !== undefined) return Promise.reject(this.#outage.error);
    if (this.#end.signal.aborted) return Promise.reject(closedError());
    let writer = this.#writers.get(channel);
    if (writer === undefined) {
      let topic: string;
      try {
        topic = this.#options.names.toBroker(channel);
      } catch (error) {
        return Promise.reject(error);
      }
      const context = {
        clients: this.#clients,
        topics: this.#topics,
        signal: this.#end.signal,
        batchBytesMax: this.#maxMessageBytes + BATCH_OVERHEAD_BYTES + RECORD_OVERHEAD_BYTES,
        outage: () => this.#outage?.error,
        onFailure: (error: unknown) => {
          if (isConnectionError(error)) void this.#check();
        },
      };
      writer = new TopicWriter(context, topic, () => {
        this.#writers.delete(channel);
        if (this.#writers.size === 0) this.#onWritten();
      });
      this.#writers.set(channel, writer);
    }
    return writer.publish(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength));
  }

  async subscribe(channel: string, sink: ChannelSink): Promise<DriverSubscription> {
    const topic = this.#options.names.toBroker(channel);
    try {
      await this.#whenUp();
      const facts = await this.#topics.facts(topic);
      const offsets = await this.#offsets(topic, LATEST);
      if (this.#end.signal.aborted) throw closedError();
      const reading = new TopicReading(channel, topic, sink, facts, offsets, (ended) => this.#readings.delete(ended));
      this.#readings.add(reading);
      this.#read();
      return reading;
    } catch (error) {
      // The hub asks again while it knows of an outage, so it has to know first.
      if (isConnectionError(error)) await this.#check();
      throw kafkaError(error);
    }
  }

  async *replay(channel: string, after: string, signal: AbortSignal): AsyncIterable<Replayed> {
    const topic = this.#options.names.toBroker(channel);
    const facts = await this.#topics.facts(topic).catch(rethrow);
    const position = parsePosition(after);
    const mark = topicMark(facts.id);
    const [earliest, latest] = await Promise.all([
      this.#offsets(topic, EARLIEST).catch(rethrow),
      this.#offsets(topic, LATEST).catch(rethrow),
    ]);
    const offsets = [...(position?.offsets ?? [])];
    const known =
      position?.mark === mark &&
      offsets.length <= latest.length &&
      offsets.every((offset, at) => offset >= (earliest[at] ?? 0n) && offset <= (latest[at] ?? 0n));
    if (!known) throw historyGone(channel, after);
    // Up to where the live reader stands, partition by partition: only then do ids tell by their order, as text, what
    // was replayed and what is live. Offsets that were asked for in between fit neither before nor after its own.
    const reading = [...this.#readings].find((each) => each.topic === topic);
    reading?.update(facts);
    this.#read();
    const ends = (await reading?.reached(latest, signal)) ?? latest;
    if (reading !== undefined && reading.topicId !== facts.id) throw historyGone(channel, after);
    while (offsets.length < ends.length) offsets.push(0n);
    // A client of its own: on that of the live readers each request would wait behind theirs.
    const consumer = this.#clients.newConsumer();
    try {
      // Held back by one, as the last one's id has to be the position at which the live messages begin.
      let held: Buffer | undefined;
      let heldId = '';
      let unreadable: string | undefined;
      for (const [partition, end] of ends.entries()) {
        while ((offsets[partition] ?? end) < end) {
          signal.throwIfAborted();
          const from = offsets[partition] ?? end;
          const messages: Buffer[] = [];
          const nexts: bigint[] = [];
          const fetched = await this.#clients
            .ask(consumer, (each) => this.#fetchOne(each, facts.id, partition, facts.leaders[partition] ?? 0, from))
            .catch((error: unknown) => {
              if (signal.aborted || this.#end.signal.aborted || !isUnreadable(error)) throw kafkaError(error);
              unreadable = describeKafkaError(error);
            });
          // As for live readers, the rest of the partition is skipped.
          if (fetched === undefined) break;
          const next = readRecords(fetched, from, (value, following) => {
            if (following > end) return false;
            messages.push(value);
            nexts.push(following);
            return true;
          });
          for (const [at, payload] of messages.entries()) {
            if (held !== undefined) yield { id: heldId, payload: held };
            offsets[partition] = nexts[at] ?? next;
            held = payload;
            heldId = formatPosition({ mark, offsets });
          }
          offsets[partition] = next;
          // Nothing new below the end: what is left there are messages that nobody may read, or that are compacted away.
          if (next === from) break;
        }
        offsets[partition] = end;
      }
      if (held !== undefined) yield { id: formatPosition({ mark, offsets }), payload: held };
      // Last, as the hub makes a gap of it that ends the replay.
      if (unreadable !== undefined) {
        throw new MillraceError('HUB_HISTORY_GONE', `Kafka has messages that cannot be read: ${unreadable}.`);
      }
    } finally {
      await this.#clients.discard(consumer);
    }
  }

  async close(): Promise<void> {
    if (this.#writers.size > 0 && this.#outage === undefined) {
      await settledWithin(
        new Promise<void>((resolve) => {
          this.#onWritten = resolve;
        }),
        CLOSE_GRACE_MS,
      );
    }
    this.#end.abort(closedError());
    for (const reading of this.#readings) void reading.unsubscribe();
    await this.#clients.close();
  }

  // Reading.

  /** Sees to it that every broker that leads a partition of what is read is being read from. */
  #read(): void {
    for (const { leaders } of this.#readings) {
      for (const node of leaders) {
        if (this.#reading.has(node)) continue;
        this.#reading.add(node);
        void this.#readFrom(node).finally(() => this.#reading.delete(node));
      }
    }
  }

  async #readFrom(node: number): Promise<void> {
    const { signal } = this.#end;
    for (let failures = 0; ; ) {
      await this.#whenUp().catch(() => {});
      if (signal.aborted) return;
      if (performance.now() - this.#refreshedAt > METADATA_REFRESH_MS) await this.#refresh();
      const topics = [...this.#readings].flatMap((reading) =>
        reading.partitionsLedBy(node).map(({ partition, offset }) => fetchTopic(reading.topicId, partition, offset)),
      );
      if (topics.length === 0) return;
      try {
        const { fetchWaitMs } = this.#options;
        const response = await this.#clients.consume(
          (consumer) => consumer.fetch({ node, topics, ...FETCH, maxWaitTime: fetchWaitMs }),
          fetchWaitMs,
        );
        failures = 0;
        this.#deliver(response);
      } catch (error) {
        if (signal.aborted) return;
        const { response } = error as { response?: FetchResponse };
        if (response !== undefined) {
          this.#deliver(response);
          await this.#repair(response).catch(() => {});
        } else if (isConnectionError(error)) void this.#check();
        else await this.#skipUnreadable(node).catch(() => {});
        await sleep(reconnectDelayMs(failures++), undefined, { signal }).catch(() => {});
      }
    }
  }

  #deliver({ responses }: FetchResponse): void {
    for (const { topicId, partitions } of responses) {
      for (const reading of this.#readings) {
        if (reading.topicId !== topicId) continue;
        for (const partition of partitions) if (partition.errorCode === 0) reading.receive(partition);
      }
    }
  }

  /** A broker has refused some partitions: finds out where they are now, and which offsets they have. */
  async #repair({ responses }: FetchResponse): Promise<void> {
    await this.#refresh();
    for (const { topicId, partitions } of responses) {
      for (const reading of this.#readings) {
        if (reading.topicId !== topicId) continue;
        for (const { partitionIndex, errorCode } of partitions) {
          if (errorCode !== OFFSET_OUT_OF_RANGE) continue;
          const earliest = (await this.#offsets(reading.topic, EARLIEST))[partitionIndex] ?? 0n;
          const latest = (await this.#offsets(reading.topic, LATEST))[partitionIndex] ?? 0n;
          reading.moveInto(partitionIndex, earliest, latest);
        }
      }
    }
  }

  /** An answer could not be read, say for its compression: finds out which partition it is, and goes past it. */
  async #skipUnreadable(node: number): Promise<void> {
    for (const reading of this.#readings) {
      for (const { partition, offset } of reading.partitionsLedBy(node)) {
        try {
          await this.#clients.consume((consumer) => this.#fetchOne(consumer, reading.topicId, partition, node, offset));
        } catch (error) {
          if (!isUnreadable(error)) continue;
          const latest = await this.#offsets(reading.topic, LATEST);
          reading.skip(partition, latest[partition] ?? offset, describeKafkaError(error));
        }
      }
    }
  }

  async #refresh(): Promise<void> {
    this.#refreshedAt = performance.now();
    for (const reading of this.#readings) {
      try {
        reading.update(await this.#topics.facts(reading.topic));
      } catch (error) {
        if (isConnectionError(error)) {
          void this.#check();
          return;
        }
      }
    }
    this.#read();
  }

  async #offsets(topic: string, timestamp: bigint): Promise<bigint[]> {
    for (let attempt = 0; ; attempt++) {
      try {
        const offsets = await this.#clients.consume((consumer) => consumer.listOffsets({ topics: [topic], timestamp }));
        return offsets.get(topic) ?? [];
      } catch (error) {
        // A leader that was chosen just now may not know of it yet.
        if (!isNotTakenYet(error) || attempt === LEADER_ATTEMPTS_MAX) throw error;
        await sleep(reconnectDelayMs(attempt), undefined, { signal: this.#end.signal });
        await this.#topics.facts(topic);
      }
    }
  }

  async #fetchOne(consumer: Consumer, topicId: string, partition: number, node: number, offset: bigint) {
    const topics = [fetchTopic(topicId, partition, offset)];
    const { responses } = await consumer.fetch({ node, topics, ...FETCH, maxWaitTime: 0 });
    const fetched = responses[0]?.partitions[0];
    if (fetched === undefined) throw new Error('the broker answered for another partition');
    return fetched;
  }

  // The connection's state.

  /** Resolves when the connection is not lost (any more). Rejects when the hub closes. */
  async #whenUp(): Promise<void> {
    const { signal } = this.#end;
    while (this.#outage !== undefined && !signal.aborted) await this.#outage.over;
    signal.throwIfAborted();
  }

  /** Something failed that may mean a lost connection: finds out, and if so, sees that it comes back. */
  #check(): Promise<void> {
    if (!this.#opened || this.#end.signal.aborted) return Promise.resolve();
    this.#checking ??= this.#ping().then(
      () => {
        this.#checking = undefined;
      },
      (cause: unknown) => {
        if (this.#end.signal.aborted) return;
        const over = this.#comeBack();
        this.#outage = { error: kafkaError(cause), over };
        this.#context.onStatus('reconnecting', cause);
      },
    );
    return this.#checking;
  }

  async #comeBack(): Promise<void> {
    const { signal } = this.#end;
    for (let attempt = 0; !signal.aborted; attempt++) {
      await sleep(reconnectDelayMs(attempt), undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      try {
        await this.#ping();
        // Every reader begins again where it stopped, so nothing is missing.
        for (const reading of this.#readings) reading.update(await this.#topics.facts(reading.topic));
        this.#outage = undefined;
        this.#checking = undefined;
        this.#read();
        this.#context.onStatus('connected');
        return;
      } catch {
        // The next attempt may be luckier; the hub has been told what the first failure was.
      }
    }
  }

  async #ping(): Promise<void> {
    await this.#clients.consume((consumer) => consumer.metadata({ topics: [], forceUpdate: true }));
  }

  /** The largest message that the broker's default allows, unless it does not tell. */
  async #askMaxMessageBytes(): Promise<number> {
    try {
      const connections = await this.#clients.consume((consumer) => consumer.connectToBrokers());
      const [[node, connection] = []] = connections;
      if (connection === undefined) return this.#options.maxMessageBytes;
      const { results } = await this.#clients.consume(() =>
        this.#clients.kafka.describeConfigsV4.api.async(
          connection,
          [{ resourceType: BROKER_CONFIG, resourceName: String(node), configurationKeys: ['message.max.bytes'] }],
          false,
          false,
        ),
      );
      const batchBytesMax = Number(results[0]?.configs[0]?.value);
      const bytesMax = batchBytesMax - BATCH_OVERHEAD_BYTES - RECORD_OVERHEAD_BYTES;
      return Number.isSafeInteger(bytesMax) && bytesMax > 0 ? bytesMax : this.#options.maxMessageBytes;
    } catch (error) {
      if (isConnectionError(error)) throw error;
      return this.#options.maxMessageBytes;
    }
  }
}

const FETCH = { minBytes: 1, maxBytes: FETCH_BYTES_MAX, isolationLevel: 'READ_COMMITTED' } as const;
/** Kafka's number for an offset that is not, or no longer, there. */
const OFFSET_OUT_OF_RANGE = 1;

function fetchTopic(topicId: string, partition: number, fetchOffset: bigint) {
  const limits = { partitionMaxBytes: FETCH_PARTITION_BYTES_MAX, currentLeaderEpoch: -1, lastFetchedEpoch: -1 };
  return { topicId, partitions: [{ partition, fetchOffset, ...limits }] };
}

function closedError(): MillraceError {
  return new MillraceError('HUB_UNAVAILABLE', 'The connection to Kafka was closed before it answered.');
}

/** Whether an answer came and could not be read, say for its compression. */
function isUnreadable(error: unknown): boolean {
  return !isConnectionError(error) && (error as { response?: unknown }).response === undefined;
}

function historyGone(channel: string, after: string): MillraceError {
  return new MillraceError('HUB_HISTORY_GONE', `Kafka does not keep what came after ${after} in channel "${channel}".`);
}

function rethrow(error: unknown): never {
  throw kafkaError(error);
}
