export type { ErrorCode, ErrorDetails } from '../errors.js';
export { isMillraceError, MillraceError } from '../errors.js';
export { AppendStream, append, openAppend } from './append.js';
export {
  type AppendOptions,
  type AppendResult,
  DEFAULT_FRAME_BYTES_MAX,
  DEFAULT_UNACKNOWLEDGED_BYTES_MAX,
} from './appender.js';
export { type ConnectionOptions, DEFAULT_CONNECT_TIMEOUT_MS, DEFAULT_HEARTBEAT_MS } from './connection-options.js';
export {
  DEFAULT_FOLLOW_WAIT_MS,
  DEFAULT_RECEIVED_BYTES_MAX,
  type Follower,
  type FollowOptions,
  follow,
} from './follow.js';
export {
  type CreateOptions,
  close,
  create,
  head,
  type ReadAnswer,
  type ReadOptions,
  read,
  remove,
  type StreamHead,
  type StreamPosition,
} from './requests.js';
export {
  DEFAULT_RETRY_DELAY_MAX_MS,
  DEFAULT_RETRY_DELAY_MIN_MS,
  DEFAULT_RETRY_MS,
  type RetryOptions,
} from './retry.js';
export type { AppendSource } from './source.js';
