import { MillraceError } from '../errors.js';
import { appenderActive, appendFromSession, checkNumbering, noteUse, setProducerState } from './append.js';
import type { Core } from './core.js';
import { checkNamed, create } from './create.js';
import { Operation } from './operation.js';
import { checkStreamPath } from './path.js';
import { forgotten, type KnownProducer } from './producers.js';
import { checkFence, streamClosed } from './rules.js';
import { Session } from './session.js';
import type { AcquireOptions, AppenderEnd, AppendSession } from './store.js';
import type { Stream, StreamSnapshot } from './stream.js';
import { gone, notFound } from './streams.js';
import { endSession } from './visible.js';

const EMPTY = new Uint8Array(0);

/** `Store.acquire`. */
export async function acquire(core: Core, path: string, options: AcquireOptions = {}): Promise<AppendSession> {
  checkStreamPath(path);
  const { producer } = options;
  if (producer !== undefined) checkNumbering({ producer: { ...producer, seq: 0 } });
  for (;;) {
    core.checkOpen();
    const stream = core.next(path);
    if (stream === undefined) {
      if (options.create === undefined) throw notFound(path);
      const session = await acquireNew(core, path, options);
      if (session !== undefined) return session;
      continue;
    }
    if (stream.gone === 'soft') throw gone(path);
    const living = stream.session;
    if (living?.releasing !== undefined) {
      await living.releasing;
      continue;
    }
    const known = producer === undefined ? undefined : stream.producers.next(producer.id);
    if (producer !== undefined) checkFence(producer, known);
    if (living !== undefined) {
      const takesOver =
        producer !== undefined && living.producer?.id === producer.id && producer.epoch > living.producer.epoch;
      if (!takesOver) throw appenderActive(path);
    }
    if (stream.next.closed) {
      await core.commits.settled(stream).catch(() => {});
      if (stream.closed) throw streamClosed(stream);
      continue;
    }
    if (options.create !== undefined) checkNamed(stream, options.create);
    if (producer !== undefined && known === undefined) stream.producers.makeRoom(core.time.nowMs);
    return establish(core, stream, options, known);
  }
}

/** Makes the stream together with its session. Undefined where somebody else has made it, or it was made closed. */
async function acquireNew(core: Core, path: string, options: AcquireOptions): Promise<Session | undefined> {
  const { producer } = options;
  let session: Session | undefined;
  try {
    await create(core, path, options.create, (stream, creation) => {
      if (stream.next.closed) return;
      const begun = begin(core, stream, options);
      session = begun;
      const producers: [string, KnownProducer][] = [];
      if (producer !== undefined) producers.push([producer.id, fence(core, creation, producer, undefined)]);
      creation.snapshot = { ...(creation.snapshot as StreamSnapshot), producers, appender: 'lives' };
      creation.onCommitted = () => established(begun);
    });
  } catch (error) {
    // Somebody else made it in the meantime: then it is there, and that is what was asked for.
    if (!(error instanceof MillraceError) || error.code !== 'STREAM_EXISTS') throw error;
  }
  return session;
}

/** Gives the stream to a new session; the one before is fenced. */
function begin(core: Core, stream: Stream, { producer, durability }: AcquireOptions): Session {
  const session = new Session(
    {
      append: (own, data, appendOptions) => appendFromSession(core, own, data, appendOptions),
      release: (own, end) => release(core, own, end),
    },
    stream,
    producer,
    durability ?? core.options.durability,
  );
  stream.session?.finish('fenced');
  stream.session = session;
  return session;
}

/** Durable, so that an older instance is refused even if this one never appends and the server restarts. */
function fence(
  core: Core,
  operation: Operation,
  producer: { readonly id: string; readonly epoch: number },
  known: KnownProducer | undefined,
): KnownProducer {
  const state: KnownProducer = {
    epoch: known?.epoch ?? -1,
    seq: known?.seq ?? -1,
    fence: producer.epoch,
    usedMs: core.time.nowMs,
  };
  setProducerState(operation, producer.id, state);
  return state;
}

/** What was appended before is committed: tells the session how things stand. */
function established(session: Session): void {
  const { stream, producer } = session;
  if (producer !== undefined) {
    const state = stream.producers.committed.get(producer.id);
    session.committed =
      state === undefined || state.epoch < 0
        ? { epoch: producer.epoch, seq: -1 }
        : { epoch: state.epoch, seq: state.seq };
  }
  session.info = stream.info();
}

async function establish(
  core: Core,
  stream: Stream,
  options: AcquireOptions,
  known: KnownProducer | undefined,
): Promise<AppendSession> {
  const { producer } = options;
  const session = begin(core, stream, options);
  // Behind everything accepted so far: when it resolves, what a session before this one appended is committed.
  const operation = new Operation('session', stream);
  operation.appender = 'lives';
  operation.offset = stream.next.tail;
  if (producer !== undefined && producer.epoch > Math.max(known?.epoch ?? -1, known?.fence ?? -1)) {
    fence(core, operation, producer, known);
  } else {
    if (producer !== undefined && known !== undefined) noteUse(core, stream, producer.id, known);
    // What it is told as committed, its owner drops. Who is told nothing need not wait: the mark goes to the disk with
    // whatever goes there next, and so before the first append does.
    operation.durable = producer !== undefined && session.durability === 'fsync';
  }
  operation.onCommitted = () => {
    if (stream.session === session && !stream.appender) {
      stream.appender = true;
      stream.publish(stream.tail, EMPTY);
    }
    established(session);
  };
  try {
    await core.commits.commit(operation);
  } catch (error) {
    if (stream.session === session) leave(stream, 'lost');
    throw error;
  }
  return session;
}

async function release(core: Core, session: Session, end: AppenderEnd): Promise<void> {
  const { stream } = session;
  if (stream.session !== session) return;
  const operation = new Operation('session', stream);
  // Whose appends were refused has not done what it was about to.
  operation.appender = session.failure === undefined ? end : 'lost';
  operation.offset = stream.next.tail;
  const { producer } = session;
  if (producer?.once && operation.appender === 'left') {
    setProducerState(operation, producer.id, forgotten(core.time.nowMs));
  }
  // Who was told that it has left is not told otherwise after a power cut.
  operation.durable = session.durability === 'fsync';
  const free = (how: AppenderEnd) => {
    if (stream.session !== session) return;
    core.touch(stream);
    const known = producer && stream.producers.next(producer.id);
    if (producer !== undefined && known !== undefined) noteUse(core, stream, producer.id, known);
    leave(stream, how);
  };
  operation.onCommitted = () => free(operation.appender as AppenderEnd);
  // Whether its last appends were committed or refused, the stream is free afterwards.
  await core.commits.commit(operation).catch(() => free('lost'));
}

function leave(stream: Stream, end: AppenderEnd): void {
  endSession(stream, 'released', end);
  stream.publish(stream.tail, EMPTY);
}
