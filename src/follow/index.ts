export { createFollowEngine, type FollowEngine, type FollowEngineOptions, type FollowedStream } from './engine.js';
export type { FollowEnd, Following, FollowOptions, Sink } from './follower.js';
export type { After, Format } from './format.js';
export { DEFAULT_FOLLOW_ENGINE_LIMITS, type FollowEngineLimits, followEngineLimits } from './limits.js';
export type { RangeSink, StreamRange } from './range.js';
export { unfinishedCharacter } from './utf8.js';
