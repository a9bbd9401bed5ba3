export { type Consumer, done } from './consumption.js';
export { DEFAULT_BUFFER_SIZE, EventStream, type EventStreamOptions } from './event-stream.js';
export type { Position, ReadOptions, Subscription, SubscriptionOptions } from './subscription.js';
