import type { IncomingMessage } from 'node:http';
import { MillraceError } from '../errors.js';

const EMPTY = Buffer.alloc(0);

/**
 * The whole body of a request. Listeners rather than an iterator: this is the way of every small append.
 * Errors: `CONTENT_ENCODING_UNSUPPORTED`, `BODY_TOO_LARGE`, `INVALID_REQUEST` (somebody else has read it), `ABORTED` (the client went away).
 */
export function readBody(req: IncomingMessage, bytesMax: number): Promise<Buffer> {
  try {
    checkContentEncoding(req);
  } catch (error) {
    return Promise.reject(error);
  }
  const declared = req.headers['content-length'];
  if (declared !== undefined && Number(declared) > bytesMax) return Promise.reject(bodyTooLarge(bytesMax));
  if (req.readableEnded) {
    return Promise.reject(
      new MillraceError('INVALID_REQUEST', 'The body was read before it got here: mount Millrace before body parsers.'),
    );
  }
  return new Promise((resolve, reject) => {
    let only: Buffer = EMPTY;
    let chunks: Buffer[] | undefined;
    let size = 0;
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > bytesMax) {
        // What else comes is thrown away: a client that is still sending would not see an answer on a cut connection.
        req.removeAllListeners('data');
        req.resume();
        reject(bodyTooLarge(bytesMax));
      } else if (size === chunk.length) only = chunk;
      else if (chunks === undefined) chunks = [only, chunk];
      else chunks.push(chunk);
    });
    req.on('end', () => resolve(chunks === undefined ? only : Buffer.concat(chunks, size)));
    // Node tells of an early end by this alone where nobody listens for errors.
    req.on('close', () => {
      if (!req.complete) reject(aborted());
    });
  });
}

/**
 * Refuses a body that was compressed on its way: what a stream holds must not depend on how it came, and kept as it is
 * nobody could read it. Errors: `CONTENT_ENCODING_UNSUPPORTED`.
 */
export function checkContentEncoding(req: IncomingMessage): void {
  const codings = req.headers['content-encoding'];
  if (codings === undefined || codings.split(',').every((coding) => /^\s*(identity\s*)?$/i.test(coding))) return;
  throw new MillraceError(
    'CONTENT_ENCODING_UNSUPPORTED',
    'The body has a Content-Encoding: send it as it is, without compression.',
  );
}

function bodyTooLarge(bodyBytesMax: number): MillraceError {
  return new MillraceError(
    'BODY_TOO_LARGE',
    `The body has more than ${bodyBytesMax} bytes: send it in several appends.`,
    { bodyBytesMax },
  );
}

function aborted(): MillraceError {
  return new MillraceError('ABORTED', 'The client went away before its whole body was here.');
}
