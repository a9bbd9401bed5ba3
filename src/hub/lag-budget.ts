import type { Feed } from './feed.js';

/**
 * What all subscribers of a hub together may keep in memory because they have not read it. Each has a bound of its own
 * (`maxLagBytes`); a thousand that sleep on a thousand channels are bounded by this one.
 */
export class LagBudget {
  readonly #bytesMax: number;
  /** Feeds that had messages since their subscribers were last seen to have read all, longest ago first. */
  readonly #holders = new Set<Feed>();
  /** How many bytes came since the holders were looked at. */
  #unchecked = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** So many bytes more may be held by subscribers of this feed. */
  add(feed: Feed, bytes: number): void {
    this.#holders.add(feed);
    this.#unchecked += bytes;
    if (this.#unchecked >= this.#bytesMax / 8) this.#check();
  }

  #check(): void {
    this.#unchecked = 0;
    let total = 0;
    const held: { readonly feed: Feed; bytes: number }[] = [];
    for (const feed of this.#holders) {
      const bytes = feed.lagBytes;
      if (bytes === 0) this.#holders.delete(feed);
      else held.push({ feed, bytes });
      total += bytes;
    }
    while (total > this.#bytesMax) {
      // Of those that hold alike, whoever has held for the longest comes first.
      held.sort((a, b) => b.bytes - a.bytes);
      for (const each of held) {
        if (total <= this.#bytesMax) return;
        each.feed.shed();
        total -= each.bytes;
        each.bytes = each.feed.lagBytes;
        total += each.bytes;
      }
    }
  }
}
