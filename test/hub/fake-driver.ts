import type { ChannelSink, Driver, DriverConnection, DriverContext, DriverSubscription } from '../../src/hub/index.js';
import { plainNames } from '../../src/hub/index.js';

/** A driver whose broker is the test itself: it sees every call and decides when and how each is answered. */
export class FakeDriver implements Driver {
  readonly name = 'fake';
  readonly abilities = { ordering: true, replay: false, patterns: true, atLeastOnce: false, maxMessageBytes: 1000 };
  readonly names = plainNames;
  readonly sinks = new Map<string, ChannelSink>();
  readonly published: [channel: string, text: string][] = [];
  /** What the hub asked for, in order. */
  readonly calls: string[] = [];
  context: DriverContext | undefined;
  connects = 0;
  /** Awaited before each answer of that kind; make it reject to refuse. */
  onConnect = async (): Promise<void> => {};
  onPublish = async (): Promise<void> => {};
  onSubscribe = async (): Promise<void> => {};
  onUnsubscribe = async (): Promise<void> => {};
  onClose = async (): Promise<void> => {};

  async connect(context: DriverContext): Promise<DriverConnection> {
    this.connects++;
    this.context = context;
    await this.onConnect();
    return this.connection();
  }

  protected connection(): DriverConnection {
    return {
      publish: async (channel, payload) => {
        this.published.push([channel, Buffer.from(payload).toString()]);
        await this.onPublish();
      },
      subscribe: (channel, sink) => this.#subscribe(channel, sink),
      subscribePattern: (pattern, sink) => this.#subscribe(pattern, sink),
      close: async () => {
        this.calls.push('close');
        await this.onClose();
      },
    };
  }

  /** A message comes in. */
  receive(channel: string, text: string, subscribedAs = channel): void {
    this.sinks.get(subscribedAs)?.message(channel, Buffer.from(text));
  }

  async #subscribe(name: string, sink: ChannelSink): Promise<DriverSubscription> {
    this.calls.push(`subscribe ${name}`);
    await this.onSubscribe();
    this.sinks.set(name, sink);
    return {
      unsubscribe: async () => {
        this.calls.push(`unsubscribe ${name}`);
        this.sinks.delete(name);
        await this.onUnsubscribe();
      },
    };
  }
}

/** One that has a history. Each message says its own id. */
export class ReplayingDriver extends FakeDriver {
  override readonly abilities = {
    ordering: true,
    replay: true,
    patterns: true,
    atLeastOnce: false,
    maxMessageBytes: 1000,
  };
  /** The ids that are kept, by channel. */
  readonly history: Record<string, string[]> = {};
  /** How many spaces come before each message. */
  padding = 0;

  protected override connection(): DriverConnection {
    const kept = (channel: string, after: string) => (this.history[channel] ?? []).filter((id) => id > after);
    return {
      ...super.connection(),
      replay: (channel, after) => this.#replay(kept(channel, after), this.padding),
    };
  }

  async *#replay(ids: readonly string[], padding: number) {
    for (const id of ids) yield { id, payload: Buffer.from(id.padStart(padding)) };
  }
}
