import { setTimeout as sleep } from 'node:timers/promises';
import type { MillraceError } from '../../errors.js';
import { reconnectDelayMs } from '../backoff.js';
import type { KafkaClients } from './clients.js';
import { isNotTakenYet, kafkaError, kafkaErrorIds } from './errors.js';
import type { KafkaTopics } from './topics.js';

/** How long a message may be held up by Kafka's own moves: a topic that is being made, a leader being chosen. */
const NOT_TAKEN_RETRY_MS = 5_000;
/** What Kafka adds to a batch, and to each message in it, at most. */
export const BATCH_OVERHEAD_BYTES = 64;
export const RECORD_OVERHEAD_BYTES = 24;
/** Messages of a batch, which the broker keeps and answers as a whole. */
const BATCH_MESSAGES_MAX = 4096;

interface Pending {
  readonly value: Buffer;
  readonly resolve: () => void;
  readonly reject: (error: MillraceError) => void;
}

/** What a writer needs of the connection. */
export interface WriterContext {
  readonly clients: KafkaClients;
  readonly topics: KafkaTopics;
  readonly signal: AbortSignal;
  readonly batchBytesMax: number;
  /** Why nothing can be sent now; undefined when it can. */
  outage(): MillraceError | undefined;
  /** Told of each failure that the connection may be the cause of. */
  onFailure(error: unknown): void;
}

/**
 * Writes one topic: a batch at a time, and into the next one what comes meanwhile, so the order is that of the calls.
 */
export class TopicWriter {
  readonly #context: WriterContext;
  readonly #topic: string;
  readonly #onIdle: () => void;
  #queue: Pending[] = [];
  #known = false;

  /** `onIdle` is called when everything has its answer. */
  constructor(context: WriterContext, topic: string, onIdle: () => void) {
    this.#context = context;
    this.#topic = topic;
    this.#onIdle = onIdle;
    // What the same turn publishes is to be in the first batch.
    queueMicrotask(() => void this.#run());
  }

  publish(value: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ value, resolve, reject });
    });
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#nextBatch();
      try {
        await this.#send(batch);
      } catch (error) {
        const failure = kafkaError(error);
        for (const { reject } of batch) reject(failure);
        this.#context.onFailure(error);
      }
    }
    this.#onIdle();
  }

  #nextBatch(): Pending[] {
    let bytes = BATCH_OVERHEAD_BYTES;
    let count = 0;
    for (const { value } of this.#queue) {
      bytes += value.length + RECORD_OVERHEAD_BYTES;
      if (count > 0 && (bytes > this.#context.batchBytesMax || count === BATCH_MESSAGES_MAX)) break;
      count++;
    }
    const batch = this.#queue.slice(0, count);
    this.#queue = this.#queue.slice(count);
    return batch;
  }

  async #send(batch: readonly Pending[]): Promise<void> {
    const { clients, topics, signal, outage } = this.#context;
    const deadline = performance.now() + NOT_TAKEN_RETRY_MS;
    for (let attempt = 0; ; attempt++) {
      const down = outage();
      if (down !== undefined) throw down;
      try {
        if (!this.#known) {
          await topics.facts(this.#topic);
          this.#known = true;
        }
        // Always the same partition, for the sake of the order, also where somebody made several.
        const messages = batch.map(({ value }) => ({ topic: this.#topic, partition: 0, value }));
        await clients.produce((producer) => producer.send({ messages, acks: -1 }));
        for (const { resolve } of batch) resolve();
        return;
      } catch (error) {
        const ids = kafkaErrorIds(error);
        if (batch.length > 1 && (ids.has('MESSAGE_TOO_LARGE') || ids.has('RECORD_LIST_TOO_LARGE'))) {
          return this.#sendOneByOne(batch);
        }
        if (!isNotTakenYet(error) || performance.now() > deadline) throw error;
        this.#known = false;
        await sleep(reconnectDelayMs(attempt), undefined, { signal });
      }
    }
  }

  /** The topic takes less than the broker's default, so a batch was too large as a whole. */
  async #sendOneByOne(batch: readonly Pending[]): Promise<void> {
    for (const each of batch) {
      try {
        await this.#send([each]);
      } catch (error) {
        each.reject(kafkaError(error));
        this.#context.onFailure(error);
      }
    }
  }
}
