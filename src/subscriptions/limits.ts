/** What subscriptions may take up, and how patient they are. */
export interface SubscriptionLimits {
  /** Subscriptions of one server: `TOO_MANY_SUBSCRIPTIONS` beyond it. */
  readonly subscriptionsMax: number;
  /** Streams of one subscription: more are refused, or left out where a pattern takes them in. */
  readonly linksMax: number;
  /** How long a webhook may take to answer. */
  readonly webhookTimeoutMs: number;
  /** Before the first new attempt; doubled with each failure. */
  readonly retryDelayMs: number;
  readonly retryDelayMsMax: number;
}

export const DEFAULT_SUBSCRIPTION_LIMITS: SubscriptionLimits = {
  subscriptionsMax: 10_000,
  linksMax: 10_000,
  webhookTimeoutMs: 30_000,
  retryDelayMs: 1000,
  retryDelayMsMax: 60_000,
};

/** Bounds and default of `lease_ttl_ms` (Durable Streams, section 6.2). */
export const LEASE_TTL_MS_MIN = 1000;
export const LEASE_TTL_MS_MAX = 10 * 60 * 1000;
export const LEASE_TTL_MS_DEFAULT = 30_000;
