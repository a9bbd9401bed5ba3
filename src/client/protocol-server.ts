import { isMillraceError, MillraceError } from '../errors.js';
import { isOffsetToken } from '../wire/offset.js';
import type { CheckedConnection } from './connection-options.js';
import { headOf, type StreamHead } from './requests.js';

/**
 * What another Durable Streams server says of a stream, when a WebSocket to it was refused; undefined where it has none
 * of that name. Throws `refusal` where that was the answer of a Millrace server, or of one that knows no streams.
 */
export async function askOtherServer(
  url: URL,
  options: CheckedConnection,
  refusal: unknown,
): Promise<StreamHead | undefined> {
  if (!isOfAnotherServer(refusal)) throw refusal;
  let found: StreamHead;
  try {
    found = await headOf(url, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    const missing =
      isMillraceError(error, 'STREAM_NOT_FOUND') || (isMillraceError(error) && error.details.status === 404);
    if (missing) return undefined;
    throw refusal;
  }
  if (isOffsetToken(found.offset)) throw refusal;
  return found;
}

/** What a server that knows no such WebSockets answers: with the stream, or that it does not understand the request. */
const STATUSES_OF_OTHERS: ReadonlySet<unknown> = new Set([200, 204, 400, 404, 405, 426, 501]);

/** Whether no Millrace server would have answered so: it says why in a problem with a code. */
function isOfAnotherServer(refusal: unknown): boolean {
  if (isMillraceError(refusal, 'CONNECTION_FAILED')) return refusal.details.upgrade === 'refused';
  return isMillraceError(refusal, 'UNEXPECTED_RESPONSE') && STATUSES_OF_OTHERS.has(refusal.details.status);
}

/** There is nothing, on a server that says so in its own way. */
export function notFoundThere(url: URL): MillraceError {
  return new MillraceError('STREAM_NOT_FOUND', `There is no stream at ${url.origin}${url.pathname}.`, { status: 404 });
}
