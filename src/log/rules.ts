import { MillraceError } from '../errors.js';
import { mediaType } from './content-type.js';
import type { Append, ProducerStamp } from './store.js';

/**
 * Who may append what, as pure functions over a stream's state: no store decides for itself. The rules are those of
 * the Durable Streams protocol, sections 5.2, 5.2.1 and 5.3.
 */

/** What a stream knows of one producer. Never changed once made. */
export interface ProducerState {
  /** Of its last append; -1 before the first. */
  readonly epoch: number;
  /** Of its last append; -1 before the first. */
  readonly seq: number;
  /** The highest epoch that opened an appender session: lower ones are fenced even before it appends. */
  readonly fence: number;
}

/** A stream as the next append finds it, everything accepted so far included. */
export interface WriterState {
  readonly path: string;
  readonly id: string;
  readonly json: boolean;
  readonly contentType: string;
  readonly tail: number;
  readonly closed: boolean;
  /** The producer's append that closed it. */
  readonly closedBy: ProducerStamp | undefined;
  readonly streamSeq: string | undefined;
}

/**
 * Decides an append. `duplicate` means: acknowledge it, append nothing.
 * Throws, in this order of precedence: `EMPTY_APPEND`, `STREAM_CLOSED`, `CONTENT_TYPE_MISMATCH`, `INVALID_JSON`,
 * `PRODUCER_*`, `STREAM_SEQ_CONFLICT`.
 */
export function decideAppend(
  stream: WriterState,
  append: Append,
  producer: ProducerState | undefined,
): 'accept' | 'duplicate' {
  const { data, close = false, producer: stamp } = append;
  const empty = data === undefined || data.length === 0;
  if (empty && !close) {
    throw new MillraceError('EMPTY_APPEND', 'An append must hold at least one byte, or close the stream.');
  }
  if (stream.closed) {
    if (stamp === undefined ? empty : sameStamp(stamp, stream.closedBy)) return 'duplicate';
    throw streamClosed(stream);
  }
  if (!empty) {
    const { contentType } = append;
    if (contentType !== undefined && contentType !== stream.contentType) checkContentType(stream, contentType);
    if (stream.json && data[data.length - 1] !== NEWLINE) {
      throw new MillraceError(
        'INVALID_JSON',
        'What is appended to a JSON stream must be whole lines, each ended by \\n.',
      );
    }
  }
  if (stamp !== undefined && decideProducer(stamp, producer) === 'duplicate') return 'duplicate';
  const { streamSeq } = append;
  if (streamSeq !== undefined && stream.streamSeq !== undefined && compareBytes(streamSeq, stream.streamSeq) <= 0) {
    throw new MillraceError(
      'STREAM_SEQ_CONFLICT',
      `There is a sequence conflict: the append's Stream-Seq must come after ${JSON.stringify(stream.streamSeq)}, the last one of the stream. Read the stream, then go on from there.`,
      { lastSeq: stream.streamSeq, receivedSeq: streamSeq },
    );
  }
  return 'accept';
}

/**
 * Decides a producer's append by its epoch and sequence number.
 * Throws `PRODUCER_FENCED`, `PRODUCER_EPOCH_START`, `PRODUCER_SEQ_GAP`.
 */
export function decideProducer(stamp: ProducerStamp, known: ProducerState | undefined): 'accept' | 'duplicate' {
  checkFence(stamp, known);
  if (known === undefined || known.epoch < 0) {
    if (stamp.seq === 0) return 'accept';
    throw sequenceGap(0, stamp.seq);
  }
  if (stamp.epoch > known.epoch) {
    if (stamp.seq === 0) return 'accept';
    throw new MillraceError(
      'PRODUCER_EPOCH_START',
      `The first append of a new epoch must have the sequence number 0, not ${stamp.seq}.`,
      { epoch: known.epoch },
    );
  }
  if (stamp.seq <= known.seq) return 'duplicate';
  if (stamp.seq === known.seq + 1) return 'accept';
  throw sequenceGap(known.seq + 1, stamp.seq);
}

/** Throws `PRODUCER_FENCED` where a higher epoch of the same producer has been seen. */
export function checkFence(producer: { readonly epoch: number }, known: ProducerState | undefined): void {
  if (known === undefined) return;
  const epoch = Math.max(known.epoch, known.fence);
  if (producer.epoch >= epoch) return;
  throw new MillraceError(
    'PRODUCER_FENCED',
    `A newer instance of this producer (epoch ${epoch}) has taken over. Stop, or go on with a higher epoch.`,
    { epoch },
  );
}

/** Throws `CONTENT_TYPE_MISMATCH` unless both are of one media type; parameters such as `charset` do not matter. */
export function checkContentType(stream: { readonly contentType: string }, contentType: string): void {
  if (mediaType(contentType) === mediaType(stream.contentType)) return;
  throw new MillraceError(
    'CONTENT_TYPE_MISMATCH',
    `The stream's type is ${stream.contentType}, not ${contentType}. Send the stream's own type.`,
    { contentType: stream.contentType },
  );
}

/** `STREAM_CLOSED`, with the tail, and the stream's id, which the tail's token is made of. */
export function streamClosed(stream: {
  readonly path: string;
  readonly id: string;
  readonly tail: number;
}): MillraceError {
  return new MillraceError(
    'STREAM_CLOSED',
    `The stream ${stream.path} is closed: nothing can be appended to it any more. It can still be read.`,
    { offset: stream.tail, streamId: stream.id },
  );
}

/** Byte by byte, as the protocol asks; JavaScript's own order is by UTF-16 unit and differs beyond the BMP. */
export function compareBytes(a: string, b: string): number {
  if (ASCII.test(a) && ASCII.test(b)) return a < b ? -1 : a > b ? 1 : 0;
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function sameStamp(stamp: ProducerStamp, other: ProducerStamp | undefined): boolean {
  return other !== undefined && stamp.id === other.id && stamp.epoch === other.epoch && stamp.seq === other.seq;
}

function sequenceGap(expectedSeq: number, receivedSeq: number): MillraceError {
  return new MillraceError(
    'PRODUCER_SEQ_GAP',
    `The producer's next sequence number is ${expectedSeq}, not ${receivedSeq}: an append in between is missing. Send it first.`,
    { expectedSeq, receivedSeq },
  );
}

const NEWLINE = 0x0a;
// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant.
const ASCII = /^[\u0000-\u007f]*$/;
