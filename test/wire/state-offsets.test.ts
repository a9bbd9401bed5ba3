import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatOffset } from '../../src/wire/offset.js';
import { STATE_MESSAGE_BYTES_MAX, withStateOffsets } from '../../src/wire/state-offsets.js';

const ID = 'xabcdefghijk';
const bytes = (text: string) => new TextEncoder().encode(text);
const text = (data: Uint8Array) => new TextDecoder().decode(data);
/** The lines of a stream that begins with them. */
const shown = (...lines: string[]) => {
  const data = bytes(lines.map((line) => `${line}\n`).join(''));
  return text(withStateOffsets(data, data.length, ID))
    .split('\n')
    .slice(0, -1);
};
const token = (offset: number) => formatOffset(offset, ID);

const CHANGE = '{"type":"user","key":"1","value":{"n":1.0},"headers":{"operation":"insert"}}';

describe('messages of the State Protocol', () => {
  test('say in their headers the offset after them, and are the text of their writer in everything else', () => {
    const end = CHANGE.length + 1;
    expect(shown(CHANGE, CHANGE)).toEqual([
      CHANGE.replace('{"operation"', `{"offset":"${token(end)}","operation"`),
      CHANGE.replace('{"operation"', `{"offset":"${token(2 * end)}","operation"`),
    ]);
    for (const control of ['snapshot-start', 'snapshot-end', 'reset']) {
      const line = `{"headers":{"control":"${control}"}}`;
      expect(shown(line)).toEqual([`{"headers":{"offset":"${token(line.length + 1)}","control":"${control}"}}`]);
    }
  });

  test('that were copied from elsewhere do not keep the offset that they had there', () => {
    const line = '{"headers":{"offset":"0000000000000007_xother","operation":"delete"},"type":"a","key":"b"}';
    expect(shown(line)).toEqual([line.replace('0000000000000007_xother', token(line.length + 1))]);
    const odd = '{"headers":{"operation":"delete","offset":null},"type":"a","key":"b"}';
    expect(shown(odd)).toEqual([odd.replace('null', `"${token(odd.length + 1)}"`)]);
  });

  test('of control keep the offset that their writer means', () => {
    const line = '{"headers":{"control":"reset","offset":"0000000000000007_xother"}}';
    expect(shown(line)).toEqual([line]);
  });

  test('count from where the bytes begin', () => {
    const data = bytes(`${CHANGE}\n`);
    expect(text(withStateOffsets(data, 1000, ID))).toContain(`"offset":"${token(1000)}"`);
  });

  test('are not looked for in what is too long', () => {
    const long = CHANGE.replace('1.0', `"${'x'.repeat(STATE_MESSAGE_BYTES_MAX)}"`);
    expect(shown(long, CHANGE)[0]).toBe(long);
    expect(shown(long, CHANGE)[1]).not.toBe(CHANGE);
  });
});

describe('all other messages', () => {
  test.each([
    '{"headers":{}}',
    '{"headers":{"operation":"insert"}}',
    '{"type":"user","key":"1","headers":{"operation":"guess"}}',
    '{"type":"user","key":1,"headers":{"operation":"insert"}}',
    '{"headers":{"control":"panel"}}',
    '{"headers":["operation","insert"],"type":"a","key":"b"}',
    '{"value":{"type":"a","key":"b","headers":{"operation":"insert"}}}',
    '[{"type":"a","key":"b","headers":{"operation":"insert"}}]',
    '"{\\"type\\":\\"a\\",\\"key\\":\\"b\\",\\"headers\\":{\\"operation\\":\\"insert\\"}}"',
    '{"type":"a","key":"b","headers":{"operation":"insert"}',
    '{"":{"headers":{',
  ])('stay as they are: %s', (line) => {
    expect(shown(line)).toEqual([line]);
  });

  test('are handed on as the very same bytes', () => {
    const data = bytes('{"headers":{"content-type":"text/plain"}}\n{"a":1e400}\n');
    expect(withStateOffsets(data, data.length, ID)).toBe(data);
  });
});

test('whatever stands in a stream, only offsets are added, and only where they belong', () => {
  const headers = fc.record(
    {
      operation: fc.constantFrom('insert', 'update', 'x', 1),
      control: fc.constantFrom('reset', 'x', null),
      txid: fc.string(),
      offset: fc.constantFrom('old', 3),
      '"': fc.string(),
    },
    { requiredKeys: [] },
  );
  const message = fc.record(
    {
      type: fc.constantFrom('user', 'headers', 1),
      key: fc.string(),
      value: fc.oneof(headers, fc.record({ headers }), fc.jsonValue()),
      headers: fc.oneof(headers, fc.jsonValue()),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(message, fc.jsonValue()), { maxLength: 20, size: 'max' }), (messages) => {
      const lines = messages.map((each) => JSON.stringify(each));
      let end = 0;
      // As they are written: JSON has no -0.
      const written = lines.map((line) => JSON.parse(line) as unknown);
      const expected = written.map((each, i) => {
        end += bytes(lines[i] as string).length + 1;
        const { type, key, headers: given } = (each ?? {}) as Record<string, unknown>;
        if (Array.isArray(each) || typeof given !== 'object' || given === null || Array.isArray(given)) return lines[i];
        const { operation, control, offset } = given as Record<string, unknown>;
        const isChange =
          ['insert', 'update'].includes(String(operation)) && [type, key].every((x) => typeof x === 'string');
        if (!isChange && (control !== 'reset' || offset !== undefined)) return lines[i];
        return { ...(each as object), headers: { ...given, offset: token(end) } };
      });
      const got = shown(...lines);
      expect(got.length).toBe(lines.length);
      for (const [i, want] of expected.entries()) {
        if (typeof want === 'string') expect(got[i]).toBe(want);
        else expect(JSON.parse(got[i] as string)).toEqual(want);
      }
    }),
    { numRuns: 500 },
  );
});
