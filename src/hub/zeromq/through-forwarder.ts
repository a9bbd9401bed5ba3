import { setTimeout as sleep } from 'node:timers/promises';
import { MillraceError } from '../../errors.js';
import { combineSignals } from '../../signals.js';
import type { DriverContext } from '../driver.js';
import { controlTopic, ZeromqConnection, type ZeromqConnectionOptions, zeromqError } from './connection.js';
import type { ForwarderEndpoints } from './options.js';
import { type SubscribingSocket, watchLinks, type ZeromqPackage } from './sockets.js';

/** How often a question is asked again that the forwarder did not hear yet. */
const PROBE_INTERVAL_MS = 10;

/** A hub's connection to a forwarder: publishes to its one end, subscribes at its other. */
export class ForwarderConnection extends ZeromqConnection {
  readonly #endpoints: ForwarderEndpoints;
  readonly #subscriber: SubscribingSocket;
  readonly #up = { publisher: false, subscriber: false };
  #opened = false;
  #outage: MillraceError | undefined;
  /** Aborts when the connection is lost. */
  #link = new AbortController();
  #probes = 0;
  #comingBack = false;
  #onRefused: (error: MillraceError) => void = () => {};

  constructor(
    zeromq: ZeromqPackage,
    endpoints: ForwarderEndpoints,
    options: ZeromqConnectionOptions,
    context: DriverContext,
  ) {
    // The forwarder is the only one to send to: when it cannot take more, publishing waits.
    super(zeromq, options, true, context);
    this.#endpoints = endpoints;
    this.#subscriber = this.newSubscriber();
    const sides = [
      ['publisher', this.publisher.socket],
      ['subscriber', this.#subscriber.socket],
    ] as const;
    for (const [side, socket] of sides) {
      watchLinks(socket, {
        onUp: () => {
          this.#up[side] = true;
          if (this.#opened && this.#up.publisher && this.#up.subscriber) void this.#comeBack();
        },
        onDown: () => {
          this.#up[side] = false;
          this.#lose();
        },
        onFailure: (endpoint, cause) => this.#onRefused(refused(endpoint, cause)),
      });
    }
  }

  async open(): Promise<void> {
    const { signal } = this.context;
    const onAbort = () => void this.close();
    signal.addEventListener('abort', onAbort, { once: true });
    const failed = new Promise<never>((_, reject) => {
      this.#onRefused = reject;
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    failed.catch(() => {});
    try {
      signal.throwIfAborted();
      this.publisher.listen();
      this.publisher.socket.connect(this.#endpoints.publish);
      this.#subscriber.socket.connect(this.#endpoints.subscribe);
      await Promise.race([this.settle(), failed]);
      this.#opened = true;
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      this.#onRefused = () => {};
      // From here on `close` ends the sockets, with time for what is under way.
      signal.removeEventListener('abort', onAbort);
    }
  }

  /**
   * Subscriptions of one socket take effect in their order. So when a question on a topic that was subscribed last comes
   * back through the forwarder, all of them are in effect there, and publishing goes through too.
   */
  protected async settle(): Promise<void> {
    const topic = controlTopic(`probe/${this.hubId}/${++this.#probes}`);
    const answered = new AbortController();
    const { signal, release } = combineSignals([this.end.signal, this.#link.signal, answered.signal]);
    const leave = this.follow(this.#subscriber, topic, () => answered.abort());
    try {
      while (!answered.signal.aborted) {
        signal.throwIfAborted();
        this.publisher.publish(topic, '');
        await sleep(PROBE_INTERVAL_MS, undefined, { signal }).catch(() => {});
      }
    } finally {
      release();
      leave();
    }
  }

  protected onControlSubscription(): void {
    // The forwarder answers questions by sending them back; nobody else is there.
  }

  protected outage(): MillraceError | undefined {
    return this.#outage;
  }

  #lose(): void {
    if (!this.#opened || this.#outage !== undefined || this.end.signal.aborted) return;
    this.#outage = zeromqError('The connection to the ZeroMQ forwarder is lost.');
    this.#link.abort(this.#outage);
    this.failPublishes(this.#outage);
    this.publisher.clear();
    this.context.onStatus('reconnecting', this.#outage);
  }

  async #comeBack(): Promise<void> {
    if (this.#outage === undefined || this.#comingBack) return;
    this.#comingBack = true;
    this.#link = new AbortController();
    try {
      // Also when the connection is lost again meanwhile: it asks until there is an answer.
      await this.settle();
      this.#outage = undefined;
      this.gap();
      this.context.onStatus('connected');
    } catch {
      // The hub was closed.
    } finally {
      this.#comingBack = false;
    }
  }
}

function refused(endpoint: string, cause: unknown): MillraceError {
  const text = cause instanceof Error ? `: ${cause.message}` : '';
  // ZAP answers 400 to wrong credentials.
  if ((cause as { status?: unknown } | undefined)?.status === 400) {
    return new MillraceError(
      'HUB_UNAUTHORIZED',
      `The ZeroMQ forwarder at ${endpoint} refused the credentials.`,
      {},
      { cause },
    );
  }
  return zeromqError(`No ZeroMQ forwarder answers at ${endpoint}${text}.`, cause);
}
