export { createFollowEngine, type EngineOptions, type FollowEngine } from './engine.js';
export type { FollowEnd, Following, FollowOptions, Sink } from './follower.js';
export type { After, Format } from './format.js';
