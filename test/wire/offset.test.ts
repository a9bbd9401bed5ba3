import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isMillraceError } from '../../src/errors.js';
import { formatOffset, OFFSET_NOW, parseOffset, parseStartOffset } from '../../src/wire/offset.js';

const offsets = fc.nat({ max: Number.MAX_SAFE_INTEGER });

function refused(action: () => unknown): boolean {
  try {
    action();
    return false;
  } catch (error) {
    return isMillraceError(error, 'INVALID_OFFSET');
  }
}

describe('offset tokens', () => {
  test('are 16 digits', () => {
    expect(formatOffset(0)).toBe('0000000000000000');
    expect(formatOffset(42)).toBe('0000000000000042');
    expect(formatOffset(Number.MAX_SAFE_INTEGER)).toBe('9007199254740991');
  });

  test('lead back to the offset they were made of', () => {
    fc.assert(fc.property(offsets, (offset) => parseOffset(formatOffset(offset)) === offset));
  });

  test('sort as text the way offsets sort as numbers', () => {
    fc.assert(fc.property(offsets, offsets, (a, b) => a < b === formatOffset(a) < formatOffset(b)));
  });

  test('anything else is refused', () => {
    const wrong = ['', ' ', '0', '42', '00000000000000042', '-000000000000001', '9007199254740992', '9999999999999999'];
    for (const token of [
      ...wrong,
      '0000000000000 42',
      '0000000000000042\n',
      '٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠٠',
      '-1,',
      'NOW',
      'now ',
    ]) {
      expect(
        refused(() => parseStartOffset(token)),
        token,
      ).toBe(true);
    }
    fc.assert(fc.property(fc.string(), (token) => /^\d{16}$/.test(token) || refused(() => parseOffset(token))));
  });

  test('the sentinels stand for the beginning and the tail, and only where a start is asked for', () => {
    expect(parseStartOffset('-1')).toBe(0);
    expect(parseStartOffset('now')).toBe(OFFSET_NOW);
    expect(refused(() => parseOffset('-1'))).toBe(true);
    expect(refused(() => parseOffset('now'))).toBe(true);
  });

  test('the zero of the reference implementation is the beginning', () => {
    expect(parseOffset('0000000000000000_0000000000000000')).toBe(0);
    expect(refused(() => parseOffset('0000000000000000_0000000000000001'))).toBe(true);
  });
});
