import { describe, expect, it } from 'vitest';
import { formatPosition, parsePosition, topicMark } from '../../../src/hub/kafka/position.js';
import { readRecords } from '../../../src/hub/kafka/records.js';

type Fetched = Parameters<typeof readRecords>[0];
type Batch = NonNullable<Fetched['records']>[number];

const TRANSACTIONAL = 0x10;
const CONTROL = 0x20;

function batch(firstOffset: number, values: readonly (string | null)[], more: Partial<Batch> = {}): Batch {
  const records = values.map((value, offsetDelta) => ({
    offsetDelta,
    value: value === null ? null : Buffer.from(value),
  }));
  return {
    firstOffset: BigInt(firstOffset),
    lastOffsetDelta: values.length - 1,
    attributes: 0,
    producerId: -1n,
    records,
    ...more,
  } as Batch;
}

/** The record by which Kafka ends a transaction. */
function marker(offset: number, producerId: bigint, type: 'abort' | 'commit'): Batch {
  const key = Buffer.from([0, 0, 0, type === 'abort' ? 0 : 1]);
  const records = [{ offsetDelta: 0, key, value: Buffer.alloc(6) }];
  return batch(offset, [''], { attributes: CONTROL | TRANSACTIONAL, producerId, records } as Partial<Batch>);
}

function read(fetched: Partial<Fetched>, from = 0): { values: string[]; next: bigint } {
  const values: string[] = [];
  const next = readRecords(fetched as Fetched, BigInt(from), (value) => {
    values.push(value.toString());
    return true;
  });
  return { values, next };
}

describe('what a fetch brings', () => {
  it('is read from the offset that was asked for, though batches come whole', () => {
    expect(read({ records: [batch(0, ['a', 'b', 'c']), batch(3, ['d'])] }, 2)).toEqual({
      values: ['c', 'd'],
      next: 4n,
    });
  });

  it('goes on behind a batch whose last records were compacted away', () => {
    expect(read({ records: [batch(5, ['a'], { lastOffsetDelta: 9 })] }, 5)).toEqual({ values: ['a'], next: 15n });
  });

  it('may be nothing', () => {
    expect(read({}, 7)).toEqual({ values: [], next: 7n });
  });

  it('gives a record without a value as an empty message', () => {
    expect(read({ records: [batch(0, [null])] }).values).toEqual(['']);
  });

  it('holds neither control records nor transactions that were aborted', () => {
    const fetched = {
      abortedTransactions: [{ producerId: 7n, firstOffset: 1n }],
      records: [
        batch(0, ['plain']),
        batch(1, ['aborted'], { attributes: TRANSACTIONAL, producerId: 7n }),
        batch(2, ['committed'], { attributes: TRANSACTIONAL, producerId: 8n }),
        marker(3, 7n, 'abort'),
        marker(4, 8n, 'commit'),
        batch(5, ['next of 7'], { attributes: TRANSACTIONAL, producerId: 7n }),
        marker(6, 7n, 'commit'),
      ],
    };
    expect(read(fetched)).toEqual({ values: ['plain', 'committed', 'next of 7'], next: 7n });
  });

  it('is read up to where the reader wants no more', () => {
    const values: string[] = [];
    const next = readRecords({ records: [batch(0, ['a', 'b', 'c'])] } as unknown as Fetched, 0n, (value) => {
      if (values.length === 2) return false;
      values.push(value.toString());
      return true;
    });
    expect(values).toEqual(['a', 'b']);
    expect(next).toBe(2n);
  });
});

describe('a position in a topic', () => {
  it('is an id and back', () => {
    const position = {
      mark: topicMark('4b457025-1234-4321-8888-000000000000'),
      offsets: [0n, 123n, 9_007_199_254_740_993n],
    };
    expect(parsePosition(formatPosition(position))).toEqual(position);
  });

  it('sorts as text in the order of the offsets', () => {
    const ids = [0n, 9n, 10n, 99_999n, 100_000n].map((offset) =>
      formatPosition({ mark: '00000000', offsets: [offset] }),
    );
    expect([...ids].sort()).toEqual(ids);
  });

  it('is not read out of anything else', () => {
    for (const text of ['', 'no-such-id', '0000000000000001', '4b457025', '4b457025.1', '4b457025.0000000000000001.']) {
      expect(parsePosition(text)).toBeUndefined();
    }
  });
});
