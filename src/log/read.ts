import { MillraceError } from '../errors.js';
import type { Core } from './core.js';
import { readBytes, sourceOf } from './forks.js';
import { checkStreamPath } from './path.js';
import type { ReadOptions, ReadResult, StreamInfo, StreamSubscription } from './store.js';
import type { Stream } from './stream.js';
import { notFound } from './streams.js';

const EMPTY = new Uint8Array(0);
const NEWLINE = 0x0a;

/** `Store.read`. */
export async function read(core: Core, path: string, offset: number, options: ReadOptions): Promise<ReadResult> {
  options.signal?.throwIfAborted();
  checkStreamPath(path);
  let stream = core.visible(path);
  if (!stream.isNamed) {
    await core.name(stream);
    stream = core.visible(path);
  }
  const { tail } = stream;
  if (!Number.isSafeInteger(offset) || offset < 0 || offset > tail) {
    throw new MillraceError(
      'OFFSET_OUT_OF_RANGE',
      `The stream ${path} ends at ${tail}; there is nothing at ${offset}. Read from its tail or before.`,
      { offset, tail },
    );
  }
  core.touch(stream);
  const length = Math.min(Math.max(1, options.maxBytes), tail - offset);
  checkBytes(core, stream, offset);
  try {
    let data = length === 0 ? EMPTY : await readBytes(core.streams, stream, offset, length);
    if (stream.json && offset + length < tail) data = await wholeMessages(core, stream, offset, data, tail);
    options.signal?.throwIfAborted();
    return { data, next: offset + data.length, info: stream.info() };
  } catch (error) {
    throw explain(core, stream, error);
  }
}

/**
 * Throws `STREAM_FILE_CHANGED` where others took away bytes from `offset` on, in the stream's own file or in one of those
 * that it is a fork of: before a reader is promised any. Who only asks (not `now`) may hear of it a moment later.
 */
function checkBytes(core: Core, stream: Stream, offset: number, now = true): void {
  for (let owner = stream; ; owner = sourceOf(core.streams, owner.fork)) {
    try {
      owner.storage.check?.(now);
    } catch (error) {
      throw explain(core, owner, error);
    }
    if (owner.fork === undefined || offset >= owner.start) return;
  }
}

/** What a reader is told: whose file was changed by others is loaded anew by the next one. */
function explain(core: Core, stream: Stream, error: unknown): unknown {
  if (!(error instanceof MillraceError) || error.code !== 'STREAM_FILE_CHANGED') return error;
  // Deleted while it was read, by a commit that is not over yet.
  if (stream.gone === 'deleted') return notFound(stream.path);
  core.fileChanged(stream);
  return error;
}

/** `Store.stat`. */
export async function stat(core: Core, path: string): Promise<StreamInfo> {
  checkStreamPath(path);
  let stream = core.visible(path);
  if (!stream.isNamed) {
    await core.name(stream);
    stream = core.visible(path);
  }
  checkBytes(core, stream, stream.tail, false);
  return stream.info();
}

/** `Store.subscribe`. */
export async function subscribe(core: Core, path: string): Promise<StreamSubscription> {
  checkStreamPath(path);
  core.checkOpen();
  let stream = core.visible(path);
  if (!stream.isNamed) {
    await core.name(stream);
    stream = core.visible(path);
  }
  checkBytes(core, stream, stream.tail);
  core.touch(stream);
  stream.subscribers++;
  let released = false;
  return {
    info: stream.info(),
    events: stream.events().position(),
    release: () => {
      if (released) return;
      released = true;
      stream.unsubscribe();
      core.touch(stream);
    },
  };
}

/** Cuts what was read after its last whole message; reads on where it is not even one. */
async function wholeMessages(
  core: Core,
  stream: Stream,
  offset: number,
  first: Uint8Array,
  tail: number,
): Promise<Uint8Array> {
  let data = first;
  let end = data.lastIndexOf(NEWLINE) + 1;
  while (end === 0 && offset + data.length < tail) {
    const at = offset + data.length;
    // Twice as much each time, so that a long message is not copied over and over.
    const more = await readBytes(core.streams, stream, at, Math.min(data.length, tail - at));
    const newline = more.indexOf(NEWLINE);
    if (newline >= 0) end = data.length + newline + 1;
    data = Buffer.concat([data, more]);
  }
  return end === 0 ? data : data.subarray(0, end);
}
