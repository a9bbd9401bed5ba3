import { MillraceError } from '../errors.js';
import { appenderActive, appendFromSession, checkNumbering, newProducerState, noteUse } from './append.js';
import { Operation } from './commit.js';
import type { Core } from './core.js';
import { create } from './create.js';
import { checkStreamPath } from './path.js';
import type { KnownProducer } from './producers.js';
import { checkFence, streamClosed } from './rules.js';
import { Session } from './session.js';
import type { AcquireOptions, AppendSession } from './store.js';
import type { Stream } from './stream.js';
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
      await create(core, path, options.create).catch((error) => {
        // Somebody else made it in the meantime: then it is there, and that is what was asked for.
        if (!(error instanceof MillraceError) || error.code !== 'STREAM_EXISTS') throw error;
      });
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
    if (producer !== undefined && known === undefined) stream.producers.makeRoom(core.time.nowMs);
    return establish(core, stream, options, known);
  }
}

async function establish(
  core: Core,
  stream: Stream,
  options: AcquireOptions,
  known: KnownProducer | undefined,
): Promise<AppendSession> {
  const { producer, durability = core.options.durability } = options;
  const session = new Session(
    {
      append: (own, data, appendOptions) => appendFromSession(core, own, data, appendOptions),
      release: (own) => release(core, own),
    },
    stream,
    producer,
    durability,
  );
  stream.session?.finish('fenced');
  stream.session = session;

  // Behind everything accepted so far: when it resolves, what a session before this one appended is committed.
  let operation: Operation;
  if (producer !== undefined && producer.epoch > Math.max(known?.epoch ?? -1, known?.fence ?? -1)) {
    // Durable, so that an older instance is refused even if this one never appends and the server restarts.
    operation = newProducerState(stream, producer.id, {
      epoch: known?.epoch ?? -1,
      seq: known?.seq ?? -1,
      fence: producer.epoch,
      usedMs: core.time.nowMs,
    });
  } else {
    if (producer !== undefined && known !== undefined) noteUse(core, stream, producer.id, known);
    operation = new Operation('barrier', stream);
    // What it is told as committed, its owner drops.
    operation.durable = durability === 'fsync';
  }
  operation.onCommitted = () => {
    if (producer !== undefined) {
      const state = stream.producers.committed.get(producer.id);
      session.committed =
        state === undefined || state.epoch < 0
          ? { epoch: producer.epoch, seq: -1 }
          : { epoch: state.epoch, seq: state.seq };
    }
    if (stream.session === session && !stream.appender) {
      stream.appender = true;
      stream.publish(stream.tail, EMPTY);
    }
    session.info = stream.info();
  };
  try {
    await core.commits.commit(operation);
  } catch (error) {
    if (stream.session === session) endSession(stream, 'released');
    throw error;
  }
  return session;
}

async function release(core: Core, session: Session): Promise<void> {
  const { stream } = session;
  if (stream.session !== session) return;
  const barrier = new Operation('barrier', stream);
  const free = () => {
    if (stream.session !== session) return;
    endSession(stream, 'released');
    core.touch(stream);
    const known = session.producer && stream.producers.next(session.producer.id);
    if (session.producer !== undefined && known !== undefined) noteUse(core, stream, session.producer.id, known);
    stream.publish(stream.tail, EMPTY);
  };
  barrier.onCommitted = free;
  // Whether its last appends were committed or refused, the stream is free afterwards.
  await core.commits.commit(barrier).catch(free);
}
