import { setTimeout as sleep } from 'node:timers/promises';
import { combineSignals } from '../../signals.js';

/** How often nsqd is asked for its counts. */
const POLL_MS = 2_000;
/** How long an answer may take. */
const ANSWER_TIMEOUT_MS = 1_000;
/** Counts of nsqd are not taken at one moment: so many messages may be on their way between two of them. */
const IN_BETWEEN_MAX = 2;

/** A reader whose messages are counted. */
export interface CountedReader {
  readonly topic: string;
  readonly channel: string;
  /** How many messages it has got. */
  received(): number;
  /** Told of messages that nsqd has dropped, once for each. */
  onLoss(missed: number): void;
}

interface Watched {
  readonly reader: CountedReader;
  /** What was missing at the last look, and how much of it was told. */
  missing: number;
  told: number;
}

/**
 * nsqd drops what an ephemeral channel has no room for (its `--mem-queue-size`), and tells neither publisher nor reader.
 * Its statistics do: they count every message of the channel. This looks there, and finds what never came.
 */
export class LossWatch {
  readonly #base: URL;
  readonly #signal: AbortSignal;
  readonly #readers = new Set<Watched>();
  #running = false;

  /** `base`: nsqd's HTTP address. */
  constructor(base: URL, signal: AbortSignal) {
    this.#base = base;
    this.#signal = signal;
  }

  /**
   * Begins to watch a reader, whose NSQ channel is as old as its count. With `afresh`, what is missing at the first look
   * is not told. The returned function ends it.
   */
  watch(reader: CountedReader, afresh: boolean): () => void {
    const watched = { reader, missing: 0, told: afresh ? Number.NaN : 0 };
    this.#readers.add(watched);
    if (!this.#running) void this.#run();
    return () => this.#readers.delete(watched);
  }

  /** Whether nothing waits on nsqd for this NSQ channel, or nsqd does not tell. */
  async isDrained(topic: string, channel: string): Promise<boolean> {
    const counts = await this.#counts(topic, channel).catch(() => undefined);
    return counts === undefined || counts.topicDepth + counts.depth + counts.in_flight_count === 0;
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#readers.size > 0 && !this.#signal.aborted) {
      for (const watched of [...this.#readers]) await this.#look(watched).catch(() => {});
      await sleep(POLL_MS, undefined, { signal: this.#signal, ref: false }).catch(() => {});
    }
    this.#running = false;
  }

  async #look(watched: Watched): Promise<void> {
    const { reader } = watched;
    const counts = await this.#counts(reader.topic, reader.channel);
    if (counts === undefined || !this.#readers.has(watched)) return;
    const waiting = counts.depth + counts.in_flight_count;
    const missing = counts.message_count - waiting - reader.received();
    if (Number.isNaN(watched.told)) watched.told = Math.max(0, missing);
    // What is missing at two looks is not on its way, but lost.
    const lost = Math.min(missing, watched.missing);
    watched.missing = missing;
    const news = lost - watched.told;
    if (news <= 0 || (waiting > 0 && news <= IN_BETWEEN_MAX)) return;
    watched.told = lost;
    reader.onLoss(news);
  }

  async #counts(
    topic: string,
    channel: string,
  ): Promise<(ChannelCounts & { readonly topicDepth: number }) | undefined> {
    const url = new URL('/stats', this.#base);
    url.search = new URLSearchParams({ format: 'json', include_clients: 'false', topic, channel }).toString();
    const topics = await this.#statistics(url);
    const counts = topics?.[0]?.channels?.find(({ channel_name }) => channel_name === channel);
    return counts && { ...counts, topicDepth: topics?.[0]?.depth ?? 0 };
  }

  async #statistics(url: URL): Promise<Statistics['topics']> {
    const { signal, release } = combineSignals([this.#signal], ANSWER_TIMEOUT_MS);
    try {
      const response = await fetch(url, { signal, redirect: 'error' });
      if (!response.ok) return null;
      return ((await response.json()) as Statistics).topics;
    } finally {
      release();
    }
  }
}

interface Statistics {
  readonly topics: readonly { readonly depth: number; readonly channels: readonly ChannelCounts[] | null }[] | null;
}

interface ChannelCounts {
  readonly channel_name: string;
  /** Of all messages that ever came to the channel. */
  readonly message_count: number;
  readonly depth: number;
  readonly in_flight_count: number;
}
