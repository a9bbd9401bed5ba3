import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CURSOR_EPOCH_MS, CURSOR_INTERVAL_MS, nextCursor } from '../../src/wire/cursor.js';

const now = CURSOR_EPOCH_MS + 1000 * CURSOR_INTERVAL_MS + 7;

describe('nextCursor', () => {
  test('is the number of the current interval', () => {
    expect(nextCursor(undefined, now)).toBe('1000');
    expect(nextCursor('999', now)).toBe('1000');
    expect(nextCursor(undefined, CURSOR_EPOCH_MS - 1)).toBe('0');
  });

  test('is always after the cursor that the client has used up', () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 10 ** 12 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (used, random) => Number(nextCursor(String(used), now, () => random)) > used,
      ),
    );
  });

  test('moves a used cursor by at most an hour', () => {
    expect(nextCursor('1000', now, () => 0)).toBe('1001');
    expect(nextCursor('1000', now, () => 0.999999)).toBe('1180');
  });

  test('takes what is no cursor as none', () => {
    for (const text of ['', 'abc', '-5', '1.5', '9'.repeat(16), '١']) expect(nextCursor(text, now)).toBe('1000');
  });
});
