import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../errors.js';
import { reconnectDelayMs } from '../backoff.js';
import type { KafkaClients } from './clients.js';
import { isNotTakenYet, kafkaErrorIds } from './errors.js';

/** How long a topic that was made just now may take to have leaders. */
const TOPIC_READY_MS = 10_000;

/** What is known of a topic. */
export interface TopicFacts {
  /** Kafka's id of it; a topic that is deleted and made anew has another. */
  readonly id: string;
  /** By partition: the broker that leads it. */
  readonly leaders: readonly number[];
}

/** How topics are made that are not there. */
export interface TopicCreation {
  /** Whether they are made at all. */
  readonly createTopics: boolean;
  /** -1: what the broker has as its default. */
  readonly replicas: number;
}

/** Looks up topics, and makes those that are missing. */
export class KafkaTopics {
  readonly #clients: KafkaClients;
  readonly #creation: TopicCreation;
  readonly #signal: AbortSignal;
  readonly #lookups = new Map<string, Promise<TopicFacts>>();

  constructor(clients: KafkaClients, creation: TopicCreation, signal: AbortSignal) {
    this.#clients = clients;
    this.#creation = creation;
    this.#signal = signal;
  }

  /** What the brokers say of a topic now; it is made if need be. */
  facts(topic: string): Promise<TopicFacts> {
    let lookup = this.#lookups.get(topic);
    if (lookup === undefined) {
      lookup = this.#lookUp(topic);
      this.#lookups.set(topic, lookup);
      const forget = () => this.#lookups.delete(topic);
      lookup.then(forget, forget);
    }
    return lookup;
  }

  async #lookUp(topic: string): Promise<TopicFacts> {
    const deadline = performance.now() + TOPIC_READY_MS;
    let created = false;
    for (let attempt = 0; ; attempt++) {
      try {
        const { topics } = await this.#clients.consume((consumer) =>
          consumer.metadata({ topics: [topic], forceUpdate: true }),
        );
        const facts = topics.get(topic);
        if (facts === undefined || facts.partitions.length === 0)
          throw new Error(`the topic ${topic} has no partitions`);
        return { id: facts.id, leaders: facts.partitions.map(({ leader }) => leader) };
      } catch (error) {
        // A topic is known to one broker before the others, and has leaders a moment after it is known.
        if (!isNotTakenYet(error) || performance.now() > deadline || this.#signal.aborted) throw error;
        if (!created && kafkaErrorIds(error).has('UNKNOWN_TOPIC_OR_PARTITION')) {
          await this.#create(topic);
          created = true;
        } else await sleep(reconnectDelayMs(attempt), undefined, { signal: this.#signal });
      }
    }
  }

  async #create(topic: string): Promise<void> {
    if (!this.#creation.createTopics) {
      throw new MillraceError(
        'HUB_CHANNEL_INVALID',
        `Kafka has no topic "${topic}", and createTopics is off: make it, or choose another channel.`,
      );
    }
    try {
      // One partition: Kafka keeps the order of a partition, and a channel has one order.
      await this.#clients.createTopic(topic, 1, this.#creation.replicas);
    } catch (error) {
      if (!kafkaErrorIds(error).has('TOPIC_ALREADY_EXISTS')) throw error;
    }
  }
}
