import { MillraceError } from '../errors.js';
import type { Core } from './core.js';
import { checkSize } from './create.js';
import { Operation } from './operation.js';
import { checkStreamPath } from './path.js';
import { type KnownProducer, PRODUCER_USE_STEP_MS } from './producers.js';
import { decideAppend } from './rules.js';
import type { Session } from './session.js';
import type { Append, Appended, Durability, ProducerStamp, SessionAppendOptions } from './store.js';
import type { Stream } from './stream.js';
import { gone, notFound } from './streams.js';

/** Longest id of a producer, in UTF-16 units. */
export const PRODUCER_ID_LENGTH_MAX = 1024;
/** Longest stream sequence, in UTF-16 units. */
export const STREAM_SEQ_LENGTH_MAX = 1024;

/** `Store.append`. */
export function append(core: Core, path: string, request: Append): Promise<Appended> {
  // Above the limit on what is pending appends wait in line; nothing of them is checked before their turn.
  if (!core.admission.isOpen) return core.admission.wait(() => appendNow(core, path, request));
  return appendNow(core, path, request);
}

/** `AppendSession.append`. */
export function appendFromSession(
  core: Core,
  session: Session,
  data: Uint8Array,
  options: SessionAppendOptions,
): Promise<Appended> {
  if (core.admission.isOpen) return sessionNow(core, session, data, options);
  const appending = core.admission.wait(() => sessionNow(core, session, data, options));
  session.waitFor(appending);
  return appending;
}

function appendNow(core: Core, path: string, request: Append): Promise<Appended> {
  let stream: Stream | undefined;
  try {
    core.checkOpen();
    checkStreamPath(path);
    checkSize(request.data, core.options.appendBytesMax);
    checkNumbering(request);
    stream = core.next(path);
    if (stream === undefined) throw notFound(path);
    if (stream.gone === 'soft') throw gone(path);
    const { session } = stream;
    if (session !== undefined) {
      if (session.releasing === undefined) throw appenderActive(path);
      return session.releasing.then(() => append(core, path, request));
    }
    const { producer } = request;
    const known = producer === undefined ? undefined : stream.producers.next(producer.id);
    if (decideAppend(stream.next, request, known) === 'duplicate') {
      return duplicate(core, stream, producer?.id, known, request.durability);
    }
    if (producer !== undefined && known === undefined) stream.producers.makeRoom(core.time.nowMs);
    return accept(core, stream, request, request.producer, known?.fence ?? -1);
  } catch (error) {
    if (stream === undefined || stream.pending === 0) return Promise.reject(error);
    // It was refused for what may still be taken back: the answer is true only once that is committed.
    return core.commits.settled(stream).then(
      () => Promise.reject(error),
      () => append(core, path, request),
    );
  }
}

function sessionNow(core: Core, session: Session, data: Uint8Array, options: SessionAppendOptions): Promise<Appended> {
  const { stream } = session;
  try {
    core.checkOpen();
    session.checkAlive();
    // A deletion is on its way: the session is over once it is committed, and goes on if it is taken back.
    if (stream.gone !== undefined) {
      const again = () => sessionNow(core, session, data, options);
      return core.commits.settled(stream).then(again, again);
    }
    checkSize(data, core.options.appendBytesMax);
    const request: Append = {
      data,
      durability: session.durability,
      ...(options.close === undefined ? undefined : { close: options.close }),
    };
    const { producer } = session;
    const known = producer === undefined ? undefined : stream.producers.next(producer.id);
    if (decideAppend(stream.next, request, undefined) === 'duplicate') {
      return duplicate(core, stream, producer?.id, known, request.durability);
    }
    if (producer === undefined) return accept(core, stream, request, undefined, -1);
    const last = known !== undefined && known.epoch === producer.epoch ? known.seq : -1;
    const stamp = { id: producer.id, epoch: producer.epoch, seq: last + (options.count ?? 1) };
    return accept(core, stream, request, stamp, known?.fence ?? -1);
  } catch (error) {
    return Promise.reject(error);
  }
}

/** Gives the append its offset and queues it: from here on it is committed, or refused with all that came after it. */
function accept(
  core: Core,
  stream: Stream,
  request: Append,
  stamp: ProducerStamp | undefined,
  fence: number,
): Promise<Appended> {
  const { data, close = false, streamSeq, durability = core.options.durability } = request;
  const { next } = stream;
  const operation = new Operation('append', stream);
  operation.durable = isDurable(durability);
  operation.offset = next.tail;
  if (data !== undefined && data.length > 0) {
    operation.data = data;
    next.tail += data.length;
  }
  if (stamp !== undefined) {
    const state: KnownProducer = { epoch: stamp.epoch, seq: stamp.seq, fence, usedMs: core.time.nowMs };
    stream.producers.accept(stamp.id, state);
    operation.producer = stamp;
    operation.producerState = state;
  }
  if (streamSeq !== undefined) {
    next.streamSeq = streamSeq;
    operation.streamSeq = streamSeq;
  }
  if (close) {
    next.closed = true;
    next.closedBy = stamp;
    operation.close = true;
  }
  operation.result =
    stamp === undefined
      ? { streamId: stream.id, offset: next.tail, duplicate: false, closed: next.closed }
      : {
          streamId: stream.id,
          offset: next.tail,
          duplicate: false,
          closed: next.closed,
          producer: { epoch: stamp.epoch, seq: stamp.seq },
        };
  return core.commits.commit(operation) as Promise<Appended>;
}

/** What was appended before, to be acknowledged again: it may still be on its way, or less durable than is asked now. */
function duplicate(
  core: Core,
  stream: Stream,
  producerId: string | undefined,
  known: KnownProducer | undefined,
  durability: Durability = core.options.durability,
): Promise<Appended> {
  if (producerId !== undefined && known !== undefined) noteUse(core, stream, producerId, known);
  const { next } = stream;
  const result: Appended = {
    streamId: stream.id,
    offset: next.tail,
    duplicate: true,
    closed: next.closed,
    ...(known === undefined ? undefined : { producer: { epoch: known.epoch, seq: known.seq } }),
  };
  return core.commits.settledAs(stream, durability).then(() => result);
}

/** A producer was heard of that has nothing new to say. The journal hears of it now and then, and does not sync for it. */
export function noteUse(core: Core, stream: Stream, producerId: string, known: KnownProducer): void {
  const { nowMs } = core.time;
  if (nowMs - known.usedMs < PRODUCER_USE_STEP_MS || stream.gone !== undefined) return;
  const operation = new Operation('touch', stream);
  operation.offset = stream.next.tail;
  operation.durable = false;
  setProducerState(operation, producerId, { ...known, usedMs: nowMs });
  core.commits.push(operation);
}

/** Makes a producer's state another one with an operation that appends nothing of it. */
export function setProducerState(operation: Operation, producerId: string, state: KnownProducer): void {
  operation.stream.producers.accept(producerId, state);
  operation.producer = { id: producerId, epoch: state.epoch, seq: state.seq };
  operation.producerState = state;
}

/** Throws `INVALID_ARGUMENT` for a producer or a sequence that no stream can remember. */
export function checkNumbering({ producer, streamSeq }: Append): void {
  if (producer !== undefined) {
    const { id, epoch, seq } = producer;
    if (!isCount(epoch) || !isCount(seq) || id === '' || id.length > PRODUCER_ID_LENGTH_MAX) {
      throw new MillraceError(
        'INVALID_ARGUMENT',
        `A producer needs an id of 1 to ${PRODUCER_ID_LENGTH_MAX} characters, and an epoch and a sequence number that are whole numbers from 0 on.`,
      );
    }
  }
  if (streamSeq !== undefined && streamSeq.length > STREAM_SEQ_LENGTH_MAX) {
    throw new MillraceError(
      'INVALID_ARGUMENT',
      `A stream sequence may have at most ${STREAM_SEQ_LENGTH_MAX} characters. Choose a shorter one.`,
    );
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function isDurable(durability: Durability): boolean {
  return durability === 'fsync';
}

export function appenderActive(path: string): MillraceError {
  return new MillraceError(
    'APPENDER_ACTIVE',
    `Another appender has ${path} to itself. Wait until it leaves, or take over with a higher epoch of its producer.`,
  );
}
