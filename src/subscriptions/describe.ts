import { formatOffset } from '../wire/offset.js';
import type { Keys } from './keys.js';
import { isPending, type Subscription } from './subscription.js';

/** One stream of a subscription as clients see it, in a wake or a claim. */
export interface StreamDescription {
  readonly path: string;
  readonly link_type: 'explicit' | 'glob';
  readonly acked_offset: string;
  readonly tail_offset: string;
  readonly has_pending: boolean;
}

export function describeStreams(subscription: Subscription): StreamDescription[] {
  return [...subscription.links.values()].map((link) => ({
    path: link.path,
    link_type: link.explicit ? 'explicit' : 'glob',
    acked_offset: formatOffset(link.acked, link.lineage?.id),
    tail_offset: formatOffset(link.tail, link.lineage?.id),
    has_pending: isPending(link),
  }));
}

/** A subscription as clients see it (Durable Streams, section 6.3). `keys` where it is of a webhook. */
export function describeSubscription(subscription: Subscription, keys: Keys | undefined): object {
  const { key, config } = subscription;
  return {
    id: key.id,
    subscription_id: key.id,
    type: config.type,
    pattern: config.pattern ?? null,
    streams: describeStreams(subscription).map(({ path, link_type, acked_offset }) => ({
      path,
      link_type,
      acked_offset,
    })),
    webhook:
      config.webhookUrl === undefined || keys === undefined
        ? null
        : {
            url: config.webhookUrl,
            signing: { alg: 'ed25519', kid: keys.kid, jwks_url: `${subscription.rootUrl}/__ds/jwks.json` },
          },
    wake_stream: config.wakeStream ?? null,
    lease_ttl_ms: config.leaseTtlMs,
    created_at: new Date(subscription.createdAtMs).toISOString(),
    status: subscription.failures > 0 ? 'failed' : 'active',
    description: config.description ?? null,
  };
}
