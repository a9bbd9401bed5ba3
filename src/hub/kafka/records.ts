import type { FetchedPartition } from './clients.js';

/** Bits of a batch's attributes. */
const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;
/** Type of a control record, in bytes 2 and 3 of its key. */
const ABORT = 0;

const EMPTY = Buffer.alloc(0);

/**
 * Goes through what a fetch returned of one partition, in order: every message from `from` on, without Kafka's own
 * control records and without those of transactions that were aborted (which brokers send, and readers have to drop).
 * Stops when `take` returns false: it did not take that message. Returns the offset to go on from.
 */
export function readRecords(
  { records: batches = [], abortedTransactions = [] }: FetchedPartition,
  from: bigint,
  take: (value: Buffer, next: bigint) => boolean,
): bigint {
  let next = from;
  const aborted = [...abortedTransactions].sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1));
  const aborting = new Set<bigint>();
  for (const batch of batches) {
    const end = batch.firstOffset + BigInt(batch.lastOffsetDelta) + 1n;
    while (aborted[0] !== undefined && aborted[0].firstOffset < end) {
      aborting.add(aborted[0].producerId);
      aborted.shift();
    }
    if ((batch.attributes & CONTROL) !== 0) {
      if (isAbort(batch)) aborting.delete(batch.producerId);
    } else if ((batch.attributes & TRANSACTIONAL) === 0 || !aborting.has(batch.producerId)) {
      for (const { offsetDelta, value } of batch.records) {
        const offset = batch.firstOffset + BigInt(offsetDelta);
        // A batch comes as a whole, also when only its end was asked for.
        if (offset < next) continue;
        if (!take((value as Buffer | null) ?? EMPTY, offset + 1n)) return next;
        next = offset + 1n;
      }
    }
    if (end > next) next = end;
  }
  return next;
}

function isAbort({ records: [record] }: NonNullable<FetchedPartition['records']>[number]): boolean {
  const key = record?.key as Buffer | null | undefined;
  return key != null && key.length >= 4 && key.readInt16BE(2) === ABORT;
}
