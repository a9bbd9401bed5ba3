import type { ChannelSink } from './driver.js';

/**
 * Subscriptions whose connection was lost, for drivers whose clients renew them by themselves: the first messages may come
 * before the driver hears that all are renewed. Each is told of its gap once, before anything else.
 */
export class Interruption {
  readonly #sinks = new Set<ChannelSink>();

  /** The connection is lost. */
  begin(sinks: Iterable<ChannelSink>): void {
    for (const sink of sinks) this.#sinks.add(sink);
  }

  /** Call it before each message. */
  tell(sink: ChannelSink): void {
    if (this.#sinks.size > 0 && this.#sinks.delete(sink)) sink.gap({ reason: 'reconnected' });
  }

  forget(sink: ChannelSink): void {
    this.#sinks.delete(sink);
  }

  /** All subscriptions stand again. */
  end(): void {
    for (const sink of this.#sinks) this.tell(sink);
  }
}
