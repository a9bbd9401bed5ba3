import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SortedNames } from '../../src/log/sorted-names.js';

/** Few enough that they meet, many enough to fill blocks. */
const name = fc.integer({ min: 0, max: 3000 }).map((number) => number.toString(36));
const command = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('add' as const), name }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('delete' as const), name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), name }) },
);

describe('SortedNames', () => {
  it('holds what was added and not removed, in order', () => {
    const programs = fc.array(command, { minLength: 1500, maxLength: 3000, size: 'max' });
    fc.assert(
      fc.property(programs, fc.array(name, { maxLength: 20, size: 'max' }), (program, places) => {
        const names = new SortedNames();
        let model = new Set<string>();
        for (const { kind, name: each } of program) {
          if (kind === 'add') {
            names.add(each);
            model.add(each);
          } else if (kind === 'delete') {
            names.delete(each);
            model.delete(each);
          } else if (model.size > 1000) {
            const last = names.dropLast();
            const kept = new Set([...model].filter((other) => last !== undefined && other <= last));
            expect(model.size - kept.size).toBeGreaterThan(0);
            model = kept;
          }
        }
        const sorted = [...model].sort();
        expect(names.size).toBe(sorted.length);
        expect(names.slice('', false, Number.POSITIVE_INFINITY)).toEqual(sorted);
        for (const from of places) {
          expect(names.slice(from, false, 7)).toEqual(sorted.filter((other) => other >= from).slice(0, 7));
          expect(names.slice(from, true, 700)).toEqual(sorted.filter((other) => other > from).slice(0, 700));
        }
      }),
      { numRuns: 30 },
    );
  });

  it('knows about how much memory it takes, and nothing when it is empty', () => {
    const names = new SortedNames();
    for (const each of ['a', 'b', 'c']) names.add(each);
    names.add('a');
    expect(names.bytes).toBeGreaterThan(100);
    for (const each of ['a', 'b', 'c', 'd']) names.delete(each);
    expect([names.size, names.bytes]).toEqual([0, 0]);
    expect(names.slice('', false, 10)).toEqual([]);
    expect(names.dropLast()).toBeUndefined();
  });
});
