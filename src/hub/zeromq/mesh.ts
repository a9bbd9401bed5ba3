import { setTimeout as sleep } from 'node:timers/promises';
import type { MillraceError } from '../../errors.js';
import { combineSignals } from '../../signals.js';
import type { DriverContext } from '../driver.js';
import {
  controlName,
  controlTopic,
  ZeromqConnection,
  type ZeromqConnectionOptions,
  zeromqError,
} from './connection.js';
import type { MeshEndpoints } from './options.js';
import { type SubscribingSocket, watchLinks, type ZeromqPackage } from './sockets.js';

/** How long a peer may take to answer; one that does not is another kind of program, which never will. */
const ANSWER_TIMEOUT_MS = 500;
/** How long a new hub waits until the peers that it has found have found it. */
const FOUND_TIMEOUT_MS = 1_000;

/** How long an endpoint that is in use is tried again, and how often. */
const BIND_TIMEOUT_MS = 1_000;
const BIND_INTERVAL_MS = 20;

/** One that we subscribe at: a peer, or ourselves. */
interface Link {
  readonly subscriber: SubscribingSocket;
  up: boolean;
  /** Whether it was up before. */
  known: boolean;
  /** Whether it has failed to answer, so that it is no hub but another program. */
  stranger: boolean;
}

/** A hub's place in a mesh: it publishes at its own endpoint, and subscribes at those of all others. */
export class MeshConnection extends ZeromqConnection {
  readonly #endpoints: MeshEndpoints;
  readonly #links = new Set<Link>();
  /** Hubs that subscribe at our endpoint. */
  readonly #hearers = new Set<string>();
  #onHearer: () => void = () => {};
  #probes = 0;
  #opened = false;

  constructor(
    zeromq: ZeromqPackage,
    endpoints: MeshEndpoints,
    options: ZeromqConnectionOptions,
    context: DriverContext,
  ) {
    // One peer that does not read must not keep the others waiting.
    super(zeromq, options, false, context);
    this.#endpoints = endpoints;
  }

  async open(): Promise<void> {
    const { signal } = this.context;
    const onAbort = () => void this.close();
    signal.addEventListener('abort', onAbort, { once: true });
    const { bind, peers } = this.#endpoints;
    const self = `inproc://millrace-${this.hubId}`;
    try {
      signal.throwIfAborted();
      await this.#bind(bind);
      await this.publisher.socket.bind(self);
      this.publisher.listen();
      // What is published here comes back to the subscribers here as to all others.
      const own = this.newSubscriber();
      own.socket.connect(self);
      this.#links.add({ subscriber: own, up: true, known: true, stranger: false });
      await Promise.all(peers.filter((peer) => peer !== bind).map((peer) => this.#connect(peer)));
      await this.#heardBy(await this.#askAll());
      signal.throwIfAborted();
      this.#opened = true;
    } catch (error) {
      await this.close();
      if (signal.aborted) throw signal.reason;
      throw zeromqError(`The ZeroMQ mesh cannot be joined at ${bind}: ${(error as Error).message}.`, error);
    } finally {
      // From here on `close` ends the sockets, with time for what is under way.
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** The endpoint of a hub that was closed a moment ago is free only when libzmq is through with it. */
  async #bind(endpoint: string): Promise<void> {
    for (const deadline = performance.now() + BIND_TIMEOUT_MS; ; await sleep(BIND_INTERVAL_MS)) {
      try {
        return await this.publisher.socket.bind(endpoint);
      } catch (error) {
        const { code } = error as { readonly code?: string };
        if (code !== 'EADDRINUSE' || performance.now() > deadline || this.end.signal.aborted) throw error;
      }
    }
  }

  protected async settle(): Promise<void> {
    await this.#askAll();
    this.end.signal.throwIfAborted();
  }

  /** Hubs answer questions, and remember who listens to them. */
  protected onControlSubscription(topic: Buffer, begins: boolean): void {
    if (begins && controlName(topic, 'probe') !== undefined) this.publisher.publish(topic, this.hubId);
    const hub = controlName(topic, 'hub');
    if (hub === undefined) return;
    if (begins) this.#hearers.add(hub);
    else this.#hearers.delete(hub);
    this.#onHearer();
  }

  /** A mesh has no part that everything goes through, so there is always somebody to publish to: oneself. */
  protected outage(): MillraceError | undefined {
    return undefined;
  }

  /** Connects to a peer; resolves when the first attempt has succeeded or failed. */
  #connect(peer: string): Promise<void> {
    const link: Link = { subscriber: this.newSubscriber(), up: false, known: false, stranger: false };
    this.#links.add(link);
    return new Promise((resolve) => {
      this.end.signal.addEventListener('abort', () => resolve(), { once: true });
      watchLinks(link.subscriber.socket, {
        onUp: () => {
          link.up = true;
          link.stranger = false;
          if (this.#opened) void this.#welcome(link);
          link.known = true;
          resolve();
        },
        onDown: () => {
          link.up = false;
        },
        onFailure: () => resolve(),
      });
      // For ever, by which it knows of us.
      this.follow(link.subscriber, controlTopic(`hub/${this.hubId}`), () => {});
      link.subscriber.socket.connect(peer);
    });
  }

  /** Asks everybody who is there. Returns the hubs that answered. */
  async #askAll(): Promise<Set<string>> {
    const links = [...this.#links].filter((link) => link.up);
    // One that did not answer before is not waited for, but asked: it may be a hub that was very busy.
    for (const link of links.filter(({ stranger }) => stranger)) void this.#ask(link);
    const answers = await Promise.all(links.filter(({ stranger }) => !stranger).map((link) => this.#ask(link)));
    return new Set(answers.filter((hub) => hub !== undefined));
  }

  /**
   * Asks one peer for its id, by subscribing to a topic that is new to it. As it takes subscriptions in their order, its
   * answer tells that it knows of all that were made before. Undefined when it does not answer, or is lost.
   */
  #ask(link: Link): Promise<string | undefined> {
    const { signal } = this.end;
    if (signal.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const finish = (hub?: string) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        leave();
        link.stranger = hub === undefined;
        resolve(hub);
      };
      const onAbort = () => finish();
      const timer = setTimeout(finish, ANSWER_TIMEOUT_MS);
      signal.addEventListener('abort', onAbort, { once: true });
      const topic = controlTopic(`probe/${this.hubId}/${++this.#probes}`);
      const leave = this.follow(link.subscriber, topic, (hub) => finish(hub.toString()));
    });
  }

  /** Waits until these hubs have subscribed here, so that what is published from now on reaches them. */
  async #heardBy(hubs: Set<string>): Promise<void> {
    hubs.delete(this.hubId);
    const allHere = () => [...hubs].every((hub) => this.#hearers.has(hub));
    if (allHere()) return;
    const over = new AbortController();
    this.#onHearer = () => {
      if (allHere()) over.abort();
    };
    // A peer that does not list this hub will never hear it, which may be meant so.
    const { signal, release } = combineSignals([over.signal, this.end.signal]);
    await sleep(FOUND_TIMEOUT_MS, undefined, { signal }).catch(() => {});
    release();
    this.#onHearer = () => {};
  }

  /**
   * A peer is there that was not before. A hub that has just begun waits for us before it publishes, so nothing is
   * missing; of one that was away, and of other programs, something may be.
   */
  async #welcome(link: Link): Promise<void> {
    const returned = link.known;
    const hub = await this.#ask(link);
    if (!this.end.signal.aborted && (returned || hub === undefined)) this.gap();
  }
}
