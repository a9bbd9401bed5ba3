import { MillraceError } from '../errors.js';
import type { Store } from '../log/index.js';
import { ChangeLog } from './change-log.js';
import { LinkIndex } from './link-index.js';
import { type Change, type ChangeBody, keyOf, Subscription, type SubscriptionKey } from './subscription.js';

/** All subscriptions of a store, and the one way to change them: durable first, then in memory. */
export class SubscriptionTable {
  readonly index = new LinkIndex();
  readonly #changes: ChangeLog;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #turns = new WeakMap<Subscription, Promise<void>>();
  readonly #onGone: (subscription: Subscription) => void;

  /** `onGone` is told of a subscription that was just deleted. */
  constructor(store: Store, onGone: (subscription: Subscription) => void) {
    this.#changes = new ChangeLog(store, () => [...this.#subscriptions.values()].flatMap((each) => each.snapshot()));
    this.#onGone = onGone;
  }

  /** Errors: `STORE_*`. */
  load(): Promise<void> {
    return this.#changes.load((change) => this.#apply(change));
  }

  get size(): number {
    return this.#subscriptions.size;
  }

  get(key: SubscriptionKey): Subscription | undefined {
    return this.#subscriptions.get(keyOf(key));
  }

  values(): IterableIterator<Subscription> {
    return this.#subscriptions.values();
  }

  /** Errors: `STORE_*`. */
  async create(key: SubscriptionKey, created: ChangeBody & { kind: 'created' }): Promise<Subscription> {
    await this.#changes.append([{ ...key, ...created }], (change) => this.#apply(change));
    return this.get(key) as Subscription;
  }

  /** Changes a subscription; all of it or nothing. Only in its turn. Errors: `STORE_*`. */
  async commit(subscription: Subscription, bodies: readonly ChangeBody[]): Promise<void> {
    const changes = bodies.map((body): Change => ({ ...subscription.key, ...body }));
    await this.#changes.append(changes, (change) => this.#apply(change));
  }

  /** Runs a task after all earlier ones of the subscription. Errors: `SUBSCRIPTION_NOT_FOUND` once it is deleted. */
  inTurn<T>(subscription: Subscription, task: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(subscription) ?? Promise.resolve();
    const result = before.then(() => {
      if (this.get(subscription.key) !== subscription) throw subscriptionNotFound();
      return task();
    });
    const settled = result.then(nothing, nothing);
    this.#turns.set(subscription, settled);
    return result;
  }

  #apply(change: Change): void {
    const name = keyOf(change);
    if (change.kind === 'created') {
      const subscription = new Subscription(change);
      this.#subscriptions.set(name, subscription);
      this.index.add(subscription);
      return;
    }
    const subscription = this.#subscriptions.get(name);
    if (subscription === undefined) return;
    if (change.kind === 'deleted') {
      this.#subscriptions.delete(name);
      this.index.remove(subscription);
      subscription.wake = undefined;
      this.#onGone(subscription);
      return;
    }
    subscription.apply(change);
    if (change.kind === 'linked') for (const { path } of change.links) this.index.link(subscription, path);
    if (change.kind === 'unlinked') for (const path of change.paths) this.index.unlink(subscription, path);
  }
}

export function subscriptionNotFound(): MillraceError {
  return new MillraceError('SUBSCRIPTION_NOT_FOUND', 'There is no such subscription: make it first.');
}

function nothing(): void {}
