import { randomBytes } from 'node:crypto';
import { MillraceError } from '../errors.js';
import type { Store, StoreChange } from '../log/index.js';
import { ChangeLog } from './change-log.js';
import { Delivery, type DeliveryOutcome } from './delivery.js';
import { type Keys, loadKeys } from './keys.js';
import { DEFAULT_SUBSCRIPTION_LIMITS, type SubscriptionLimits } from './limits.js';
import { LinkIndex } from './link-index.js';
import {
  type Change,
  type ChangeBody,
  configHash,
  isPending,
  keyOf,
  type LinkRecord,
  Subscription,
  type SubscriptionConfig,
  type SubscriptionKey,
} from './subscription.js';
import { invalidToken, signToken, verifyToken } from './tokens.js';
import { checkWebhookUrl } from './webhook-url.js';

/** The part of a pino logger that is used here. */
export interface Log {
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface SubscriptionManagerOptions extends Partial<SubscriptionLimits> {
  readonly store: Store;
  readonly log: Log;
  /** Whether webhooks may go to `http://localhost` and `http://127.x.x.x`, for development. Default: no. */
  readonly allowLoopback?: boolean;
}

/** What a worker says about its wake: which one, what it has done, and whether that was all. */
export interface WorkReport {
  readonly wakeId: string;
  readonly generation: number;
  readonly acks: readonly { readonly path: string; readonly offset: number }[];
  readonly done: boolean;
}

/** What a worker gets with its claim. */
export interface Claim {
  readonly wakeId: string;
  readonly generation: number;
  readonly token: string;
}

/** How long an operation on one subscription may wait for the ones before it does not need a limit: each is one commit. */
type Task = () => Promise<void>;

/**
 * All subscriptions over one store (Durable Streams, sections 6 and 7). Every change is durable before anything that
 * follows from it leaves the server, and whatever a crash interrupts is taken up again after the restart.
 *
 * Invariants: what happens to one subscription happens in turn (`#inTurn`); a subscription with pending work has a
 * wake, or is about to get one; whatever belongs to a wake is refused once another one has begun.
 */
export class SubscriptionManager {
  readonly #store: Store;
  readonly #log: Log;
  readonly #limits: SubscriptionLimits;
  readonly #allowLoopback: boolean;
  readonly #changes: ChangeLog;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #index = new LinkIndex();
  readonly #turns = new WeakMap<Subscription, Promise<void>>();
  readonly #timers = new Map<Subscription, NodeJS.Timeout>();
  /** Streams that were seen to match, and are not linked yet. */
  readonly #found = new Map<Subscription, Map<string, number>>();
  readonly #queued = new WeakSet<Subscription>();
  readonly #delivery: Delivery;
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
    this.#changes = new ChangeLog(store, () => [...this.#subscriptions.values()].flatMap((each) => each.snapshot()));
    this.#delivery = new Delivery({ store, allowLoopback, webhookTimeoutMs: this.#limits.webhookTimeoutMs });
    this.#unobserve = store.observe((change) => this.#onChange(change));
    this.#ready = this.#load();
    // Whoever needs it awaits it; a failure nobody asked about is logged.
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
   * Makes a subscription, or confirms one of the same configuration.
   * Errors: `SUBSCRIPTION_EXISTS`, `WEBHOOK_URL_REJECTED`, `TOO_MANY_SUBSCRIPTIONS`, `INVALID_REQUEST`, `STORE_*`.
   */
  async create(
    key: SubscriptionKey,
    config: SubscriptionConfig,
    rootUrl: string,
  ): Promise<{ subscription: Subscription; created: boolean }> {
    await this.#ready;
    if (config.webhookUrl !== undefined) checkWebhookUrl(config.webhookUrl, this.#allowLoopback);
    const known = this.#subscriptions.get(keyOf(key)) ?? (await this.#make(key, config, rootUrl));
    if (known === undefined) {
      return { subscription: this.#subscriptions.get(keyOf(key)) as Subscription, created: true };
    }
    if (configHash(known.config) !== configHash(config)) {
      throw new MillraceError(
        'SUBSCRIPTION_EXISTS',
        'There is a subscription with this id and another configuration: delete it first, or use another id.',
      );
    }
    if (known.rootUrl !== rootUrl) await this.#commit(known, [{ kind: 'moved', rootUrl }]);
    return { subscription: known, created: false };
  }

  /** Errors: `SUBSCRIPTION_NOT_FOUND`. */
  async get(key: SubscriptionKey): Promise<Subscription> {
    await this.#ready;
    const subscription = this.#subscriptions.get(keyOf(key));
    if (subscription === undefined) throw notFound();
    return subscription;
  }

  /** Errors: `SUBSCRIPTION_NOT_FOUND`, `STORE_*`. */
  async delete(key: SubscriptionKey): Promise<void> {
    const subscription = await this.get(key);
    await this.#inTurn(subscription, () => this.#commit(subscription, [{ kind: 'deleted' }]));
  }

  /** Adds explicit links, each at its stream's tail. Errors: `SUBSCRIPTION_NOT_FOUND`, `INVALID_REQUEST`, `STORE_*`. */
  async addStreams(key: SubscriptionKey, paths: readonly string[]): Promise<void> {
    const subscription = await this.get(key);
    await this.#inTurn(subscription, async () => {
      const links: LinkRecord[] = [];
      for (const path of new Set(paths)) {
        const link = subscription.links.get(path);
        if (link?.explicit === true) continue;
        const acked = link?.acked ?? (await this.#tailOf(key.root + path));
        links.push({ path, explicit: true, glob: link?.glob ?? subscription.matches(path), acked });
      }
      if (subscription.links.size + links.length > this.#limits.linksMax) throw tooManyLinks(this.#limits.linksMax);
      if (links.length > 0) await this.#commit(subscription, [{ kind: 'linked', links }]);
      this.#look(subscription);
    });
  }

  /** Takes an explicit link away; what the pattern takes in stays. Errors: `SUBSCRIPTION_NOT_FOUND`, `STORE_*`. */
  async removeStream(key: SubscriptionKey, path: string): Promise<void> {
    const subscription = await this.get(key);
    await this.#inTurn(subscription, async () => {
      const link = subscription.links.get(path);
      if (link?.explicit !== true) return;
      const { acked } = link;
      await this.#commit(subscription, [
        link.glob
          ? { kind: 'linked', links: [{ path, explicit: false, glob: true, acked }] }
          : { kind: 'unlinked', paths: [path] },
      ]);
    });
  }

  /** Claims the present wake. Errors: `ALREADY_CLAIMED`, `NO_PENDING_WORK`, `INVALID_REQUEST`, `STORE_*`. */
  async claim(key: SubscriptionKey, worker: string): Promise<Claim & { readonly subscription: Subscription }> {
    const subscription = await this.get(key);
    requireType(subscription, 'pull-wake');
    const { tokenSecret } = await this.keys();
    return this.#inTurn(subscription, async () => {
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
      const leaseUntilMs = Date.now() + subscription.config.leaseTtlMs;
      const claimed: ChangeBody[] = [{ kind: 'leased', holder: worker, leaseUntilMs }];
      // Somebody came, so whatever was wrong with the announcement does not matter any more.
      if (subscription.failures > 0) claimed.push({ kind: 'delivered' });
      await this.#commit(subscription, claimed);
      const token = signToken(tokenSecret, { sub: keyOf(key), gen: wake.generation });
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
    return this.#inTurn(subscription, async () => {
      requireWake(subscription, tokenSecret, token, report);
      const changes: ChangeBody[] = [];
      const acks = checkAcks(subscription, report.acks);
      if (report.acks.length > 0) changes.push({ kind: 'acked', acks });
      if (report.done) changes.push({ kind: 'rested' });
      else changes.push({ kind: 'leased', leaseUntilMs: Date.now() + subscription.config.leaseTtlMs });
      await this.#commit(subscription, changes);
      if (!report.done) return false;
      await this.#wakeIfPending(subscription);
      return subscription.wake !== undefined;
    });
  }

  /** Gives a claimed wake back. Errors: as {@link report}. */
  async release(
    key: SubscriptionKey,
    token: string | undefined,
    wake: Pick<WorkReport, 'wakeId' | 'generation'>,
  ): Promise<void> {
    const subscription = await this.get(key);
    requireType(subscription, 'pull-wake');
    const { tokenSecret } = await this.keys();
    await this.#inTurn(subscription, async () => {
      requireWake(subscription, tokenSecret, token, wake);
      await this.#commit(subscription, [{ kind: 'rested' }]);
      await this.#wakeIfPending(subscription);
    });
  }

  /** Stops timers and deliveries. What they were for is taken up by the next manager over the store. */
  close(): void {
    this.#closed = true;
    this.#unobserve();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#delivery.close();
  }

  async #load(): Promise<void> {
    await this.#changes.load((change) => this.#apply(change));
    if (this.#subscriptions.size === 0) return;
    for (const subscription of this.#subscriptions.values()) {
      for (const link of subscription.links.values()) link.tail = await this.#tailOf(subscription.key.root + link.path);
    }
    // Streams that were appended to after the last change was written, and streams that came and were never seen.
    for (const root of new Set([...this.#subscriptions.values()].filter((s) => s.hasPattern).map((s) => s.key.root))) {
      await this.#forEachStream(root, (path, tail) => this.#discover(root + path, tail));
    }
    for (const subscription of this.#subscriptions.values()) {
      this.#look(subscription);
      this.#resume(subscription);
    }
  }

  /** After a restart: goes on with what was under way. */
  #resume(subscription: Subscription): void {
    const { wake, config } = subscription;
    const waits = wake?.leaseUntilMs !== undefined || subscription.nextAttemptAtMs !== undefined;
    if (waits) this.#setTimer(subscription);
    // A pull-wake whose announcement may not have got out: say it again, workers race for it anyway.
    else if (config.type === 'pull-wake') this.#deliver(subscription);
  }

  async #make(key: SubscriptionKey, config: SubscriptionConfig, rootUrl: string): Promise<Subscription | undefined> {
    if (this.#subscriptions.size >= this.#limits.subscriptionsMax) {
      throw new MillraceError(
        'TOO_MANY_SUBSCRIPTIONS',
        `There are ${this.#limits.subscriptionsMax} subscriptions, as many as may be: delete one first.`,
        { subscriptionsMax: this.#limits.subscriptionsMax },
      );
    }
    const created = { ...key, kind: 'created', config, rootUrl, createdAtMs: Date.now() } as const;
    const draft = new Subscription({ ...created, links: [] });
    const links = new Map<string, LinkRecord>();
    for (const path of config.streams) {
      links.set(path, { path, explicit: true, glob: draft.matches(path), acked: await this.#tailOf(key.root + path) });
    }
    if (draft.hasPattern) {
      await this.#forEachStream(key.root, (path, tail) => {
        if (!links.has(path) && draft.matches(path))
          links.set(path, { path, explicit: false, glob: true, acked: tail });
      });
    }
    if (links.size > this.#limits.linksMax) throw tooManyLinks(this.#limits.linksMax);
    const known = this.#subscriptions.get(keyOf(key));
    if (known !== undefined) return known;
    const name = keyOf(key);
    const pending = this.#creating.get(name);
    if (pending !== undefined) {
      await pending;
      return this.#subscriptions.get(name);
    }
    const creation = this.#changes.append([{ ...created, links: [...links.values()] }], (change) =>
      this.#apply(change),
    );
    this.#creating.set(name, creation);
    try {
      await creation;
    } finally {
      this.#creating.delete(name);
    }
    return undefined;
  }

  readonly #creating = new Map<string, Promise<void>>();

  /** Told of every commit of the store: must be quick. */
  #onChange({ path, kind, tail }: StoreChange): void {
    if (this.#subscriptions.size === 0 || path.startsWith('__ds/')) return;
    if (kind === 'deleted') {
      for (const subscription of this.#index.of(path)) this.#onDeleted(subscription, path);
      return;
    }
    for (const subscription of this.#index.of(path)) {
      const link = subscription.links.get(path.slice(subscription.key.root.length));
      if (link === undefined || tail <= link.tail) continue;
      link.tail = tail;
      this.#look(subscription);
    }
    this.#discover(path, tail);
    if (kind === 'created') this.#onWakeStream(path);
  }

  /** Notes subscriptions whose pattern takes in a stream that they do not know yet. */
  #discover(path: string, tail: number): void {
    if (tail === 0) return;
    for (const subscription of this.#index.patterns) {
      const { root } = subscription.key;
      if (!path.startsWith(root)) continue;
      const relative = path.slice(root.length);
      if (subscription.links.has(relative) || !subscription.matches(relative)) continue;
      let found = this.#found.get(subscription);
      if (found === undefined) {
        found = new Map();
        this.#found.set(subscription, found);
      }
      found.set(relative, tail);
      this.#look(subscription);
    }
  }

  #onDeleted(subscription: Subscription, path: string): void {
    const relative = path.slice(subscription.key.root.length);
    this.#found.get(subscription)?.delete(relative);
    const link = subscription.links.get(relative);
    if (link === undefined) return;
    link.tail = 0;
    void this.#inTurn(subscription, async () => {
      const { explicit, glob } = link;
      await this.#commit(subscription, [
        { kind: 'unlinked', paths: [relative] },
        // Asked for by name: it stays, and begins anew with the next stream of the name.
        ...(explicit ? [{ kind: 'linked', links: [{ path: relative, explicit, glob, acked: 0 }] } as const] : []),
      ]);
      const renewed = subscription.links.get(relative);
      if (renewed !== undefined) renewed.tail = await this.#tailOf(path);
      this.#look(subscription);
    }).catch((error: unknown) => this.#fail(error));
  }

  /** A wake stream has come into being: announce what could not be announced without it. */
  #onWakeStream(path: string): void {
    for (const subscription of this.#subscriptions.values()) {
      const { key, config, failures, wake } = subscription;
      if (config.wakeStream === undefined || key.root + config.wakeStream !== path) continue;
      if (failures > 0 && wake !== undefined && wake.holder === undefined) this.#deliver(subscription);
    }
  }

  /** Looks after a subscription in its turn: links what was found, and wakes somebody if there is work. */
  #look(subscription: Subscription): void {
    if (this.#closed || this.#queued.has(subscription)) return;
    if (this.#found.get(subscription) === undefined && subscription.wake !== undefined) return;
    this.#queued.add(subscription);
    void this.#inTurn(subscription, async () => {
      this.#queued.delete(subscription);
      await this.#linkFound(subscription);
      await this.#wakeIfPending(subscription);
    }).catch((error: unknown) => this.#fail(error));
  }

  async #linkFound(subscription: Subscription): Promise<void> {
    const found = this.#found.get(subscription);
    if (found === undefined) return;
    this.#found.delete(subscription);
    let room = this.#limits.linksMax - subscription.links.size;
    const links = [...found.keys()]
      .filter((path) => !subscription.links.has(path) && room-- > 0)
      // Linked before the append that made it known (section 6.2).
      .map((path) => ({ path, explicit: false, glob: true, acked: 0 }));
    if (room < 0) this.#log.warn({ id: subscription.key.id }, 'a subscription has all the streams it may have');
    if (links.length > 0) await this.#commit(subscription, [{ kind: 'linked', links }]);
    for (const [path, tail] of found) {
      const link = subscription.links.get(path);
      if (link !== undefined) link.tail = Math.max(link.tail, tail);
    }
  }

  async #wakeIfPending(subscription: Subscription): Promise<void> {
    if (this.#closed || subscription.wake !== undefined) return;
    const pending = subscription.pending();
    if (pending.length === 0) return;
    const { config, nextAttemptAtMs } = subscription;
    const waits = nextAttemptAtMs !== undefined && nextAttemptAtMs > Date.now();
    await this.#commit(subscription, [
      {
        kind: 'woken',
        generation: subscription.generation + 1,
        wakeId: `w_${randomBytes(15).toString('base64url')}`,
        snapshot: Object.fromEntries(pending.map((link) => [link.path, link.tail])),
        // A pull-wake has no lease until it is claimed; a webhook that has to wait has none until it is sent.
        ...(config.type === 'webhook' && !waits ? { leaseUntilMs: Date.now() + config.leaseTtlMs } : {}),
      },
    ]);
    if (waits) this.#setTimer(subscription);
    else this.#deliver(subscription);
  }

  /** Tells somebody of the present wake. Not in turn: the answer may take long, and callbacks come before it. */
  #deliver(subscription: Subscription): void {
    const { wake } = subscription;
    if (this.#closed || wake === undefined) return;
    this.#setTimer(subscription);
    const delivered = this.#delivery.deliver(subscription, wake, () => this.keys());
    delivered
      .then((outcome) => this.#inTurn(subscription, () => this.#onDelivered(subscription, wake.id, outcome)))
      .catch((error: unknown) => this.#fail(error));
  }

  async #onDelivered(subscription: Subscription, wakeId: string, outcome: DeliveryOutcome): Promise<void> {
    // Over already: by a callback, a lease that ran out, a deletion.
    if (this.#closed || subscription.wake?.id !== wakeId) return;
    if (outcome.kind === 'failed') {
      const failures = subscription.failures + 1;
      this.#log.warn({ id: subscription.key.id, failures, reason: outcome.reason }, 'a wake could not be delivered');
      // Claimed without having been told: nothing is left to be delivered.
      if (subscription.wake.holder !== undefined) return;
      await this.#commit(subscription, [
        { kind: 'failed', failures, nextAttemptAtMs: Date.now() + retryDelayMs(failures, this.#limits) },
      ]);
      this.#setTimer(subscription);
      return;
    }
    const changes: ChangeBody[] = subscription.failures > 0 ? [{ kind: 'delivered' }] : [];
    if (outcome.done) changes.push({ kind: 'acked', acks: subscription.wake.snapshot }, { kind: 'rested' });
    if (changes.length > 0) await this.#commit(subscription, changes);
    if (outcome.done) await this.#wakeIfPending(subscription);
  }

  /** One timer per subscription: for the next attempt, or else for the end of the lease. */
  #setTimer(subscription: Subscription): void {
    clearTimeout(this.#timers.get(subscription));
    this.#timers.delete(subscription);
    const at = subscription.nextAttemptAtMs ?? subscription.wake?.leaseUntilMs;
    if (this.#closed || subscription.wake === undefined || at === undefined) return;
    const timer = setTimeout(
      () => {
        this.#timers.delete(subscription);
        this.#inTurn(subscription, () => this.#onTimer(subscription)).catch((error: unknown) => this.#fail(error));
      },
      Math.max(0, at - Date.now()),
    );
    this.#timers.set(subscription, timer);
  }

  async #onTimer(subscription: Subscription): Promise<void> {
    const { wake, nextAttemptAtMs, config } = subscription;
    if (this.#closed || wake === undefined) return;
    const now = Date.now();
    if (nextAttemptAtMs !== undefined && nextAttemptAtMs <= now && wake.holder === undefined) {
      subscription.nextAttemptAtMs = undefined;
      if (config.type === 'webhook') {
        await this.#commit(subscription, [{ kind: 'leased', leaseUntilMs: now + config.leaseTtlMs }]);
      }
      this.#deliver(subscription);
      return;
    }
    if (wake.leaseUntilMs !== undefined && wake.leaseUntilMs <= now) {
      await this.#commit(subscription, [{ kind: 'rested' }]);
      await this.#wakeIfPending(subscription);
      return;
    }
    this.#setTimer(subscription);
  }

  async #commit(subscription: Subscription, bodies: readonly ChangeBody[]): Promise<void> {
    const changes = bodies.map((body): Change => ({ ...subscription.key, ...body }));
    await this.#changes.append(changes, (change) => this.#apply(change));
    this.#setTimer(subscription);
  }

  #apply(change: Change): void {
    const name = keyOf(change);
    if (change.kind === 'created') {
      const subscription = new Subscription(change);
      this.#subscriptions.set(name, subscription);
      this.#index.add(subscription);
      return;
    }
    const subscription = this.#subscriptions.get(name);
    if (subscription === undefined) return;
    if (change.kind === 'deleted') {
      this.#subscriptions.delete(name);
      this.#index.remove(subscription);
      this.#found.delete(subscription);
      subscription.wake = undefined;
      subscription.links.clear();
      return;
    }
    subscription.apply(change);
    if (change.kind === 'linked') for (const { path } of change.links) this.#index.link(subscription, path);
    if (change.kind === 'unlinked') for (const path of change.paths) this.#index.unlink(subscription, path);
  }

  /** Runs a task after all earlier ones of the subscription. Refuses it once the subscription is deleted. */
  #inTurn<T>(subscription: Subscription, task: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(subscription) ?? Promise.resolve();
    const result = before.then(() => {
      if (this.#subscriptions.get(keyOf(subscription.key)) !== subscription) throw notFound();
      return task();
    });
    const settled: Task = () =>
      result.then(
        () => {},
        () => {},
      );
    this.#turns.set(subscription, settled());
    return result;
  }

  async #tailOf(path: string): Promise<number> {
    try {
      return (await this.#store.stat(path)).tail;
    } catch (error) {
      if (error instanceof MillraceError && ABSENT.has(error.code)) return 0;
      throw error;
    }
  }

  async #forEachStream(root: string, visit: (path: string, tail: number) => void): Promise<void> {
    let after: string | undefined;
    do {
      const page = await this.#store.list({ prefix: root, ...(after === undefined ? {} : { after }) });
      for (const { path, tail } of page.streams) {
        if (!path.startsWith('__ds/')) visit(path.slice(root.length), tail);
      }
      after = page.next;
    } while (after !== undefined);
  }

  #fail(error: unknown): void {
    if (this.#closed || (error instanceof MillraceError && error.code === 'SUBSCRIPTION_NOT_FOUND')) return;
    this.#log.error({ err: error }, 'a subscription could not be looked after');
  }
}

const ABSENT: ReadonlySet<string> = new Set(['STREAM_NOT_FOUND', 'STREAM_GONE']);

/** 1 s, doubled with each failure up to 60 s, give or take a fifth (section 7.1). */
export function retryDelayMs(
  failures: number,
  limits: Pick<SubscriptionLimits, 'retryDelayMs' | 'retryDelayMsMax'>,
  random: () => number = Math.random,
): number {
  const delay = Math.min(limits.retryDelayMs * 2 ** (failures - 1), limits.retryDelayMsMax);
  return Math.round(delay * (0.8 + 0.4 * random()));
}

function requireType(subscription: Subscription, type: SubscriptionConfig['type']): void {
  if (subscription.config.type === type) return;
  throw new MillraceError(
    'INVALID_REQUEST',
    `The subscription's type is ${subscription.config.type}: this needs ${type}.`,
  );
}

/** Lets only the holder of the present wake pass (section 7.3). */
function requireWake(
  subscription: Subscription,
  tokenSecret: Uint8Array,
  token: string | undefined,
  report: Pick<WorkReport, 'wakeId' | 'generation'>,
): void {
  if (token === undefined) throw invalidToken();
  const claims = verifyToken(tokenSecret, token);
  if (claims.sub !== keyOf(subscription.key)) throw invalidToken();
  const { wake } = subscription;
  const current =
    wake !== undefined &&
    claims.gen === wake.generation &&
    report.generation === wake.generation &&
    report.wakeId === wake.id;
  if (!current) {
    throw new MillraceError('FENCED', 'This wake is over: its lease ran out, or another one has begun.', {
      generation: subscription.generation,
    });
  }
}

function checkAcks(subscription: Subscription, acks: WorkReport['acks']): Record<string, number> {
  const checked: Record<string, number> = {};
  for (const { path, offset } of acks) {
    const link = subscription.links.get(path);
    if (link === undefined) {
      throw new MillraceError('INVALID_ACK', `The subscription has no stream ${path}.`, { stream: path });
    }
    if (offset < link.acked || offset > link.tail) {
      throw new MillraceError(
        'INVALID_ACK',
        `The ack of ${path} must lie between what is acked already and the stream's tail.`,
        { stream: path },
      );
    }
    checked[path] = offset;
  }
  return checked;
}

function notFound(): MillraceError {
  return new MillraceError('SUBSCRIPTION_NOT_FOUND', 'There is no such subscription: make it first.');
}

function tooManyLinks(linksMax: number): MillraceError {
  return new MillraceError('INVALID_REQUEST', `A subscription may have at most ${linksMax} streams.`, { linksMax });
}

export { isPending };
