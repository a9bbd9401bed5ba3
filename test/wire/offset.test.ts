import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isMillraceError } from '../../src/errors.js';
import { formatOffset, OFFSET_NOW, offsetIn, parseOffset, parseStartOffset } from '../../src/wire/offset.js';

const offsets = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const ids = fc.stringMatching(/^[A-Za-z0-9_-]{16}$/);

function refused(action: () => unknown, code = 'INVALID_OFFSET'): boolean {
  try {
    action();
    return false;
  } catch (error) {
    return isMillraceError(error) && error.code === code;
  }
}

describe('offset tokens', () => {
  test('are 16 digits, and whose they are', () => {
    expect(formatOffset(0, undefined)).toBe('0000000000000000');
    expect(formatOffset(42, 'Ab_-0123456789xy')).toBe('0000000000000042_sAb_-012');
    expect(formatOffset(Number.MAX_SAFE_INTEGER, undefined)).toBe('9007199254740991');
  });

  test('lead back to what they were made of', () => {
    fc.assert(
      fc.property(offsets, ids, (offset, id) => {
        expect(parseOffset(formatOffset(offset, id))).toEqual({ offset, owner: id.slice(0, 7) });
        expect(parseOffset(formatOffset(offset, undefined))).toEqual({ offset, owner: undefined });
      }),
    );
  });

  test('sort as text the way the offsets of a stream sort as numbers', () => {
    fc.assert(fc.property(offsets, offsets, ids, (a, b, id) => a < b === formatOffset(a, id) < formatOffset(b, id)));
  });

  test('hold nothing that has a meaning in a URL, a header or a list (Durable Streams, section 8)', () => {
    fc.assert(fc.property(offsets, ids, (offset, id) => /^[0-9A-Za-z_-]{25}$/.test(formatOffset(offset, id))));
  });

  test('have no number behind the underscore, to which the server of y-durable-streams would add 1', () => {
    const behind = (token: string) => token.slice(token.indexOf('_') + 1);
    fc.assert(
      fc.property(offsets, ids, (offset, id) => Number.isNaN(Number.parseInt(behind(formatOffset(offset, id)), 10))),
    );
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
      '0000000000000042_',
      '0000000000000042_sabcdef',
      '0000000000000042_sabcdefgh',
      '0000000000000042_tabcdefg',
      '0000000000000042_sabcdef/',
      '0000000000000042-sabcdefg',
      '000000000000004x_sabcdefg',
    ]) {
      expect(
        refused(() => parseStartOffset(token)),
        token,
      ).toBe(true);
    }
    fc.assert(
      fc.property(fc.string(), (token) => /^\d{16}(_[\w-]{8})?$/.test(token) || refused(() => parseOffset(token))),
    );
  });

  test('the sentinels stand for the beginning and the tail, and only where a start is asked for', () => {
    expect(parseStartOffset('-1')).toEqual({ offset: 0, owner: undefined });
    expect(parseStartOffset('now')).toBe(OFFSET_NOW);
    expect(refused(() => parseOffset('-1'))).toBe(true);
    expect(refused(() => parseOffset('now'))).toBe(true);
  });

  test('the zero of the reference implementation is the beginning', () => {
    expect(parseOffset('0000000000000000_0000000000000000')).toEqual({ offset: 0, owner: undefined });
    expect(refused(() => parseOffset('0000000000000000_0000000000000001'))).toBe(true);
  });
});

describe('an offset of a stream', () => {
  const stream = { id: 'bbbbbbbbbbbbbbbb', ancestors: [{ id: 'aaaaaaaaaaaaaaaa', offset: 10 }] };
  const taken = (token: string) => offsetIn(parseOffset(token), stream);
  const another = (token: string) => refused(() => taken(token), 'OFFSET_OF_ANOTHER_STREAM');

  test('is one of its own', () => {
    expect(taken(formatOffset(1000, stream.id))).toBe(1000);
  });

  test('is one of a stream that it was forked from, up to where it branched off', () => {
    expect(taken(formatOffset(10, 'aaaaaaaaaaaaaaaa'))).toBe(10);
    expect(another(formatOffset(11, 'aaaaaaaaaaaaaaaa'))).toBe(true);
  });

  test('is one that names no stream', () => {
    expect(taken('0000000000001000')).toBe(1000);
    expect(taken('0000000000000000_0000000000000000')).toBe(0);
  });

  test('is none of another stream, the beginning neither', () => {
    expect(another(formatOffset(0, 'cccccccccccccccc'))).toBe(true);
    expect(another(formatOffset(5, 'cccccccccccccccc'))).toBe(true);
    expect(
      refused(
        () => offsetIn(parseOffset(formatOffset(5, stream.id)), { id: 'aaaaaaaaaaaaaaaa' }),
        'OFFSET_OF_ANOTHER_STREAM',
      ),
    ).toBe(true);
  });
});
