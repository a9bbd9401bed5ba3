import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isMillraceError } from '../../src/errors.js';
import { encodeJsonLines, jsonArrayOf } from '../../src/wire/json.js';
import { JSON_DEPTH_MAX } from '../../src/wire/json-scanner.js';

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (data: Uint8Array) => new TextDecoder().decode(data);
const lines = (body: string) => text(encodeJsonLines(bytes(body)).data);

function refused(body: Uint8Array): boolean {
  try {
    encodeJsonLines(body);
    return false;
  } catch (error) {
    return isMillraceError(error, 'INVALID_JSON');
  }
}

describe('encodeJsonLines', () => {
  test('one value is one line', () => {
    for (const value of ['{"a":1}', '"text"', '42', 'true', 'null', '{}']) {
      expect(lines(value)).toBe(`${value}\n`);
      expect(encodeJsonLines(bytes(value)).count).toBe(1);
    }
  });

  test('an array is one line per element, one level deep', () => {
    expect(lines('[{"a":1},{"b":2}]')).toBe('{"a":1}\n{"b":2}\n');
    expect(lines('[[1,2],[3,4]]')).toBe('[1,2]\n[3,4]\n');
    expect(lines('[[[1,2,3]]]')).toBe('[[1,2,3]]\n');
    expect(encodeJsonLines(bytes('[1,"a,b",[2,3],{"c":[4,5]}]')).count).toBe(4);
  });

  test('an empty array is no line', () => {
    for (const body of ['[]', ' [ ] ', '\n[\n]\n']) expect(encodeJsonLines(bytes(body))).toMatchObject({ count: 0 });
    expect(lines('[[]]')).toBe('[]\n');
  });

  test('the text of numbers and strings is kept', () => {
    const value = '{"big":123456789012345678901234567890,"float":1.0,"exp":1E400,"esc":"\\u0041\\/\\n","a":1,"a":2}';
    expect(lines(value)).toBe(`${value}\n`);
    expect(lines('[-0, 1e5]')).toBe('-0\n1e5\n');
  });

  test('whitespace between tokens goes, whitespace in strings stays', () => {
    expect(lines('\r\n{ "a" :\t[ 1 ,\n2 ] , "b c" : " x\\"  y " }\n')).toBe('{"a":[1,2],"b c":" x\\"  y "}\n');
    expect(lines('"a b"')).toBe('"a b"\n');
  });

  test('structure inside strings is not structure', () => {
    expect(lines('["a]","[b","c\\"],[","\\\\"]')).toBe('"a]"\n"[b"\n"c\\"],["\n"\\\\"\n');
  });

  test('what is not JSON is refused', () => {
    const wrong = [
      '',
      ' ',
      '{',
      '[',
      ']',
      '[1,]',
      '[,1]',
      '{"a":1,}',
      '{a:1}',
      "'a'",
      '1 2',
      '01',
      '"a\nb"',
      '"a\tb"',
      'NaN',
    ];
    for (const body of [...wrong, '[1]]', '[[1]', '{"a":1}{"b":2}', '\ufeff1', '[1\\,2]', 'undefined']) {
      expect(refused(bytes(body)), body).toBe(true);
    }
  });

  test('what is not UTF-8 is refused', () => {
    expect(refused(Uint8Array.of(0x22, 0xff, 0x22))).toBe(true);
    expect(refused(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22))).toBe(true);
    expect(refused(Uint8Array.of(0x22, 0xc3, 0x22))).toBe(true);
  });

  test('nesting has a limit, counted per message', () => {
    const deep = '['.repeat(JSON_DEPTH_MAX) + ']'.repeat(JSON_DEPTH_MAX);
    expect(lines(`[${deep}]`)).toBe(`${deep}\n`);
    expect(refused(bytes(`[[${deep}]]`))).toBe(true);
    expect(refused(bytes('['.repeat(1_000_000)))).toBe(true);
  });

  test('any value in any layout becomes lines that parse back to its messages', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 2, '\t', '\r\n'), (value, layout) => {
        const { data, count } = encodeJsonLines(bytes(JSON.stringify(value, null, layout)));
        const messages = Array.isArray(value) ? value : [value];
        const parsed = text(data).split('\n').slice(0, -1);
        expect(count).toBe(messages.length);
        expect(parsed.map((line) => JSON.parse(line))).toEqual(JSON.parse(JSON.stringify(messages)));
        expect(parsed).toEqual(messages.map((message) => JSON.stringify(message)));
      }),
    );
  });

  test('any text is accepted exactly when JSON.parse accepts it', () => {
    const jsonish = fc.array(fc.constantFrom('[', ']', '{', '}', ',', ':', '"', '\\', '1', 'a', ' ', '\n', 'null'));
    fc.assert(
      fc.property(jsonish, (parts) => {
        const body = parts.join('');
        let valid = true;
        try {
          JSON.parse(body);
        } catch {
          valid = false;
        }
        return refused(bytes(body)) !== valid;
      }),
      { numRuns: 2000 },
    );
  });
});

describe('jsonArrayOf', () => {
  const array = (input: string) => text(jsonArrayOf(bytes(input)));

  test('is an array of the lines', () => {
    expect(array('')).toBe('[]');
    expect(array('1\n')).toBe('[1]');
    expect(array('{"a":1}\n[2,3]\n')).toBe('[{"a":1},[2,3]]');
  });

  test('takes blank lines, CRLF and a missing last line end from files written by hand', () => {
    expect(array('\n\n1\r\n  \n 2 \n\n3')).toBe('[1,2,3]');
    expect(array('\n')).toBe('[]');
  });

  test('gives back what was encoded', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), (messages) => {
        const { data } = encodeJsonLines(bytes(JSON.stringify(messages)));
        return text(jsonArrayOf(data)) === JSON.stringify(messages);
      }),
    );
  });
});
