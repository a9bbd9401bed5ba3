export { describeStreams, describeSubscription } from './describe.js';
export { compileGlob } from './glob.js';
export {
  DEFAULT_SUBSCRIPTION_LIMITS,
  LEASE_TTL_MS_DEFAULT,
  LEASE_TTL_MS_MAX,
  LEASE_TTL_MS_MIN,
  type SubscriptionLimits,
} from './limits.js';
export { SubscriptionManager, type SubscriptionManagerOptions } from './manager.js';
export type { WakeName, WorkReport } from './report.js';
export type { SubscriptionConfig, SubscriptionKey } from './subscription.js';
