import { describe, expect, it } from 'vitest';
import {
  compareBytes,
  decideAppend,
  decideProducer,
  type ProducerState,
  type WriterState,
} from '../../src/log/rules.js';
import type { Append } from '../../src/log/store.js';

const open: WriterState = {
  path: 'a',
  id: 'abcdefghijklmnop',
  json: false,
  contentType: 'text/plain',
  tail: 7,
  closed: false,
  closedBy: undefined,
  streamSeq: undefined,
};
const closed: WriterState = { ...open, closed: true, closedBy: { id: 'p', epoch: 1, seq: 4 } };
const data = Buffer.from('x');

/** `accept`, `duplicate`, or the code of the error. */
function decide(stream: WriterState, append: Append, producer?: ProducerState): string {
  try {
    return decideAppend(stream, append, producer);
  } catch (error) {
    return (error as { code: string }).code;
  }
}

function number(epoch: number, seq: number, known: ProducerState | undefined): string {
  try {
    return decideProducer({ id: 'p', epoch, seq }, known);
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('an append', () => {
  it.each<[string, WriterState, Append, string]>([
    ['with data', open, { data }, 'accept'],
    ['that only closes', open, { close: true }, 'accept'],
    ['that closes with data', open, { data, close: true }, 'accept'],
    ['of nothing', open, {}, 'EMPTY_APPEND'],
    ['of nothing to a closed stream', closed, {}, 'EMPTY_APPEND'],
    ['with data to a closed stream', closed, { data }, 'STREAM_CLOSED'],
    ['that closes a closed stream with data', closed, { data, close: true }, 'STREAM_CLOSED'],
    ['that only closes a closed stream', closed, { close: true }, 'duplicate'],
    ['that closed it, once more', closed, { data, close: true, producer: { id: 'p', epoch: 1, seq: 4 } }, 'duplicate'],
    ['of its producer before', closed, { data, producer: { id: 'p', epoch: 1, seq: 3 } }, 'STREAM_CLOSED'],
    ['of another epoch', closed, { close: true, producer: { id: 'p', epoch: 2, seq: 4 } }, 'STREAM_CLOSED'],
    ['of another producer', closed, { close: true, producer: { id: 'q', epoch: 1, seq: 4 } }, 'STREAM_CLOSED'],
    ['of the same type', open, { data, contentType: 'Text/PLAIN ; charset=x' }, 'accept'],
    ['of another type', open, { data, contentType: 'text/html' }, 'CONTENT_TYPE_MISMATCH'],
    ['of another type without data', open, { close: true, contentType: 'text/html' }, 'accept'],
    ['of half a line to a stream of messages', { ...open, json: true }, { data }, 'INVALID_JSON'],
    ['of a line to a stream of messages', { ...open, json: true }, { data: Buffer.from('1\n') }, 'accept'],
    ['with the next sequence', { ...open, streamSeq: '09' }, { data, streamSeq: '10' }, 'accept'],
    ['with the same sequence', { ...open, streamSeq: '10' }, { data, streamSeq: '10' }, 'STREAM_SEQ_CONFLICT'],
    ['with a sequence before', { ...open, streamSeq: '2' }, { data, streamSeq: '10' }, 'STREAM_SEQ_CONFLICT'],
  ])('%s', (_, stream, append, expected) => {
    expect(decide(stream, append)).toBe(expected);
  });

  it('that a producer repeats is a duplicate, whatever its sequence is', () => {
    const known = { epoch: 0, seq: 3, fence: -1 };
    const append = { data, producer: { id: 'p', epoch: 0, seq: 3 }, streamSeq: '1' };
    expect(decide({ ...open, streamSeq: '5' }, append, known)).toBe('duplicate');
  });

  it('hears of a wrong type before a wrong number', () => {
    const append = { data, contentType: 'text/html', producer: { id: 'p', epoch: 0, seq: 9 } };
    expect(decide(open, append)).toBe('CONTENT_TYPE_MISMATCH');
  });
});

describe('a producer', () => {
  const known = { epoch: 2, seq: 5, fence: 2 };

  it.each<[number, number, ProducerState | undefined, string]>([
    [0, 0, undefined, 'accept'],
    [7, 0, undefined, 'accept'],
    [0, 1, undefined, 'PRODUCER_SEQ_GAP'],
    [2, 6, known, 'accept'],
    [2, 5, known, 'duplicate'],
    [2, 0, known, 'duplicate'],
    [2, 7, known, 'PRODUCER_SEQ_GAP'],
    [1, 6, known, 'PRODUCER_FENCED'],
    [1, 0, known, 'PRODUCER_FENCED'],
    [3, 0, known, 'accept'],
    [3, 6, known, 'PRODUCER_EPOCH_START'],
    // A session of epoch 4 was opened, and has not appended.
    [3, 0, { ...known, fence: 4 }, 'PRODUCER_FENCED'],
    [2, 6, { ...known, fence: 4 }, 'PRODUCER_FENCED'],
    [4, 0, { ...known, fence: 4 }, 'accept'],
    [4, 1, { ...known, fence: 4 }, 'PRODUCER_EPOCH_START'],
    [4, 0, { epoch: -1, seq: -1, fence: 4 }, 'accept'],
    [4, 1, { epoch: -1, seq: -1, fence: 4 }, 'PRODUCER_SEQ_GAP'],
    [3, 0, { epoch: -1, seq: -1, fence: 4 }, 'PRODUCER_FENCED'],
  ])('with epoch %i and number %i after %o: %s', (epoch, seq, state, expected) => {
    expect(number(epoch, seq, state)).toBe(expected);
  });
});

describe('sequences', () => {
  it('compare by their bytes', () => {
    expect(compareBytes('a', 'b')).toBeLessThan(0);
    expect(compareBytes('b', 'a')).toBeGreaterThan(0);
    expect(compareBytes('a', 'a')).toBe(0);
    expect(compareBytes('a', 'ab')).toBeLessThan(0);
    expect(compareBytes('Z', 'a')).toBeLessThan(0);
    expect(compareBytes('\u{10000}', '\uffff')).toBeGreaterThan(0);
  });
});
