export { COMMIT_BYTES_MAX } from './commit.js';
export { contentTypeOf } from './content-type.js';
export {
  APPEND_BYTES_MAX,
  EXPIRY_SWEEP_MS,
  EXPIRY_SWEEP_STREAMS_MAX,
  FORK_DEPTH_MAX,
  PENDING_BYTES_MAX,
  PENDING_WAIT_MS,
  type StoreLimits,
} from './limits.js';
export { LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX } from './list.js';
export { createMemoryStore, type MemoryStoreOptions } from './memory-store.js';
export { checkStreamPath, PATH_BYTES_MAX, PATH_SEGMENT_BYTES_MAX, parseStreamPath } from './path.js';
export type * from './store.js';
