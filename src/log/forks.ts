import { MillraceError } from '../errors.js';
import type { StoreTime } from './clock.js';
import type { ForkPoint } from './store.js';
import type { ForkLink, Stream } from './stream.js';
import { gone, notFound, type Streams } from './streams.js';

const SCAN_BYTES = 64 * 1024;
const NEWLINE = 0x0a;

/** The stream that holds the bytes before a fork's own. */
export function sourceOf(streams: Streams, fork: ForkLink): Stream {
  const source = streams.find(fork.path);
  if (source === undefined || source.id !== fork.id || source.deleted) {
    throw new MillraceError(
      'STREAM_FILE_CHANGED',
      `The stream ${fork.path}, of which this one is a fork, is not there any more. Put its file back, or delete the fork.`,
    );
  }
  return source;
}

/** How many streams are above one. */
export function forkDepth(streams: Streams, stream: Stream): number {
  let depth = 0;
  for (let at = stream; at.fork !== undefined; at = sourceOf(streams, at.fork)) depth++;
  return depth;
}

/**
 * Committed bytes `[offset, end)` of a stream, through the chain of its sources, at most `length`. Nothing is copied
 * unless the bytes lie in more than one stream.
 */
export async function readBytes(streams: Streams, stream: Stream, offset: number, length: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let at = offset;
  const end = offset + length;
  while (at < end) {
    let owner = stream;
    let limit = end;
    while (at < owner.start && owner.fork !== undefined) {
      limit = Math.min(limit, owner.start);
      owner = sourceOf(streams, owner.fork);
    }
    const part = owner.storage.read(at - owner.start, limit - at);
    const bytes = part instanceof Uint8Array ? part : await part;
    if (at === offset && bytes.length === length) return bytes;
    parts.push(bytes);
    at += bytes.length;
  }
  return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
}

/** The source of a fork that is to be. Throws `FORK_SOURCE_NOT_FOUND`, `FORK_SOURCE_GONE`. */
export function forkSource(streams: Streams, path: string, time: StoreTime): Stream {
  let source: Stream;
  try {
    source = streams.visible(path, time);
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    if (error.code === 'STREAM_GONE') throw forkSourceGone(path);
    if (error.code === 'STREAM_NOT_FOUND') throw forkSourceNotFound(path);
    throw error;
  }
  if (source.gone === 'soft') throw forkSourceGone(path);
  if (source.gone === 'deleted') throw forkSourceNotFound(path);
  return source;
}

/**
 * The offset at which a fork branches off. In a JSON stream it lies between two messages.
 * Throws `INVALID_FORK`.
 */
export async function resolveForkPoint(streams: Streams, source: Stream, point: ForkPoint): Promise<number> {
  const { offset = source.tail, subOffset = 0 } = point;
  const { tail } = source;
  if (!isPosition(offset) || !isPosition(subOffset)) {
    throw new MillraceError(
      'INVALID_FORK',
      'A fork needs an offset and a sub-offset that are whole numbers from 0 on.',
    );
  }
  if (offset > tail) {
    throw new MillraceError(
      'INVALID_FORK',
      `The fork's offset lies beyond the tail of ${source.path}. Fork at an offset that a read has given.`,
      { offset, tail },
    );
  }
  if (!source.json) {
    if (offset + subOffset > tail) throw overshoot(source, subOffset);
    return offset + subOffset;
  }
  if (offset > 0 && (await readBytes(streams, source, offset - 1, 1))[0] !== NEWLINE) {
    throw new MillraceError(
      'INVALID_FORK',
      `The fork's offset lies inside a message of ${source.path}. Fork at an offset that a read has given.`,
      { offset },
    );
  }
  let at = offset;
  for (let left = subOffset; left > 0; ) {
    if (at >= tail) throw overshoot(source, subOffset);
    const bytes = await readBytes(streams, source, at, Math.min(SCAN_BYTES, tail - at));
    let from = 0;
    while (left > 0) {
      const newline = bytes.indexOf(NEWLINE, from);
      if (newline < 0) break;
      from = newline + 1;
      left--;
    }
    at += left === 0 ? from : bytes.length;
  }
  return at;
}

function isPosition(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function overshoot(source: Stream, subOffset: number): MillraceError {
  return new MillraceError(
    'INVALID_FORK',
    `The fork's sub-offset ${subOffset} goes past the end of ${source.path}. Choose a smaller one.`,
    { subOffset, tail: source.tail },
  );
}

function forkSourceGone(path: string): MillraceError {
  return new MillraceError('FORK_SOURCE_GONE', gone(path).message);
}

function forkSourceNotFound(path: string): MillraceError {
  return new MillraceError('FORK_SOURCE_NOT_FOUND', notFound(path).message);
}
