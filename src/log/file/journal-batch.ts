import type { AppendStep, Step } from '../medium.js';
import type { Operation } from '../operation.js';
import type { ForkLink, Stream, StreamSnapshot } from '../stream.js';
import type { FilePrint } from './file-print.js';
import {
  align,
  encodeRecord,
  headBytes,
  type RecordFields,
  type RecordProducer,
  RecordType,
  recordBytes,
  type StreamName,
  sealRecord,
} from './record.js';

/** A record to be written, with its payload. */
export interface PlannedRecord {
  readonly fields: RecordFields;
  readonly payload: Uint8Array | undefined;
}

/** What the journal asks about streams. */
export interface StreamNames {
  /** The stream's encoded name, kept with the stream. */
  nameOf(stream: Stream): StreamName;
  /** What tells the stream's file from another one at its path. */
  fileMarkOf(stream: Stream): string | undefined;
  /** What tells the file that the stream was found in from one that others put in its place. */
  printOf(stream: Stream): FilePrint | undefined;
}

/** The body of a `name` record. */
export interface Naming extends StreamSnapshot {
  readonly file: FilePrint | undefined;
}

/** The body of a `delete` record. */
export interface Deletion {
  /** Tells the stream's file from another one at its path. */
  readonly file?: string | undefined;
  readonly fork?: ForkLink | undefined;
  /** The stream never came to be: its fork counts only where the same replay has counted it. */
  readonly voids?: true | undefined;
}

/** The log sequence numbers and the time that a batch gets. */
export interface BatchStart {
  readonly lsn: number;
  readonly syncedLsn: number;
  readonly timeMs: number;
}

/** Turns a batch's steps into records, consecutive appends that need no record of their own into one. */
export function planRecords(
  steps: readonly Step[],
  names: StreamNames,
  start: BatchStart,
): { records: PlannedRecord[]; bytes: number } {
  const records: PlannedRecord[] = [];
  let bytes = 0;
  const add = (
    stream: Stream,
    type: RecordType,
    offset: number,
    payload: Uint8Array | undefined,
    rest: Partial<Pick<RecordFields, 'close' | 'soft' | 'producer' | 'streamSeq' | 'appender' | 'body'>>,
  ) => {
    const fields: RecordFields = {
      type,
      lsn: start.lsn + records.length,
      syncedLsn: start.syncedLsn,
      timeMs: start.timeMs,
      name: names.nameOf(stream),
      offset,
      close: rest.close ?? false,
      soft: rest.soft ?? false,
      producer: rest.producer,
      streamSeq: rest.streamSeq,
      appender: rest.appender,
      body: rest.body,
    };
    records.push({ fields, payload });
    bytes += recordBytes(fields, payload?.length ?? 0);
  };
  for (const step of steps) {
    const { stream } = step;
    switch (step.kind) {
      case 'append':
        for (const run of runsOf(step)) add(stream, RecordType.append, run.offset, run.payload, run);
        break;
      case 'create':
        add(stream, RecordType.create, stream.start, step.data, { body: toBody(step.snapshot) });
        break;
      case 'state':
        add(stream, RecordType.state, step.snapshot.tail, undefined, { body: toBody(step.snapshot) });
        break;
      case 'delete': {
        // With what it was a fork of: its own files may be gone when the journal is replayed, and its source must still
        // learn that it has one fork less.
        const deletion: Deletion = {
          file: names.fileMarkOf(stream),
          fork: stream.fork,
          voids: step.voids || undefined,
        };
        const body = deletion.file === undefined && deletion.fork === undefined ? undefined : toBody(deletion);
        add(stream, RecordType.delete, stream.tail, undefined, { soft: step.soft, body });
        break;
      }
      case 'name': {
        const naming: Naming = { ...step.snapshot, file: names.printOf(stream) };
        add(stream, RecordType.name, step.snapshot.tail, undefined, { body: toBody(naming) });
        break;
      }
      case 'session': {
        const [operation] = step.operations as [Operation];
        add(stream, RecordType.append, step.offset, undefined, {
          producer: producerOf(operation),
          appender: operation.appender,
        });
        break;
      }
      case 'forget':
        add(stream, RecordType.forget, stream.tail, undefined, {});
        break;
      default:
    }
  }
  return { records, bytes };
}

interface Run {
  readonly offset: number;
  payload: Uint8Array | undefined;
  readonly close: boolean;
  readonly producer: RecordProducer | undefined;
  readonly streamSeq: string | undefined;
}

/** The records of an append step. One is enough for operations after which the last one's state says it all. */
function* runsOf(step: AppendStep): Generator<Run> {
  const { operations, data } = step;
  let from = 0;
  let to = 0;
  for (let index = 0; index < operations.length; index++) {
    const operation = operations[index] as Operation;
    to += operation.data.length;
    const next = operations[index + 1];
    if (next !== undefined && continues(operation, next)) continue;
    yield {
      offset: step.offset + from,
      payload: to === from ? undefined : data.subarray(from, to),
      close: operation.close,
      producer: producerOf(operation),
      streamSeq: operation.streamSeq,
    };
    from = to;
  }
}

function producerOf({ producer, producerState }: Operation): RecordProducer | undefined {
  if (producer === undefined) return undefined;
  const { id, epoch, seq } = producer;
  return { id, epoch, seq, fence: producerState?.fence ?? -1 };
}

/** Whether the state after `next` makes the one after `operation` needless. */
function continues(operation: Operation, next: Operation): boolean {
  if (operation.streamSeq !== next.streamSeq && operation.streamSeq !== undefined) return false;
  if (operation.close) return false;
  return operation.producer === undefined || operation.producer.id === next.producer?.id;
}

function toBody(value: StreamSnapshot | Naming | Deletion): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** Writes records one behind the other. What it gives is good until it is used again. */
export class BatchEncoder {
  #arena = Buffer.allocUnsafeSlow(ARENA_BYTES);

  /** The batch as few buffers, small payloads copied between the headers; and the checksum of its last record. */
  encode(
    records: readonly PlannedRecord[],
    previousCrc: number,
    mark: number,
    seed: number,
  ): { buffers: Uint8Array[]; crc: number } {
    let copied = 0;
    for (const { fields, payload } of records) {
      copied += headBytes(fields) + 2 * 8;
      if (payload !== undefined && payload.length < COPY_BYTES_MAX) copied += payload.length;
    }
    if (copied > this.#arena.length) this.#arena = Buffer.allocUnsafeSlow(2 * copied);
    const arena = this.#arena;
    const buffers: Uint8Array[] = [];
    let crc = previousCrc;
    // Bytes that are in `buffers`; those from `from` to `at` in the arena come next.
    let done = 0;
    let from = 0;
    let at = 0;
    for (const { fields, payload } of records) {
      const length = payload?.length ?? 0;
      const head = encodeRecord(arena, at, fields, length, crc, mark);
      if (payload === undefined || length < COPY_BYTES_MAX) {
        if (payload !== undefined) arena.set(payload, head);
        crc = sealRecord(arena, at, head + length, undefined, seed);
        at = pad(arena, head + length, done + head + length - from);
      } else {
        crc = sealRecord(arena, at, head, payload, seed);
        buffers.push(arena.subarray(from, head), payload);
        done += head - from + length;
        from = head;
        at = pad(arena, head, done);
      }
    }
    if (at > from) buffers.push(arena.subarray(from, at));
    return { buffers, crc };
  }
}

/** Payloads from this size on are written from where they are; smaller ones are copied next to their header. */
const COPY_BYTES_MAX = 16 * 1024;
const ARENA_BYTES = 1024 * 1024;

/** Fills up to the next record's place with zeros. */
function pad(arena: Buffer, at: number, position: number): number {
  const gap = align(position) - position;
  arena.fill(0, at, at + gap);
  return at + gap;
}
