import type { Subscription } from './subscription.js';

const NOBODY: ReadonlySet<Subscription> = new Set();

/** Which subscriptions a stream matters to, found without asking each of them. */
export class LinkIndex {
  /** Those with a pattern: they have to be asked about streams that they do not know. */
  readonly patterns = new Set<Subscription>();
  readonly #byPath = new Map<string, Set<Subscription>>();

  /** The subscriptions that a stream is linked to, by the store's path. */
  of(path: string): ReadonlySet<Subscription> {
    return this.#byPath.get(path) ?? NOBODY;
  }

  add(subscription: Subscription): void {
    if (subscription.hasPattern) this.patterns.add(subscription);
    for (const path of subscription.links.keys()) this.link(subscription, path);
  }

  remove(subscription: Subscription): void {
    this.patterns.delete(subscription);
    for (const path of subscription.links.keys()) this.unlink(subscription, path);
  }

  link(subscription: Subscription, path: string): void {
    const key = subscription.key.root + path;
    const linked = this.#byPath.get(key);
    if (linked === undefined) this.#byPath.set(key, new Set([subscription]));
    else linked.add(subscription);
  }

  unlink(subscription: Subscription, path: string): void {
    const key = subscription.key.root + path;
    const linked = this.#byPath.get(key);
    linked?.delete(subscription);
    if (linked?.size === 0) this.#byPath.delete(key);
  }
}
