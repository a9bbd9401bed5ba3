import { isMillraceError, MillraceError } from '../errors.js';
import { StoreTime, systemClock } from '../log/clock.js';
import type { ListedStream, Store, StoreChange, StreamLineage } from '../log/index.js';
import { SLICE_BYTES, turnBudget } from '../turn-budget.js';
import { Delivery } from './delivery.js';
import { type Keys, loadKeys } from './keys.js';
import { DEFAULT_SUBSCRIPTION_LIMITS, type SubscriptionLimits } from './limits.js';
import type { Log } from './log.js';
import { checkAcks, requireWake, type WakeName, type WorkReport } from './report.js';
import {
  type ChangeBody,
  configHash,
  keyOf,
  type LinkRecord,
  Subscription,
  type SubscriptionConfig,
  type SubscriptionKey,
} from './subscription.js';
import { SubscriptionTable, subscriptionNotFound } from './table.js';
import { signToken } from './tokens.js';
import { Wakes } from './wakes.js';
import { checkWebhookUrl } from './webhook-url.js';

/** How many streams are looked up at a time: each may have to be read from the disk. */
const SLICE_STREAMS = 32;

export interface SubscriptionManagerOptions extends Partial<SubscriptionLimits> {
  readonly store: Store;
  readonly log: Log;
  /** Whether webhooks may go to `http://localhost` and `http://127.x.x.x`, for development. Default: no. */
  readonly allowLoopback?: boolean;
}

/** The URL of a stream root, as webhooks are to call it. */
export interface PublicRoot {
  readonly url: string;
  /** Whether the server was told its own address; else the client has named it. */
  readonly configured: boolean;
}

/** What a worker gets with its claim. */
export interface Claim extends WakeName {
  readonly token: string;
  readonly subscription: Subscription;
}

/**
 * All subscriptions over one store (Durable Streams, sections 6 and 7). Every change is durable before anything that
 * follows from it leaves the server, and whatever a crash interrupts is taken up again after the restart.
 *
 * Invariants: what happens to one subscription happens in turn; a subscription with pending work has a wake, or is
 * about to get one; whatever belongs to a wake is refused once it is over.
 */
export class SubscriptionManager {
  readonly #store: Store;
  readonly #log: Log;
  readonly #limits: SubscriptionLimits;
  readonly #allowLoopback: boolean;
  readonly #time = new StoreTime(systemClock);
  readonly #table: SubscriptionTable;
  readonly #wakes: Wakes;
  /** Streams that were seen to match a pattern, with their tails, and are not linked yet. */
  readonly #found = new Map<Subscription, Map<string, number>>();
  /** Subscriptions that are about to be looked after. */
  readonly #queued = new Set<Subscription>();
  readonly #creating = new Map<string, Promise<Subscription>>();
  readonly #unobserve: () => void;
  readonly #ready: Promise<void>;
  #keys: Promise<Keys> | undefined;
  #closed = false;

  constructor(options: SubscriptionManagerOptions) {
    const { store, log, allowLoopback = false, ...limits } = options;
    this.#store = store;
    this.#log = log;
    this.#allowLoopback = allowLoopback;
    this.#limits = { ...DEFAULT_SUBSCRIPTION_LIMITS, ...limits };
    this.#table = new SubscriptionTable(store, (gone) => {
      this.#found.delete(gone);
      this.#wakes.forget(gone);
    });
    const { webhookTimeoutMs } = this.#limits;
    const delivery = new Delivery({
      store,
      allowLoopback,
      webhookTimeoutMs,
      keys: () => this.keys(),
      time: this.#time,
    });
    this.#wakes = new Wakes(this.#table, delivery, this.#limits, log, this.#time);
    this.#unobserve = store.observe((change) => this.#onChange(change));
    this.#ready = this.#load();
    // Whoever needs it awaits it; the log has it in any case.
    this.#ready.catch((error) => this.#log.error({ err: error }, 'the subscriptions could not be loaded'));
  }

  /** The secrets, made when they are first needed. Errors: `STORE_*`. */
  keys(): Promise<Keys> {
    this.#keys ??= loadKeys(this.#store).catch((error: unknown) => {
      this.#keys = undefined;
      throw error;
    });
    return this.#keys;
  }

  /**
   * Makes a subscription, or confirms one of the same configuration. Its webhook is told where to call back: below `root`
   * as it was at the creation. Only a server that was told its own address moves it later: a client that repeats the
   * request may name any host, and the tokens would go there.
   * Errors: `SUBSCRIPTION_EXISTS`, `WEBHOOK_URL_REJECTED`, `TOO_MANY_SUBSCRIPTIONS`, `INVALID_REQUEST`, `STORE_*`.
   */
  async create(
    key: SubscriptionKey,
    config: SubscriptionConfig,
    root: PublicRoot,
  ): Promise<{ readonly subscription: Subscription; readonly created: boolean }> {
    await this.#ready;
    if (config.webhookUrl !== undefined) checkWebhookUrl(config.webhookUrl, this.#allowLoopback);
    if (config.wakeStream !== undefined && config.streams.includes(config.wakeStream)) throw wakesItself();
    const name = keyOf(key);
    const existing = this.#table.get(key) ?? this.#creating.get(name);
    if (existing !== undefined) {
      const known = await existing;
      if (configHash(known.config) !== configHash(config)) {
        throw new MillraceError(
          'SUBSCRIPTION_EXISTS',
          'There is a subscription with this id and another configuration: delete it first, or use another id.',
        );
      }
      if (root.configured && known.rootUrl !== root.url) {
        await this.#table.inTurn(known, () => this.#table.commit(known, [{ kind: 'moved', rootUrl: root.url }]));
      }
      return { subscription: known, created: false };
    }
    const creation = this.#make(key, config, root.url);
    this.#creating.set(name, creation);
    try {
      return { subscription: await creation, created: true };
    } finally {
      this.#creating.delete(name);
    }
  }

  /** Errors: `SUBSCRIPTION_NOT_FOUND`. */
  async get(key: SubscriptionKey): Promise<Subscription> {
    await this.#ready;
    const subscription = this.#table.get(key);
    if (subscription === undefined) throw subscriptionNotFound();
    return subscription;
  }

  /** Errors: `SUBSCRIPTION_NOT_FOUND`, `STORE_*`. */
  async delete(key: SubscriptionKey): Promise<void> {
    const subscription = await this.get(key);
    await this.#table.inTurn(subscription, () => this.#table.commit(subscription, [{ kind: 'deleted' }]));
  }

  /** Adds explicit links, each at its stream's tail. Errors: `SUBSCRIPTION_NOT_FOUND`, `INVALID_REQUEST`, `STORE_*`. */
  async addStreams(key: SubscriptionKey, paths: readonly string[]): Promise<void> {
    const subscription = await this.get(key);
    await this.#table.inTurn(subscription, async () => {
      const added = [...new Set(paths)].filter((path) => subscription.links.get(path)?.explicit !== true);
      if (added.some((path) => path === subscription.config.wakeStream)) throw wakesItself();
      this.#checkLinks(subscription.links.size + added.length);
      if (added.length === 0) return;
      const links = await inSlices(added, async (path): Promise<LinkRecord> => {
        const link = subscription.links.get(path);
        const acked = link?.acked ?? (await this.#lookUp(key.root + path)).tail;
        return { path, explicit: true, glob: link?.glob ?? subscription.matches(path), acked };
      });
      await this.#table.commit(subscription, [{ kind: 'linked', links }]);
      await inSlices(links, ({ path }) => this.#refresh(subscription, path));
      await this.#wakes.wakeIfPending(subscription);
    });
  }

  /** Takes an explicit link away; what the pattern takes in stays. Errors: `SUBSCRIPTION_NOT_FOUND`, `STORE_*`. */
  async removeStream(key: SubscriptionKey, path: string): Promise<void> {
    const subscription = await this.get(key);
    await this.#table.inTurn(subscription, async () => {
      const link = subscription.links.get(path);
      if (link?.explicit !== true) return;
      const { acked } = link;
      const kept: ChangeBody = { kind: 'linked', links: [{ path, explicit: false, glob: true, acked }] };
      await this.#table.commit(subscription, [link.glob ? kept : { kind: 'unlinked', paths: [path] }]);
    });
  }

  /** Claims the present wake. Errors: `ALREADY_CLAIMED`, `NO_PENDING_WORK`, `INVALID_REQUEST`, `STORE_*`. */
  async claim(key: SubscriptionKey, worker: string): Promise<Claim> {
    const subscription = await this.get(key);
    requireType(subscription, 'pull-wake');
    const { tokenSecret } = await this.keys();
    return this.#table.inTurn(subscription, async () => {
      const { wake } = subscription;
      if (wake?.holder !== undefined) {
        throw new MillraceError('ALREADY_CLAIMED', 'Another worker has the wake: wait for the next one.', {
          current_holder: wake.holder,
          generation: wake.generation,
        });
      }
      if (wake === undefined) {
        throw new MillraceError('NO_PENDING_WORK', 'There is nothing to do: wait for an event on the wake stream.');
      }
      const leaseUntilMs = this.#time.nowMs + subscription.config.leaseTtlMs;
      const changes: ChangeBody[] = [{ kind: 'leased', holder: worker, leaseUntilMs }];
      // Somebody came, so whatever was wrong with the announcement does not matter any more.
      if (subscription.failures > 0) changes.push({ kind: 'delivered' });
      await this.#table.commit(subscription, changes);
      this.#wakes.setTimer(subscription);
      const token = signToken(tokenSecret, { sub: keyOf(key), gen: wake.generation }, this.#time.nowMs);
      return { wakeId: wake.id, generation: wake.generation, token, subscription };
    });
  }

  /**
   * Takes a worker's report: acks, and either more time or the end of the wake. Answers whether there is another wake.
   * Errors: `TOKEN_INVALID`, `TOKEN_EXPIRED`, `FENCED`, `INVALID_ACK`, `INVALID_REQUEST`, `STORE_*`.
   */
  async report(
    key: SubscriptionKey,
    type: SubscriptionConfig['type'],
    token: string | undefined,
    report: WorkReport,
  ): Promise<boolean> {
    const subscription = await this.get(key);
    requireType(subscription, type);
    const { tokenSecret } = await this.keys();
    return this.#table.inTurn(subscription, async () => {
      requireWake(subscription, tokenSecret, token, report, this.#time.nowMs);
      const changes: ChangeBody[] = [{ kind: 'acked', acks: checkAcks(subscription, report.acks) }];
      const leaseUntilMs = this.#time.nowMs + subscription.config.leaseTtlMs;
      changes.push(report.done ? { kind: 'rested' } : { kind: 'leased', leaseUntilMs });
      await this.#table.commit(subscription, changes);
      this.#wakes.setTimer(subscription);
      if (!report.done) return false;
      await this.#wakes.wakeIfPending(subscription);
      return subscription.wake !== undefined;
    });
  }

  /** Gives a claimed wake back. Errors: as {@link report}. */
  async release(key: SubscriptionKey, token: string | undefined, name: WakeName): Promise<void> {
    const subscription = await this.get(key);
    requireType(subscription, 'pull-wake');
    const { tokenSecret } = await this.keys();
    await this.#table.inTurn(subscription, async () => {
      requireWake(subscription, tokenSecret, token, name, this.#time.nowMs);
      await this.#table.commit(subscription, [{ kind: 'rested' }]);
      this.#wakes.setTimer(subscription);
      await this.#wakes.wakeIfPending(subscription);
    });
  }

  /** Stops timers and deliveries. What they were for is taken up by the next manager over the store. */
  close(): void {
    this.#closed = true;
    this.#unobserve();
    this.#wakes.close();
  }

  async #load(): Promise<void> {
    await this.#table.load();
    for (const subscription of this.#table.values()) {
      await this.#refreshAll(subscription);
      // Streams that came and were never seen.
      if (subscription.hasPattern) await this.#discoverAll(subscription);
    }
    for (const subscription of this.#table.values()) {
      this.#look(subscription);
      this.#wakes.resume(subscription);
    }
  }

  async #make(key: SubscriptionKey, config: SubscriptionConfig, rootUrl: string): Promise<Subscription> {
    const { subscriptionsMax } = this.#limits;
    if (this.#table.size + this.#creating.size >= subscriptionsMax) {
      throw new MillraceError(
        'TOO_MANY_SUBSCRIPTIONS',
        `There are ${subscriptionsMax} subscriptions, as many as may be: delete one first.`,
        { subscriptionsMax },
      );
    }
    const created = { kind: 'created', config, rootUrl, createdAtMs: Date.now() } as const;
    const draft = new Subscription({ ...key, ...created, links: [] });
    const links = new Map<string, LinkRecord>();
    const lineages = new Map<string, StreamLineage | undefined>();
    const found = await inSlices(config.streams, (path) => this.#lookUp(key.root + path));
    for (const [at, path] of config.streams.entries()) {
      const { tail = 0, lineage } = found[at] ?? {};
      links.set(path, { path, explicit: true, glob: draft.matches(path), acked: tail });
      lineages.set(path, lineage);
    }
    if (draft.hasPattern) {
      await this.#forEachStream(key.root, (path, { id, tail, ...stream }) => {
        if (links.has(path) || !draft.matches(path)) return;
        links.set(path, { path, explicit: false, glob: true, acked: tail });
        if (id !== undefined) lineages.set(path, { ...stream, id });
      });
    }
    this.#checkLinks(links.size);
    const subscription = await this.#table.create(key, { ...created, links: [...links.values()] });
    for (const link of subscription.links.values()) link.lineage ??= lineages.get(link.path);
    // What was appended meanwhile was not observed: the subscription was not there yet.
    this.#table
      .inTurn(subscription, async () => {
        await this.#refreshAll(subscription);
        if (subscription.hasPattern) await this.#discoverAll(subscription);
        this.#look(subscription);
      })
      .catch((error: unknown) => this.#wakes.fail(error));
    return subscription;
  }

  /** Told of every commit of the store: must be quick. */
  #onChange({ path, kind, tail, lineage }: StoreChange): void {
    if (this.#table.size === 0 || path.startsWith('__ds/')) return;
    if (kind === 'deleted') {
      for (const subscription of this.#table.index.of(path)) this.#onDeleted(subscription, path);
      return;
    }
    for (const subscription of this.#table.index.of(path)) {
      const link = subscription.links.get(path.slice(subscription.key.root.length));
      if (link === undefined) continue;
      link.lineage = lineage;
      if (tail <= link.tail) continue;
      link.tail = tail;
      this.#look(subscription);
    }
    for (const subscription of this.#table.index.patterns) {
      const { root } = subscription.key;
      if (path.startsWith(root)) this.#discover(subscription, path.slice(root.length), tail);
    }
    if (kind === 'created') this.#onWakeStream(path);
  }

  /** Notes a stream that a pattern takes in and that is not linked yet. An empty one can wait for its first append. */
  #discover(subscription: Subscription, path: string, tail: number): void {
    if (tail === 0 || subscription.links.has(path) || !subscription.matches(path)) return;
    const found = this.#found.get(subscription);
    if (found === undefined) this.#found.set(subscription, new Map([[path, tail]]));
    else found.set(path, tail);
    this.#look(subscription);
  }

  async #discoverAll(subscription: Subscription): Promise<void> {
    await this.#forEachStream(subscription.key.root, (path, { tail }) => this.#discover(subscription, path, tail));
  }

  #onDeleted(subscription: Subscription, storePath: string): void {
    const path = storePath.slice(subscription.key.root.length);
    this.#found.get(subscription)?.delete(path);
    const link = subscription.links.get(path);
    if (link === undefined) return;
    // Another stream may follow at the path: its tail is not to be measured by this one's.
    link.tail = 0;
    link.lineage = undefined;
    this.#table
      .inTurn(subscription, async () => {
        const { explicit, glob } = link;
        const changes: ChangeBody[] = [{ kind: 'unlinked', paths: [path] }];
        // Asked for by name: it stays, and begins anew with the next stream of the name.
        if (explicit) changes.push({ kind: 'linked', links: [{ path, explicit, glob, acked: 0 }] });
        await this.#table.commit(subscription, changes);
        const tail = await this.#refresh(subscription, path);
        this.#discover(subscription, path, tail);
        this.#look(subscription);
      })
      .catch((error: unknown) => this.#wakes.fail(error));
  }

  /**
   * A wake stream has come into being: announce what could not be announced without it, and what was announced on one
   * that was at its place before.
   */
  #onWakeStream(path: string): void {
    for (const subscription of this.#table.values()) {
      const { key, config, wake } = subscription;
      if (config.wakeStream === undefined || key.root + config.wakeStream !== path) continue;
      if (wake !== undefined && wake.holder === undefined) this.#wakes.deliver(subscription);
    }
  }

  /** Looks after a subscription in its turn: links what was found, and wakes somebody if there is work. */
  #look(subscription: Subscription): void {
    if (this.#closed || this.#queued.has(subscription)) return;
    if (!this.#found.has(subscription) && subscription.wake !== undefined) return;
    this.#queued.add(subscription);
    this.#table
      .inTurn(subscription, async () => {
        this.#queued.delete(subscription);
        await this.#linkFound(subscription);
        await this.#wakes.wakeIfPending(subscription);
      })
      .catch((error: unknown) => {
        this.#queued.delete(subscription);
        this.#wakes.fail(error);
      });
  }

  async #linkFound(subscription: Subscription): Promise<void> {
    const found = this.#found.get(subscription);
    if (found === undefined) return;
    this.#found.delete(subscription);
    const room = Math.max(0, this.#limits.linksMax - subscription.links.size);
    const paths = [...found.keys()].filter((path) => !subscription.links.has(path));
    if (paths.length > room) {
      this.#log.warn(
        { id: subscription.key.id, linksMax: this.#limits.linksMax },
        'a subscription has no room for more',
      );
    }
    // Linked before the append that made it known (section 6.2).
    const links = paths.slice(0, room).map((path) => ({ path, explicit: false, glob: true, acked: 0 }));
    if (links.length > 0) await this.#table.commit(subscription, [{ kind: 'linked', links }]);
    await inSlices(links, ({ path }) => this.#refresh(subscription, path));
  }

  /** Looks up the tail of a linked stream. Only forward: what was observed meanwhile is newer. */
  async #refresh(subscription: Subscription, path: string): Promise<number> {
    const { tail, lineage } = await this.#lookUp(subscription.key.root + path);
    const link = subscription.links.get(path);
    if (link === undefined) return tail;
    link.tail = Math.max(link.tail, tail);
    link.lineage ??= lineage;
    return tail;
  }

  async #refreshAll(subscription: Subscription): Promise<void> {
    await inSlices([...subscription.links.keys()], (path) => this.#refresh(subscription, path));
  }

  /** The tail of a stream, and whose it is; 0 and nobody's where there is none. */
  async #lookUp(path: string): Promise<{ readonly tail: number; readonly lineage: StreamLineage | undefined }> {
    try {
      const info = await this.#store.stat(path);
      return { tail: info.tail, lineage: info };
    } catch (error) {
      if (isMillraceError(error, 'STREAM_NOT_FOUND') || isMillraceError(error, 'STREAM_GONE')) {
        return { tail: 0, lineage: undefined };
      }
      throw error;
    }
  }

  async #forEachStream(root: string, visit: (path: string, stream: ListedStream) => void): Promise<void> {
    let after: string | undefined;
    do {
      const page = await this.#store.list({ prefix: root, ...(after === undefined ? {} : { after }) });
      for (const stream of page.streams) {
        if (!stream.path.startsWith('__ds/')) visit(stream.path.slice(root.length), stream);
      }
      after = page.next;
    } while (after !== undefined);
  }

  #checkLinks(count: number): void {
    const { linksMax } = this.#limits;
    if (count <= linksMax) return;
    throw new MillraceError('INVALID_REQUEST', `A subscription may have at most ${linksMax} streams.`, { linksMax });
  }
}

/** Each of its wakes would be an event of its own stream, and so cause the next. */
function wakesItself(): MillraceError {
  return new MillraceError('INVALID_REQUEST', 'A subscription cannot follow its own wake stream: leave it out.');
}

function requireType({ config }: Subscription, type: SubscriptionConfig['type']): void {
  if (config.type === type) return;
  throw new MillraceError('INVALID_REQUEST', `The subscription's type is ${config.type}: this needs ${type}.`);
}

/**
 * Does something for each of what may be thousands, a slice at a time, so that others have their turn in between. Those of
 * a slice at once: what nobody has looked at before then shares a commit.
 */
async function inSlices<T, R>(items: readonly T[], look: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < items.length; at += SLICE_STREAMS) {
    if (at > 0) await turnBudget.take(SLICE_BYTES);
    results.push(...(await Promise.all(items.slice(at, at + SLICE_STREAMS).map(look))));
  }
  return results;
}
