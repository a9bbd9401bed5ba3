import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JSON_DEPTH_MAX } from '../../src/wire/json-scanner.js';
import { NdjsonReader } from '../../src/wire/ndjson.js';

/** What is handed out of pieces, how many lines that is, and the error at the end, if there is one. */
function read(pieces: readonly Uint8Array[], lineBytesMax = 10_000) {
  const taken: string[] = [];
  let count = 0;
  const reader = new NdjsonReader(lineBytesMax, (lines, many) => {
    taken.push(Buffer.from(lines).toString());
    count += many;
  });
  let error: { code: string; details: Record<string, unknown> } | undefined;
  try {
    for (const piece of pieces) reader.push(piece);
    reader.end();
  } catch (thrown) {
    error = thrown as typeof error;
  }
  return { text: taken.join(''), count, code: error?.code, details: error?.details };
}

/** What the platform's own parser makes of the same, line by line. */
function expected(bytes: Buffer) {
  const text: string[] = [];
  let line = 0;
  let at = 0;
  while (at <= bytes.length) {
    const end = bytes.indexOf(0x0a, at);
    const part = bytes.subarray(at, end < 0 ? bytes.length : end);
    line++;
    if (!/^[ \t\r]*$/.test(part.toString('latin1'))) {
      try {
        const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(part));
        text.push(`${JSON.stringify(value)}\n`);
      } catch {
        return { text: text.join(''), count: text.length, line };
      }
    }
    if (end < 0) break;
    at = end + 1;
  }
  return { text: text.join(''), count: text.length, line: undefined };
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return sorted.slice(1).map((end, index) => bytes.subarray(sorted[index], end));
}

describe('NdjsonReader', () => {
  test('gives each message on a line, however the pieces are cut', () => {
    const bytes = Buffer.from('{"a" : 1}\n\n [1, 2] \r\n"ü"\n \t\n3');
    for (const pieces of [[bytes], cut(bytes, [1, 5, 12, 13, 24]), [...bytes].map((byte) => Uint8Array.of(byte))]) {
      expect(read(pieces)).toMatchObject({ text: '{"a":1}\n[1,2]\n"ü"\n3\n', count: 4, code: undefined });
    }
  });

  test('takes the lines that the platform’s parser takes, up to the first that it does not', () => {
    const wrong = fc.constantFrom('{', '1 2', '1,2', 'nul', '"\u0001"', ']', '{"a":1', '\ufeff1', '"\\x"', '[1]]');
    const spaces = fc.constantFrom('', ' ', '\t ', '\r');
    const line = fc
      .tuple(
        spaces,
        fc.oneof(
          { weight: 9, arbitrary: fc.jsonValue({ noUnicodeString: false }).map((value) => JSON.stringify(value)) },
          { weight: 1, arbitrary: wrong },
          { weight: 2, arbitrary: fc.constant('') },
        ),
        spaces,
      )
      .map((parts) => Buffer.from(parts.join('')));
    const damaged = fc
      .tuple(line, fc.nat(), fc.constantFrom(0xff, 0x80, 0xc3, 0x00))
      .map(([bytes, at, byte]) => Buffer.from([...bytes.subarray(0, at % (bytes.length + 1)), byte]));
    const lines = fc.array(fc.oneof({ weight: 12, arbitrary: line }, { weight: 1, arbitrary: damaged }), {
      maxLength: 12,
      size: 'max',
    });
    fc.assert(
      fc.property(lines, fc.array(fc.nat(), { maxLength: 6, size: 'max' }), (all, places) => {
        const bytes = Buffer.concat(all.flatMap((each) => [each, Buffer.from('\n')]).slice(0, -1));
        const { line: at, ...taken } = expected(bytes);
        const found = read(cut(bytes, places));
        expect(found).toMatchObject(taken);
        expect(found.code).toBe(at === undefined ? undefined : 'INVALID_JSON');
        expect(found.details?.line).toBe(at);
      }),
      { numRuns: 1_000 },
    );
  });

  test('refuses a line that is nested too deep, or too long, and hands out those before it', () => {
    const deep = '['.repeat(JSON_DEPTH_MAX + 1) + ']'.repeat(JSON_DEPTH_MAX + 1);
    const fits = deep.slice(1, -1);
    expect(read([Buffer.from(`1\n${fits}\n${deep}\n2\n`)])).toMatchObject({
      text: `1\n${fits}\n`,
      code: 'INVALID_JSON',
      details: { line: 3, depthMax: JSON_DEPTH_MAX },
    });
    // Spaces count: a line of nothing else must have an end too.
    for (const long of ['"0123456789"', ' '.repeat(11)]) {
      const bytes = Buffer.from(`12345678\n9\n${long}\n`);
      for (const pieces of [[bytes], [...bytes].map((byte) => Uint8Array.of(byte))]) {
        expect(read(pieces, 10)).toMatchObject({
          text: '12345678\n9\n',
          code: 'BODY_TOO_LARGE',
          details: { line: 3, lineBytesMax: 10 },
        });
      }
    }
    expect(read([Buffer.from('1234567890\n')], 10)).toMatchObject({ count: 1, code: undefined });
  });

  test('keeps what it hands out apart from what comes next', () => {
    const taken: Uint8Array[] = [];
    const reader = new NdjsonReader(100, (lines) => taken.push(lines));
    const piece = Buffer.from('1\n2\n3');
    reader.push(piece);
    piece.fill(0x20);
    reader.push(Buffer.from('4\n5\n'));
    expect(taken.map((lines) => Buffer.from(lines).toString())).toEqual(['1\n2\n', '34\n5\n']);
  });
});
