import type { StoreTime } from './clock.js';
import type { AppendStep, CreateStep, DeleteStep, Step } from './medium.js';
import type { Operation } from './operation.js';
import type { AppenderEnd, StoreChange } from './store.js';
import type { Stream } from './stream.js';

const EMPTY = new Uint8Array(0);

/** Who hears of what became visible. */
export interface Audience {
  /** Tells the store's observers. */
  changed(change: StoreChange): void;
  /** The stream is deleted, for good (`deleted`) or but for its forks (`softDeleted`). */
  deleted(stream: Stream): void;
}

/**
 * A step is durable: turn it into the committed state and tell readers, in one go, so that nobody sees half of it.
 */
export function makeVisible(step: Step, time: StoreTime, audience: Audience): void {
  switch (step.kind) {
    case 'append':
      appended(step, time, audience);
      break;
    case 'create':
      created(step, time, audience);
      break;
    case 'delete':
      deleted(step, audience);
      break;
    case 'session':
      for (const operation of step.operations) commitProducer(step.stream, operation);
      break;
    default:
  }
  for (const operation of step.operations) operation.onCommitted?.();
}

function appended(step: AppendStep, time: StoreTime, audience: Audience): void {
  const { nowMs } = time;
  const { stream, data, offset, operations } = step;
  let closes = false;
  for (const operation of operations) {
    if (operation.producer !== undefined) commitProducer(stream, operation);
    if (operation.streamSeq !== undefined) stream.streamSeq = operation.streamSeq;
    if (operation.close) {
      closes = true;
      stream.closedBy = operation.producer;
    }
  }
  stream.lastUsedMs = nowMs;
  stream.journaledUseMs = nowMs;
  if (data.length === 0 && !closes) return;
  stream.tail = offset + data.length;
  if (data.length > 0) stream.modified(time.clock.wallMs());
  if (closes) {
    stream.closed = true;
    endSession(stream, 'closed');
  }
  stream.publish(offset, data);
  if (data.length > 0)
    audience.changed({ path: stream.path, kind: 'appended', tail: stream.tail, lineage: stream.lineage });
  if (closes) audience.changed({ path: stream.path, kind: 'closed', tail: stream.tail, lineage: stream.lineage });
}

function commitProducer(stream: Stream, operation: Operation): void {
  const { producer, producerState } = operation;
  if (producer !== undefined && producerState !== undefined) stream.producers.commit(producer.id, producerState);
}

function created(step: CreateStep, time: StoreTime, audience: Audience): void {
  const { nowMs } = time;
  const { stream, snapshot, source } = step;
  stream.exists = true;
  stream.tail = snapshot.tail;
  stream.closed = snapshot.closed;
  // In the same step: nobody sees it without the appender that it was made for.
  stream.appender = snapshot.appender === 'lives';
  for (const operation of step.operations) commitProducer(stream, operation);
  stream.lastUsedMs = nowMs;
  stream.modifiedAtMs = time.clock.wallMs();
  stream.journaledUseMs = nowMs;
  if (source !== undefined) source.forks++;
  audience.changed({ path: stream.path, kind: 'created', tail: stream.tail, lineage: stream.lineage });
}

function deleted(step: DeleteStep, audience: Audience): void {
  const { stream, soft } = step;
  const wasVisible = stream.exists && !stream.softDeleted;
  stream.appender = false;
  if (soft) stream.softDeleted = true;
  else stream.deleted = true;
  endSession(stream, 'deleted');
  if (wasVisible) {
    stream.publish(stream.tail, EMPTY);
    audience.changed({ path: stream.path, kind: 'deleted', tail: stream.tail, lineage: stream.lineage });
  }
  stream.closeEvents();
  audience.deleted(stream);
}

/** Ends the stream's session; readers hear of it, and of `how`, with the event that follows. */
export function endSession(
  stream: Stream,
  end: 'closed' | 'deleted' | 'released',
  how: AppenderEnd = end === 'closed' ? 'left' : 'lost',
): void {
  if (stream.appender) stream.lastAppender = how;
  stream.appender = false;
  const { session } = stream;
  stream.session = undefined;
  session?.finish(end);
}
