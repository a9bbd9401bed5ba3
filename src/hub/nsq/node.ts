import { setMaxListeners } from 'node:events';
import type { Message, NSQDConnection, WriterNSQDConnection } from 'nsqjs';
import { MillraceError } from '../../errors.js';
import { hostAndPort, keepOpen, type Link, type NsqShared, nsqError, openLink } from './link.js';
import { LossWatch } from './loss-watch.js';

/** Messages of one turn of the event loop go out as one command; its body stays below nsqd's `--max-body-size`. */
const BATCH_BYTES_MAX = 1024 * 1024;
const BATCH_MESSAGES_MAX = 1024;

/**
 * nsqd holds messages for up to 250 ms to send several at once, unless a reader says in its IDENTIFY that it wants each
 * at once. The package has options for that, and refuses to send them (its list of known keys lacks them); it leaves
 * alone what the object says of itself by `toJSON`.
 */
const READER_IDENTITY = { output_buffer_size: -1 };

interface Batch {
  readonly topic: string;
  readonly messages: Buffer[];
  readonly settle: ((error?: MillraceError) => void)[];
  bytes: number;
}

/** One nsqd: the connection to publish over, kept for as long as the hub lives, and nsqd's clock. */
export class NsqNode {
  readonly address: string;
  /** Aborts when the node is given up. */
  readonly ended: AbortSignal;
  /** Settles with the first attempt to connect: whether it succeeded. */
  readonly tried: Promise<boolean>;
  /** Absent where the address of its HTTP is not known. */
  readonly losses: LossWatch | undefined;
  /** Why the newest attempt to connect failed. */
  failure: unknown;
  readonly #shared: NsqShared;
  readonly #end = new AbortController();
  #writer: WriterNSQDConnection | undefined;
  #batch: Batch | undefined;
  #unanswered = 0;
  #onAnswered: () => void = () => {};
  readonly #clockTopic: string;
  #clock: Promise<Link<NSQDConnection>> | undefined;
  readonly #readings = new Map<string, (time: bigint) => void>();
  #readingCount = 0;

  /** `http`: where it tells its statistics, if that is known. */
  constructor(address: string, http: URL | undefined, shared: NsqShared) {
    this.address = address;
    this.ended = this.#end.signal;
    // Each connection to the node listens to it, so their number is that of the channels.
    setMaxListeners(0, this.ended);
    this.losses = http === undefined ? undefined : new LossWatch(http, this.ended);
    this.#shared = shared;
    this.#clockTopic = `mr-clock-${shared.hubId}#ephemeral`;
    let tried: (up: boolean) => void = () => {};
    this.tried = new Promise((resolve) => {
      tried = resolve;
    });
    void keepOpen(
      async () => {
        const link = await this.connect(this.#newWriter());
        this.#writer = link.connection;
        shared.onRestored(this);
        tried(true);
        void link.lost.then((cause) => {
          this.#writer = undefined;
          if (!this.ended.aborted) shared.onLost(this, this, cause);
        });
        return link;
      },
      this.ended,
      (error) => {
        this.failure = error;
        tried(false);
      },
    );
  }

  /** Whether publishes can go out. */
  get up(): boolean {
    return this.#writer !== undefined;
  }

  /** Opens a connection of any kind to this nsqd. */
  connect<C extends NSQDConnection>(connection: C): Promise<Link<C>> {
    return openLink(connection, this.#shared.connectTimeoutMs, this.ended);
  }

  /** A connection, still to be opened, that reads one NSQ channel of a topic. */
  newReader(topic: string, channel: string): NSQDConnection {
    const [host, port] = hostAndPort(this.address);
    const reader = new this.#shared.client.NSQDConnection(host, port, topic, channel, this.#shared.options);
    const identify = reader.identify();
    reader.identify = () =>
      Object.defineProperty(identify, 'toJSON', { value: () => ({ ...identify, ...READER_IDENTITY }) });
    return reader;
  }

  #newWriter(): WriterNSQDConnection {
    const [host, port] = hostAndPort(this.address);
    return new this.#shared.client.WriterNSQDConnection(host, port, this.#shared.options);
  }

  /** Publishes a message. Those of one turn to one topic go out together; the order is that of the calls. */
  publish(topic: string, payload: Uint8Array): Promise<void> {
    if (this.#writer === undefined) return Promise.reject(nsqError(this.failure));
    const message = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    let batch = this.#batch;
    if (
      batch === undefined ||
      batch.topic !== topic ||
      batch.messages.length === BATCH_MESSAGES_MAX ||
      batch.bytes + message.length > BATCH_BYTES_MAX
    ) {
      if (batch !== undefined) this.#send(batch);
      else queueMicrotask(() => this.flush());
      batch = { topic, messages: [], settle: [], bytes: 0 };
      this.#batch = batch;
    }
    batch.messages.push(message);
    batch.bytes += message.length;
    const { settle } = batch;
    return new Promise((resolve, reject) => {
      settle.push((error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  /** Sends what waits for the end of this turn. */
  flush(): void {
    const batch = this.#batch;
    this.#batch = undefined;
    if (batch !== undefined) this.#send(batch);
  }

  #send({ topic, messages, settle }: Batch): void {
    const settleAll = (error: Error | null) => {
      const failure = error === null ? undefined : nsqError(error);
      for (const each of settle) each(failure);
      if (--this.#unanswered === 0) this.#onAnswered();
    };
    this.#unanswered++;
    if (this.#writer === undefined) settleAll(new Error('the connection was lost'));
    else this.#writer.produceMessages(topic, messages, undefined, settleAll);
  }

  /** Resolves when every publish has its answer. */
  async answered(): Promise<void> {
    this.flush();
    if (this.#unanswered === 0) return;
    await new Promise<void>((resolve) => {
      this.#onAnswered = resolve;
    });
  }

  /**
   * The time by nsqd's own clock at some moment between call and answer, in nanoseconds: that which nsqd stamps on a
   * message that is published now (on a topic of this hub's own, which is gone with it).
   */
  async readClock(): Promise<bigint> {
    this.#clock ??= this.#openClock();
    const { lost } = await this.#clock;
    const key = String(this.#readingCount++);
    const reading = new Promise<bigint>((resolve) => this.#readings.set(key, resolve));
    try {
      await this.publish(this.#clockTopic, Buffer.from(key));
      const time = await Promise.race([reading, lost.then(() => undefined)]);
      if (time === undefined) throw nsqError(undefined);
      return time;
    } finally {
      this.#readings.delete(key);
    }
  }

  async #openClock(): Promise<Link<NSQDConnection>> {
    const forget = () => {
      this.#clock = undefined;
    };
    try {
      const reader = this.newReader(this.#clockTopic, 'clock#ephemeral');
      reader.on('message', (message: Message) => {
        this.#readings.get(message.body.toString())?.(message.timestamp);
        message.finish();
      });
      const link = await this.connect(reader);
      link.connection.setRdy(1);
      void link.lost.then(forget);
      return link;
    } catch (error) {
      forget();
      throw error;
    }
  }

  /** Gives the node up: closes what is open. Publishes without an answer are rejected. */
  close(): void {
    this.#end.abort(new MillraceError('HUB_UNAVAILABLE', 'The connection to nsqd was closed before it answered.'));
    this.#shared.onRestored(this);
  }
}
