import { isMillraceError } from '../errors.js';
import type { StoreTime } from '../log/clock.js';
import type { Store } from '../log/index.js';
import { describeStreams } from './describe.js';
import type { Keys } from './keys.js';
import { keyOf, type Link, type Subscription, type Wake } from './subscription.js';
import { signToken } from './tokens.js';
import { postWebhook } from './webhook.js';
import { checkWebhookUrl } from './webhook-url.js';

/** What became of telling somebody about a wake. `done`: what a webhook was told of, if it says that it has done it. */
export type DeliveryOutcome =
  | { readonly kind: 'delivered'; readonly done?: readonly Told[] }
  | { readonly kind: 'failed'; readonly reason: string };

/** A stream as it was told of: the link, since another stream may be at its path by now. */
export interface Told {
  readonly link: Link;
  readonly tail: number;
}

export interface DeliveryOptions {
  readonly store: Store;
  readonly allowLoopback: boolean;
  readonly webhookTimeoutMs: number;
  readonly keys: () => Promise<Keys>;
  readonly time: StoreTime;
}

/** Tells of wakes: a webhook by a signed request, pull-wake workers by a message on their wake stream. */
export class Delivery {
  readonly #store: Store;
  readonly #allowLoopback: boolean;
  readonly #webhookTimeoutMs: number;
  readonly #keys: () => Promise<Keys>;
  readonly #time: StoreTime;
  readonly #closing = new AbortController();

  constructor(options: DeliveryOptions) {
    this.#keys = options.keys;
    this.#time = options.time;
    this.#store = options.store;
    this.#allowLoopback = options.allowLoopback;
    this.#webhookTimeoutMs = options.webhookTimeoutMs;
  }

  /** Tries once. Never rejects. */
  async deliver(subscription: Subscription, wake: Wake): Promise<DeliveryOutcome> {
    try {
      if (subscription.config.type === 'pull-wake') return await this.#announce(subscription, wake);
      return await this.#post(subscription, wake, await this.#keys());
    } catch (error) {
      return { kind: 'failed', reason: error instanceof Error ? error.message : String(error) };
    }
  }

  close(): void {
    this.#closing.abort();
  }

  async #announce({ key, config }: Subscription, wake: Wake): Promise<DeliveryOutcome> {
    const [stream = ''] = Object.keys(wake.snapshot);
    const event = { type: 'wake', subscription_id: key.id, stream, generation: wake.generation, ts: Date.now() };
    const data = Buffer.from(`${JSON.stringify(event)}\n`);
    try {
      await this.#store.append(`${key.root}${config.wakeStream}`, { data });
    } catch (error) {
      if (isMillraceError(error)) return { kind: 'failed', reason: `wake stream ${config.wakeStream}: ${error.code}` };
      throw error;
    }
    return { kind: 'delivered' };
  }

  async #post(subscription: Subscription, wake: Wake, keys: Keys): Promise<DeliveryOutcome> {
    const { key, config, rootUrl } = subscription;
    const told = [...subscription.links.values()].map((link) => ({ link, tail: link.tail }));
    const body = JSON.stringify({
      subscription_id: key.id,
      wake_id: wake.id,
      generation: wake.generation,
      streams: describeStreams(subscription),
      callback_url: `${rootUrl}/__ds/subscriptions/${encodeURIComponent(key.id)}/callback`,
      callback_token: signToken(keys.tokenSecret, { sub: keyOf(key), gen: wake.generation }, this.#time.nowMs),
    });
    const response = await postWebhook({
      target: checkWebhookUrl(config.webhookUrl as string, this.#allowLoopback),
      body,
      headers: { 'Webhook-Signature': keys.signWebhook(body) },
      timeoutMs: this.#webhookTimeoutMs,
      signal: this.#closing.signal,
    });
    if (response.status < 200 || response.status > 299) {
      return { kind: 'failed', reason: `the webhook answered ${response.status}` };
    }
    return saysDone(response.body) ? { kind: 'delivered', done: told } : { kind: 'delivered' };
  }
}

function saysDone(body: string): boolean {
  try {
    return (JSON.parse(body) as { done?: unknown } | null)?.done === true;
  } catch {
    return false;
  }
}
