import { MillraceError } from '../errors.js';

/** For a reader whose stream was deleted, or expired, while it was being read. */
export function streamGone(): MillraceError {
  return new MillraceError('STREAM_NOT_FOUND', 'The stream was deleted, or has expired, while it was read.');
}
