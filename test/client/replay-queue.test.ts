import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Committed, ReplayQueue } from '../../src/client/replay-queue.js';
import { MillraceError } from '../../src/errors.js';

const frame = (n: number) => new Uint8Array([n]);

function takeAll(queue: ReplayQueue): { n: number | undefined; seq: number }[] {
  const taken: { n: number | undefined; seq: number }[] = [];
  for (let next = queue.take(); next !== undefined; next = queue.take()) {
    taken.push({ n: next.frame[0], seq: next.seq });
  }
  return taken;
}

describe('ReplayQueue', () => {
  it('numbers frames from 0 in each epoch, and sends again what was not committed', () => {
    const queue = new ReplayQueue();
    queue.begin(0, undefined);
    for (const n of [10, 11, 12]) queue.push(frame(n));
    expect(takeAll(queue).map(({ seq }) => seq)).toEqual([0, 1, 2]);
    queue.begin(1, { epoch: 0, seq: 0 });
    expect(takeAll(queue)).toEqual([
      { n: 11, seq: 0 },
      { n: 12, seq: 1 },
    ]);
  });

  it('understands an answer about an older epoch when newer ones committed nothing', () => {
    const queue = new ReplayQueue();
    queue.begin(0, undefined);
    for (const n of [10, 11, 12]) queue.push(frame(n));
    takeAll(queue);
    queue.begin(1, { epoch: 0, seq: 0 });
    takeAll(queue);
    queue.begin(2, { epoch: 0, seq: 0 });
    expect(takeAll(queue).map(({ n }) => n)).toEqual([11, 12]);
    queue.begin(3, { epoch: 2, seq: 0 });
    expect(takeAll(queue).map(({ n }) => n)).toEqual([12]);
  });

  it('counts the bytes that are not acknowledged', () => {
    const queue = new ReplayQueue();
    queue.begin(0, undefined);
    queue.push(new Uint8Array(5));
    queue.push(new Uint8Array(7));
    takeAll(queue);
    expect(queue.bytes).toBe(12);
    queue.acknowledge(0);
    expect([queue.bytes, queue.empty]).toEqual([7, false]);
    queue.acknowledge(1);
    expect([queue.bytes, queue.empty]).toEqual([0, true]);
  });

  it('says so when the server has lost what it acknowledged', () => {
    const queue = new ReplayQueue();
    queue.begin(0, undefined);
    queue.push(frame(1));
    takeAll(queue);
    queue.acknowledge(0);
    expect(() => queue.begin(1, undefined)).toThrow(expect.objectContaining({ code: 'RESUME_FAILED' }));
  });

  it('says so when another appender has used the producer id', () => {
    const queue = new ReplayQueue();
    queue.begin(0, undefined);
    queue.push(frame(1));
    takeAll(queue);
    expect(() => queue.begin(2, { epoch: 1, seq: 0 })).toThrow(expect.objectContaining({ code: 'RESUME_FAILED' }));
    expect(() => queue.begin(2, { epoch: 0, seq: 5 })).toThrow(expect.objectContaining({ code: 'RESUME_FAILED' }));
  });

  it('refuses an acknowledgement of what was never sent', () => {
    const queue = new ReplayQueue();
    queue.begin(0, undefined);
    queue.push(frame(1));
    expect(() => queue.acknowledge(0)).toThrow(MillraceError);
  });

  it('carries on a producer id that has a past', () => {
    const queue = new ReplayQueue();
    queue.begin(7, { epoch: 6, seq: 41 });
    queue.push(frame(1));
    expect(takeAll(queue)).toEqual([{ n: 1, seq: 0 }]);
  });

  it('goes on with the numbers of an epoch that an earlier appender began', () => {
    const queue = new ReplayQueue();
    queue.begin(6, { epoch: 6, seq: 41 });
    queue.push(frame(1));
    queue.push(frame(2));
    expect(takeAll(queue)).toEqual([
      { n: 1, seq: 42 },
      { n: 2, seq: 43 },
    ]);
    queue.acknowledge(42);
    queue.begin(7, { epoch: 6, seq: 42 });
    expect(takeAll(queue)).toEqual([{ n: 2, seq: 0 }]);
  });

  it('loses and doubles nothing, wherever connections break', () => {
    // Each round: some frames are written, some of those sent are committed, some of those acknowledged; then it breaks.
    const round = fc.record({
      writes: fc.nat(20),
      committed: fc.nat(30),
      acknowledged: fc.nat(30),
      welcomed: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(round, { minLength: 1, maxLength: 15, size: 'max' }), (rounds) => {
        const stream: number[] = [];
        const queue = new ReplayQueue();
        let state: Committed | undefined;
        let written = 0;
        rounds.forEach((step, epoch) => {
          if (step.welcomed || epoch === 0) {
            queue.begin(epoch, state);
            for (let i = 0; i < step.writes; i++) queue.push(frame(written++));
            const sent = takeAll(queue);
            sent.slice(0, step.committed).forEach(({ n, seq }, i) => {
              stream.push(n as number);
              state = { epoch, seq };
              if (i < step.acknowledged) queue.acknowledge(seq);
            });
          } else {
            for (let i = 0; i < step.writes; i++) queue.push(frame(written++));
          }
        });
        queue.begin(rounds.length, state);
        stream.push(...takeAll(queue).map(({ n }) => n as number));
        expect(stream).toEqual(Array.from({ length: written }, (_, i) => i % 256));
      }),
    );
  });
});
