import { randomBytes } from 'node:crypto';

/** Random bytes of a stream's id. */
const ID_BYTES = 12;

/** An id for a new stream. Random, and nothing of its path, file or time: it is the same wherever a copy is served. */
export function newStreamId(): string {
  return randomBytes(ID_BYTES).toString('base64url');
}
