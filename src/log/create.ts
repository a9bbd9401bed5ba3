import { MillraceError } from '../errors.js';
import { contentTypeOf, JSON_TYPE, mediaType } from './content-type.js';
import type { Core } from './core.js';
import { forkDepth, forkSource, resolveForkPoint, sourceOf } from './forks.js';
import { Operation } from './operation.js';
import { checkStreamPath } from './path.js';
import { checkContentType } from './rules.js';
import type { Created, CreateOptions } from './store.js';
import type { Stream, StreamIdentity } from './stream.js';
import { newStreamId } from './stream-id.js';
import { gone } from './streams.js';

const EMPTY = new Uint8Array(0);
const NEWLINE = 0x0a;

/** What belongs to the creation of a stream, and is committed with it. Called once it is certain, in the same step. */
export type WithCreation = (stream: Stream, creation: Operation) => void;

/** `Store.create`. */
export async function create(
  core: Core,
  path: string,
  options: CreateOptions = {},
  withCreation?: WithCreation,
): Promise<Created> {
  core.checkOpen();
  checkStreamPath(path);
  checkOptions(options, core.options.appendBytesMax);
  for (;;) {
    const existing = core.nextOrFree(path);
    if (existing !== undefined) {
      if (existing.gone === 'soft') throw new MillraceError('STREAM_EXISTS', gone(path).message);
      if (!(await matches(core, existing, options))) throw existsOtherwise(existing);
      await core.commits.settledAs(existing, options.durability ?? core.options.durability);
      core.touch(existing);
      return { created: false, info: existing.info() };
    }
    let source: Stream | undefined;
    let start = 0;
    if (options.fork !== undefined) {
      source = forkSource(core.streams, options.fork.path, core.time);
      if (options.fork.id !== undefined && source.id !== options.fork.id) throw offsetOfAnotherSource(source.path);
      if (options.contentType !== undefined) checkContentType(source, options.contentType);
      // The fork will tell of its source's id: it is to be committed first.
      void core.name(source);
      start = await resolveForkPoint(core.streams, source, options.fork);
      core.checkOpen();
      // The world may have moved on while the point was looked for.
      if (core.nextOrFree(path) !== undefined) continue;
      if (forkSource(core.streams, options.fork.path, core.time) !== source) continue;
      if (forkDepth(core.streams, source) >= core.options.forkDepthMax) {
        throw new MillraceError(
          'INVALID_FORK',
          `The chain of forks would be longer than ${core.options.forkDepthMax}. Fork from a stream further up.`,
        );
      }
    }
    const stream = await commitCreation(
      core,
      identify(core, path, options, source, start),
      options,
      source,
      withCreation,
    );
    return { created: true, info: stream.info() };
  }
}

async function commitCreation(
  core: Core,
  identity: StreamIdentity,
  options: CreateOptions,
  source: Stream | undefined,
  withCreation: WithCreation | undefined,
): Promise<Stream> {
  const { data = EMPTY, closed = false, durability = core.options.durability } = options;
  if (identity.json && data.length > 0 && data[data.length - 1] !== NEWLINE) {
    throw new MillraceError('INVALID_JSON', 'The first data of a JSON stream must be whole lines, each ended by \\n.');
  }
  const stream = core.medium.make(identity);
  stream.next.tail = stream.start + data.length;
  stream.next.closed = closed;
  const operation = new Operation('create', stream);
  operation.data = data;
  operation.source = source;
  operation.durable = durability === 'fsync';
  operation.snapshot = { ...stream.snapshot(), tail: stream.next.tail, closed };
  withCreation?.(stream, operation);
  if (source !== undefined) source.nextForks++;
  core.streams.add(stream);
  await core.commits.commit(operation);
  return stream;
}

function identify(
  core: Core,
  path: string,
  options: CreateOptions,
  source: Stream | undefined,
  start: number,
): StreamIdentity {
  const { contentType = source?.contentType, ttlSeconds, expiresAtMs } = options;
  // Section 4.2 of the protocol: a fork that is given no end takes its source's.
  const inherits = source !== undefined && ttlSeconds === undefined && expiresAtMs === undefined;
  return {
    path,
    id: newStreamId(),
    contentType: contentType ?? contentTypeOf(path),
    // Only who says so makes a stream of messages: the extension alone speaks for raw bytes.
    json: source?.json ?? (contentType !== undefined && mediaType(contentType) === JSON_TYPE),
    createdAtMs: core.time.nowMs,
    ttlSeconds: inherits ? source.ttlSeconds : ttlSeconds,
    expiresAtMs: inherits ? source.expiresAtMs : expiresAtMs,
    fork: source === undefined ? undefined : { path: source.path, offset: start, ...source.lineage },
  };
}

/** Whether a stream is what would be created: type, life time, closure and origin. */
async function matches(core: Core, stream: Stream, options: CreateOptions): Promise<boolean> {
  const { contentType, ttlSeconds, expiresAtMs, closed = false, fork } = options;
  if (contentType !== undefined && mediaType(contentType) !== mediaType(stream.contentType)) return false;
  if (closed !== stream.next.closed) return false;
  if ((fork === undefined) !== (stream.fork === undefined)) return false;
  const source = stream.fork === undefined ? undefined : sourceOf(core.streams, stream.fork);
  const inherits = source !== undefined && ttlSeconds === undefined && expiresAtMs === undefined;
  const end = inherits ? source : { ttlSeconds, expiresAtMs };
  if (end.ttlSeconds !== stream.ttlSeconds || end.expiresAtMs !== stream.expiresAtMs) return false;
  if (fork === undefined || stream.fork === undefined || source === undefined) return true;
  if (fork.path !== stream.fork.path) return false;
  // Without an offset the fork was made at the tail of that time, wherever the tail is now.
  if (fork.offset === undefined && (fork.subOffset ?? 0) === 0) return true;
  return (await resolveForkPoint(core.streams, source, fork)) === stream.fork.offset;
}

/**
 * Throws `STREAM_EXISTS` where a stream that is there has another life time or origin than what is named. What is not
 * named does not matter to who only wants to append, and neither does the type.
 */
export function checkNamed(stream: Stream, { ttlSeconds, expiresAtMs, fork }: CreateOptions): void {
  const differs =
    (ttlSeconds !== undefined && ttlSeconds !== stream.ttlSeconds) ||
    (expiresAtMs !== undefined && expiresAtMs !== stream.expiresAtMs) ||
    (fork !== undefined && fork.path !== stream.fork?.path);
  if (differs) throw existsOtherwise(stream);
}

function existsOtherwise(stream: Stream): MillraceError {
  const { path, contentType, ttlSeconds, expiresAtMs, fork } = stream;
  const { closed } = stream.next;
  const configuration = [contentType, closed ? 'closed' : 'open'];
  if (ttlSeconds !== undefined) configuration.push(`a TTL of ${ttlSeconds} s`);
  if (expiresAtMs !== undefined) configuration.push(`until ${new Date(expiresAtMs).toISOString()}`);
  if (ttlSeconds === undefined && expiresAtMs === undefined) configuration.push('no life time');
  if (fork !== undefined) configuration.push(`a fork of ${fork.path}`);
  return new MillraceError(
    'STREAM_EXISTS',
    `There is a stream at ${path} already, of another configuration (${configuration.join(', ')}). Append to it as it is, delete it first, or choose another path.`,
    { contentType, closed },
  );
}

function offsetOfAnotherSource(path: string): MillraceError {
  return new MillraceError(
    'OFFSET_OF_ANOTHER_STREAM',
    `The fork's offset is one of another stream than the one that is at ${path} now. Read that one, and fork at an offset of it.`,
  );
}

function checkOptions(options: CreateOptions, appendBytesMax: number): void {
  const { ttlSeconds, expiresAtMs, contentType, data } = options;
  if (ttlSeconds !== undefined && expiresAtMs !== undefined) {
    throw new MillraceError('INVALID_ARGUMENT', 'Give ttlSeconds or expiresAtMs, not both.');
  }
  for (const [name, value] of [
    ['ttlSeconds', ttlSeconds],
    ['expiresAtMs', expiresAtMs],
  ] as const) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0)) {
      throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number from 0 on, not ${value}.`);
    }
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  if (contentType !== undefined && (contentType.trim() === '' || /[\u0000-\u001f\u007f]/.test(contentType))) {
    throw new MillraceError('INVALID_ARGUMENT', 'contentType must be a MIME type such as text/plain.');
  }
  checkSize(data, appendBytesMax);
}

/** Throws `APPEND_TOO_LARGE`. */
export function checkSize(data: Uint8Array | undefined, appendBytesMax: number): void {
  if (data === undefined || data.length <= appendBytesMax) return;
  throw new MillraceError(
    'APPEND_TOO_LARGE',
    `One append may hold at most ${appendBytesMax} bytes, not ${data.length}. Divide it into several.`,
    { appendBytesMax, receivedBytes: data.length },
  );
}
