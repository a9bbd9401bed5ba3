import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isMillraceError } from '../../src/errors.js';
import { checkJson, JSON_DEPTH_MAX, JsonScanner } from '../../src/wire/json-scanner.js';

const utf8 = (text: string) => new TextEncoder().encode(text);

/** Whether the bytes are JSON, scanned so many at a time. */
function isJson(bytes: Uint8Array, slice = Number.POSITIVE_INFINITY): boolean {
  try {
    const scanner = new JsonScanner(bytes);
    while (!scanner.scan(slice));
    return true;
  } catch (error) {
    expect(isMillraceError(error, 'INVALID_JSON')).toBe(true);
    return false;
  }
}

/** The judge: the platform's own decoder and parser. */
function parses(bytes: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes));
    return true;
  } catch {
    return false;
  }
}

const odd = [
  ...['', ' ', 'nul', 'nulll', 'true', 'false', 'truefalse', 'tru e', '"', '""', '"a', '"\\"', '"\\u12"', '"\\u12g4"'],
  ...[
    '"\\x"',
    '"\\uD800"',
    '"a\nb"',
    '"\\/\\b\\f\\n\\r\\t\\"\\\\"',
    '-',
    '-0',
    '-01',
    '01',
    '0',
    '0.',
    '.5',
    '1.5',
    '1e',
    '1e+',
  ],
  ...[
    '1e+5',
    '1E-05',
    '1.e5',
    '+1',
    '1e400',
    '- 1',
    '1 2',
    '[',
    ']',
    '[]',
    '[,]',
    '[1,]',
    '[1 2]',
    '[1,2]',
    '{',
    '{}',
    '{,}',
  ],
  ...[
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{"a":1 "b":2}',
    '{a:1}',
    '{"a":1}',
    '{"a":[}',
    '[}',
    '{]',
    '[{"a":[]}]',
    '[]]',
    '{}}',
  ],
  ...[
    '\ufeff1',
    '\u00a01',
    '\t\r\n 1 \t\r\n',
    '1\v',
    '1\u0000',
    '"\u007f"',
    '"\u0000"',
    '"ü频😀\uffff"',
    'Infinity',
    'NaN',
    "'a'",
  ],
];

const value = fc.jsonValue({ maxDepth: 6 }).map((each) => JSON.stringify(each, null, 1));
/** JSON, mostly, with a byte put in, taken out or changed. */
const nearlyJson = fc
  .tuple(value, fc.nat(), fc.constantFrom(0, 1, 2), fc.integer({ min: 0, max: 255 }), fc.boolean())
  .map(([text, place, cut, byte, whole]) => {
    const bytes = utf8(text);
    if (whole) return bytes;
    const at = place % (bytes.length + 1);
    return Uint8Array.from([...bytes.subarray(0, at), byte, ...bytes.subarray(at + cut)]);
  });

describe('JsonScanner', () => {
  test('takes what the platform takes, and nothing else', () => {
    for (const text of odd) expect([text, isJson(utf8(text))]).toEqual([text, parses(utf8(text))]);
    fc.assert(
      fc.property(nearlyJson, (bytes) => isJson(bytes) === parses(bytes)),
      { numRuns: 3_000 },
    );
  });

  test('says the same in slices of any size', () => {
    for (const text of odd) {
      for (const slice of [1, 2, 3]) expect([text, isJson(utf8(text), slice)]).toEqual([text, parses(utf8(text))]);
    }
    fc.assert(
      fc.property(nearlyJson, fc.integer({ min: 1, max: 5 }), (bytes, slice) => isJson(bytes, slice) === parses(bytes)),
      { numRuns: 1_000 },
    );
  });

  test('takes UTF-8 only: nothing too long, no surrogates, nothing beyond the last character', () => {
    for (let first = 0x80; first < 0x100; first++) {
      for (const rest of [[], [0x80], [0x90, 0x80], [0xa0, 0x80], [0x8f, 0xbf, 0xbf], [0x90, 0x80, 0x80], [0x7f]]) {
        const bytes = Uint8Array.from([0x22, first, ...rest, 0x22]);
        expect([...bytes, isJson(bytes)]).toEqual([...bytes, parses(bytes)]);
      }
    }
  });

  test('does no more in a slice than it is told to', () => {
    for (const text of ['"'.padEnd(1000, 'a'), ' '.repeat(1000), '1'.repeat(1000), '[{},'.padEnd(1000, '[{},')]) {
      const scanner = new JsonScanner(utf8(`${text}!`));
      // What is wrong stands at the end, and no slice sees it early.
      for (let count = 0; count < 20; count++) expect(scanner.scan(50)).toBe(false);
      expect(() => scanner.scan(50)).toThrow('from byte 100');
    }
  });

  test('allows so many levels, and says when there are more', () => {
    const nested = (depth: number) => utf8('['.repeat(depth) + ']'.repeat(depth));
    checkJson(nested(JSON_DEPTH_MAX));
    expect(() => checkJson(nested(JSON_DEPTH_MAX + 1))).toThrow('deeper than 1000 levels');
    new JsonScanner(nested(1001), { depthMax: 1001 }).scan();
    expect(() => new JsonScanner(utf8('{"a":[]}'), { depthMax: 1 }).scan()).toThrow('deeper than 1 levels');
  });

  test('tells the bounds of what the outermost array or object holds', () => {
    const entries = (text: string, slice?: number) => {
      const found: string[] = [];
      const bytes = utf8(text);
      const part = (start: number, end: number) => new TextDecoder().decode(bytes.subarray(start, end));
      const onEntry = (start: number, end: number, nameStart: number, nameEnd: number) =>
        found.push(nameStart < 0 ? part(start, end) : `${part(nameStart, nameEnd)}=${part(start, end)}`);
      const scanner = new JsonScanner(bytes, { onEntry });
      while (!scanner.scan(slice));
      return found;
    };
    const object = '\n{ "a" : 1 , "ü,\\"": [ {"a":2} , 3 ] ,"b":{}, "c":"x" }\n';
    const members = ['"a"=1', '"ü,\\""=[ {"a":2} , 3 ]', '"b"={}', '"c"="x"'];
    for (const slice of [undefined, 1, 7]) {
      expect(entries(object, slice)).toEqual(members);
      expect(entries('[ 1.5e3 ,[[],{}],"a,b",{"c":null} , -0]', slice)).toEqual([
        '1.5e3',
        '[[],{}]',
        '"a,b"',
        '{"c":null}',
        '-0',
      ]);
      for (const none of ['[]', ' { } ', '17', '"text"', ' [ ]']) expect(entries(none, slice)).toEqual([]);
    }
  });
});
