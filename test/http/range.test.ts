import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRange } from '../../src/http/range.js';

describe('parseRange', () => {
  it('never gives what does not lie inside', () => {
    const part = fc.oneof(fc.constant(''), fc.nat().map(String), fc.string());
    fc.assert(
      fc.property(part, part, fc.nat(), (first, last, length) => {
        const range = parseRange(`bytes=${first}-${last}`, length);
        if (range === undefined || range === 'unsatisfiable') return;
        expect(range.start).toBeGreaterThanOrEqual(0);
        expect(range.end).toBeLessThanOrEqual(length);
        expect(range.start).toBeLessThan(range.end);
      }),
    );
  });

  it('goes to the end where the range does not, however large its numbers', () => {
    expect(parseRange('bytes=3-99999999999999999999999', 10)).toEqual({ start: 3, end: 10 });
    expect(parseRange('bytes=-99999999999999999999999', 10)).toEqual({ start: 0, end: 10 });
    expect(parseRange('bytes=99999999999999999999999-', 10)).toBe('unsatisfiable');
  });

  it('leaves other units and several ranges alone', () => {
    expect(parseRange('pages=1-2', 10)).toBeUndefined();
    expect(parseRange('bytes=1-2,4-5', 10)).toBeUndefined();
  });
});
