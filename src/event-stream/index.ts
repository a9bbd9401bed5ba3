export { DEFAULT_BUFFER_SIZE, EventStream, type EventStreamOptions } from './event-stream.js';
export type { Position } from './position.js';
export { type Consumer, done, type Subscription, type SubscriptionOptions } from './subscription.js';
