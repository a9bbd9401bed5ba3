export { PRODUCER_ID_LENGTH_MAX, STREAM_SEQ_LENGTH_MAX } from './append.js';
export { COMMIT_BYTES_MAX } from './commit.js';
export { checkRoot, type RootReport } from './file/check-root.js';
export { DIRTY_STREAMS_MAX, FLUSH_INTERVAL_MS } from './file/file-medium.js';
export { createFileStore, type FileStoreOptions, STREAMS_IN_MEMORY_MAX } from './file/file-store.js';
export { GUARD_INTERVAL_MS } from './file/guard.js';
export { JOURNAL_BYTES_MAX, JOURNAL_SEGMENT_BYTES } from './file/journal.js';
export { type Loss, lossError } from './file/losses.js';
export { OPEN_FILES_MAX } from './file/open-files.js';
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
export {
  checkStreamPath,
  joinSegments,
  PATH_BYTES_MAX,
  PATH_SEGMENT_BYTES_MAX,
  parseStreamPath,
  pathSegments,
  streamUrlPath,
} from './path.js';
export { PRODUCER_KEPT_MS, PRODUCERS_MAX } from './producers.js';
export type * from './store.js';
