import { randomBytes } from 'node:crypto';
import { isMillraceError } from '../errors.js';
import type { StoreTime } from '../log/clock.js';
import type { Delivery, DeliveryOutcome, Told } from './delivery.js';
import type { SubscriptionLimits } from './limits.js';
import type { Log } from './log.js';
import type { ChangeBody, Subscription, Wake } from './subscription.js';
import type { SubscriptionTable } from './table.js';

/**
 * Wakes from their beginning to their end: made when there is work, delivered, tried again with growing delays, and
 * over when they are done or their lease runs out. What is in turn (see `SubscriptionTable.inTurn`) says so.
 */
export class Wakes {
  readonly #table: SubscriptionTable;
  readonly #delivery: Delivery;
  readonly #limits: SubscriptionLimits;
  readonly #log: Log;
  readonly #time: StoreTime;
  readonly #timers = new Map<Subscription, NodeJS.Timeout>();
  #closed = false;

  /** By `time` leases and attempts are due: no clock that jumps ends or prolongs them. */
  constructor(table: SubscriptionTable, delivery: Delivery, limits: SubscriptionLimits, log: Log, time: StoreTime) {
    this.#table = table;
    this.#delivery = delivery;
    this.#limits = limits;
    this.#log = log;
    this.#time = time;
  }

  /** Begins a wake where there is work and none is under way. In turn. Errors: `STORE_*`. */
  async wakeIfPending(subscription: Subscription): Promise<void> {
    if (this.#closed || subscription.wake !== undefined) return;
    const pending = subscription.pending();
    if (pending.length === 0) return;
    const { config, nextAttemptAtMs } = subscription;
    // After failures a new wake is no reason to try earlier.
    const waits = nextAttemptAtMs !== undefined && nextAttemptAtMs > this.#time.nowMs;
    await this.#table.commit(subscription, [
      {
        kind: 'woken',
        generation: subscription.generation + 1,
        wakeId: `w_${randomBytes(15).toString('base64url')}`,
        snapshot: Object.fromEntries(pending.map((link) => [link.path, link.tail])),
        // A pull-wake has no lease until it is claimed; a webhook that has to wait has none until it is sent.
        ...(config.type === 'webhook' && !waits ? { leaseUntilMs: this.#time.nowMs + config.leaseTtlMs } : {}),
      },
    ]);
    if (waits) this.setTimer(subscription);
    else this.deliver(subscription);
  }

  /** Takes up after a restart what was under way. */
  resume(subscription: Subscription): void {
    if (subscription.wake === undefined) return;
    this.#bringNear(subscription, subscription.wake);
    const waits = subscription.wake.leaseUntilMs !== undefined || subscription.nextAttemptAtMs !== undefined;
    // Without either it is a pull-wake that may not have been announced. Workers race for it anyway: say it again.
    if (waits) this.setTimer(subscription);
    else this.deliver(subscription);
  }

  /** The clock may have gone back while nobody ran: nothing is due later than it could have been when it was set. */
  #bringNear(subscription: Subscription, wake: Wake): void {
    const { nowMs } = this.#time;
    const { nextAttemptAtMs, config } = subscription;
    if (wake.leaseUntilMs !== undefined) wake.leaseUntilMs = Math.min(wake.leaseUntilMs, nowMs + config.leaseTtlMs);
    if (nextAttemptAtMs !== undefined) {
      const delayMsMax = retryDelayMs(Number.POSITIVE_INFINITY, this.#limits, () => 1);
      subscription.nextAttemptAtMs = Math.min(nextAttemptAtMs, nowMs + delayMsMax);
    }
  }

  /** Tells somebody of the present wake. Not in turn: the answer may take long, and callbacks come before it. */
  deliver(subscription: Subscription): void {
    const { wake } = subscription;
    if (this.#closed || wake === undefined) return;
    this.setTimer(subscription);
    this.#delivery
      .deliver(subscription, wake)
      .then((outcome) => this.#table.inTurn(subscription, () => this.#onDelivered(subscription, wake.id, outcome)))
      .catch((error: unknown) => this.fail(error));
  }

  /** One timer per subscription: for the next attempt, or else for the end of the lease. Call it when either changed. */
  setTimer(subscription: Subscription): void {
    this.forget(subscription);
    const { wake } = subscription;
    const at = wake?.holder === undefined ? (subscription.nextAttemptAtMs ?? wake?.leaseUntilMs) : wake.leaseUntilMs;
    if (this.#closed || wake === undefined || at === undefined) return;
    const onTimer = () => {
      this.#table.inTurn(subscription, () => this.#onTimer(subscription)).catch((error: unknown) => this.fail(error));
    };
    this.#timers.set(subscription, setTimeout(onTimer, Math.max(0, at - this.#time.nowMs)));
  }

  forget(subscription: Subscription): void {
    clearTimeout(this.#timers.get(subscription));
    this.#timers.delete(subscription);
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#delivery.close();
  }

  /** For what nobody waits for. */
  fail(error: unknown): void {
    if (this.#closed || isMillraceError(error, 'SUBSCRIPTION_NOT_FOUND')) return;
    this.#log.error({ err: error }, 'a subscription could not be looked after');
  }

  async #onDelivered(subscription: Subscription, wakeId: string, outcome: DeliveryOutcome): Promise<void> {
    // Over already: by a callback, or a lease that ran out. Or claimed, so that nothing is left to be told.
    if (this.#closed || subscription.wake?.id !== wakeId || subscription.wake.holder !== undefined) return;
    if (outcome.kind === 'failed') {
      const failures = subscription.failures + 1;
      this.#log.warn({ id: subscription.key.id, failures, reason: outcome.reason }, 'a wake could not be delivered');
      const nextAttemptAtMs = this.#time.nowMs + retryDelayMs(failures, this.#limits);
      await this.#table.commit(subscription, [{ kind: 'failed', failures, nextAttemptAtMs }]);
      this.setTimer(subscription);
      return;
    }
    const changes: ChangeBody[] = subscription.failures > 0 ? [{ kind: 'delivered' }] : [];
    if (outcome.done !== undefined) {
      changes.push({ kind: 'acked', acks: acksOf(subscription, outcome.done) }, { kind: 'rested' });
    }
    if (changes.length > 0) await this.#table.commit(subscription, changes);
    this.setTimer(subscription);
    if (outcome.done !== undefined) await this.wakeIfPending(subscription);
  }

  async #onTimer(subscription: Subscription): Promise<void> {
    const { wake, nextAttemptAtMs, config } = subscription;
    if (this.#closed || wake === undefined) return;
    const now = this.#time.nowMs;
    if (wake.holder === undefined && nextAttemptAtMs !== undefined && nextAttemptAtMs <= now) {
      // Not a change: should we stop here, the attempt is made again, and that is as it should be.
      subscription.nextAttemptAtMs = undefined;
      if (config.type === 'webhook') {
        await this.#table.commit(subscription, [{ kind: 'leased', leaseUntilMs: now + config.leaseTtlMs }]);
      }
      this.deliver(subscription);
    } else if (wake.leaseUntilMs !== undefined && wake.leaseUntilMs <= now) {
      await this.#table.commit(subscription, [{ kind: 'rested' }]);
      await this.wakeIfPending(subscription);
    } else this.setTimer(subscription);
  }
}

/** All that was told of and is still the same: a stream that took the place of a deleted one has yet to be told of. */
function acksOf(subscription: Subscription, told: readonly Told[]): Record<string, number> {
  const same = told.filter(({ link, tail }) => subscription.links.get(link.path) === link && tail > link.acked);
  return Object.fromEntries(same.map(({ link, tail }) => [link.path, tail]));
}

/** 1 s, doubled with each failure up to 60 s, give or take a fifth (section 7.1). */
export function retryDelayMs(
  failures: number,
  limits: Pick<SubscriptionLimits, 'retryDelayMs' | 'retryDelayMsMax'>,
  random: () => number = Math.random,
): number {
  const delay = Math.min(limits.retryDelayMs * 2 ** (failures - 1), limits.retryDelayMsMax);
  return Math.round(delay * (0.8 + 0.4 * random()));
}
