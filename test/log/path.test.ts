import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkStreamPath,
  joinSegments,
  PATH_BYTES_MAX,
  PATH_SEGMENT_BYTES_MAX,
  parseStreamPath,
  pathSegments,
  streamUrlPath,
} from '../../src/log/index.js';
import { fileNameOf, pathOfFileName } from '../../src/log/path.js';

function refused(call: () => string): string | undefined {
  try {
    return `accepted: ${call()}`;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}

describe('a path from a URL', () => {
  it.each([
    ['/a', 'a'],
    ['/builds/42.txt', 'builds/42.txt'],
    ['/a%20b', 'a b'],
    ['/%C3%B6', 'ö'],
    ['/100%25', '100%'],
    // Decoded once, not twice: this names a stream, oddly.
    ['/%252e%252e', '%2e%2e'],
    ['/a..b/c.', 'a..b/c.'],
    ['/-/x', '-/x'],
    ['/.a', '.a'],
    ['/a/.hidden', 'a/.hidden'],
    ['/%2emillrace/journal', '.millrace/journal'],
    ['/%252Emillrace', '%2Emillrace'],
    ['/...', '...'],
    ['/..a', '..a'],
    ['/a%2fb', 'a%2Fb'],
    ['/a%2Fb', 'a%2Fb'],
    ['/a%252Fb', 'a%252Fb'],
    ['/a%252fb', 'a%2fb'],
    ['/%2F', '%2F'],
    ['/https%3A%2F%2Fx%2Fy', 'https:%2F%2Fx%2Fy'],
  ])('%s names %s', (url, path) => {
    expect(parseStreamPath(url)).toBe(path);
    expect(parseStreamPath(streamUrlPath(path))).toBe(path);
  });

  it.each([
    '',
    '/',
    'a',
    '//a',
    '/a/',
    '/a//b',
    '/.',
    '/..',
    '/../a',
    '/a/../b',
    '/a/./b',
    '/%2e%2e/a',
    '/%2E%2E',
    '/.%2e/a',
    '/a/%2e%2e%2fb',
    '/%2e%2e%2f',
    '/..%2Fa',
    '/a%2F..%2Fb',
    '/a%2F.',
    '/a%5cb',
    '/a\\b',
    '/%00',
    '/a%00.txt',
    '/a%0ab',
    '/a%7f',
    '/%c2%85',
    '/%',
    '/%2',
    '/%zz',
    '/%ff',
    '/%c0%ae%c0%ae/a',
    '/%c0%af',
    '/%ed%a0%80',
    `/${'x'.repeat(PATH_SEGMENT_BYTES_MAX + 1)}`,
    `/.${'x'.repeat(PATH_SEGMENT_BYTES_MAX - 2)}`,
    `/${'%2F'.repeat(PATH_SEGMENT_BYTES_MAX / 3 + 1)}`,
    `/${'%C3%B6'.repeat(PATH_SEGMENT_BYTES_MAX / 2 + 1)}`,
    `/${'abcdefg/'.repeat(PATH_BYTES_MAX / 8)}x`,
  ])('%s names nothing', (url) => {
    expect(refused(() => parseStreamPath(url))).toBe('INVALID_PATH');
  });

  it('may be as long as the limits', () => {
    const segment = 'x'.repeat(PATH_SEGMENT_BYTES_MAX);
    expect(parseStreamPath(`/${segment}`)).toBe(segment);
    expect(parseStreamPath(`/.${segment.slice(3)}`)).toBe(`.${segment.slice(3)}`);
    expect(parseStreamPath(`/${'%2F'.repeat(PATH_SEGMENT_BYTES_MAX / 3)}`)).toHaveLength(PATH_SEGMENT_BYTES_MAX);
    const path = `${'abcdefg/'.repeat(PATH_BYTES_MAX / 8 - 1)}abcdefgh`;
    expect(path.length).toBe(PATH_BYTES_MAX);
    expect(checkStreamPath(path)).toBe(path);
  });

  it('is not half a character', () => {
    expect(refused(() => checkStreamPath('a\ud800'))).toBe('INVALID_PATH');
    expect(checkStreamPath('a\u{1f600}')).toBe('a\u{1f600}');
  });

  it('is of the characters that it came in: two ways to write one letter are two names', () => {
    expect(parseStreamPath('/%C3%B6')).not.toBe(parseStreamPath('/o%CC%88'));
  });
});

describe('segments, paths, URL paths and file names', () => {
  it.each([
    [['a', 'b'], 'a/b', '/a/b', 'a/b'],
    [['a/b'], 'a%2Fb', '/a%2Fb', 'a%2Fb'],
    [['a%2Fb'], 'a%252Fb', '/a%252Fb', 'a%252Fb'],
    [['doc', '.index'], 'doc/.index', '/doc/.index', 'doc/%2Eindex'],
    [['%2Eindex'], '%2Eindex', '/%252Eindex', '%252Eindex'],
    [['a.%2E'], 'a.%2E', '/a.%252E', 'a.%2E'],
    [['100%', '50%25 off?'], '100%/50%25 off?', '/100%25/50%2525%20off%3F', '100%/50%25 off?'],
    [['.a/.b'], '.a%2F.b', '/.a%2F.b', '%2Ea%2F.b'],
    [['.millrace', 'lock'], '.millrace/lock', '/.millrace/lock', '%2Emillrace/lock'],
  ])('%j are %s, %s, %s', (segments, path, url, file) => {
    expect(joinSegments(segments)).toBe(path);
    expect(pathSegments(path)).toEqual(segments);
    expect(streamUrlPath(path)).toBe(url);
    expect(parseStreamPath(url)).toBe(path);
    expect(fileNameOf(path)).toBe(file);
  });

  /** What escapes are made of, more often than chance would have it. */
  const text = fc.string({
    unit: fc.constantFrom('%', '2', '5', 'F', 'E', '.', 'a', 'f', '25', '%25', '%2F', '%2E'),
    maxLength: 12,
    size: 'max',
  });
  const name = text.filter((each) => each !== '' && !each.startsWith('.'));

  it('are each other’s, one to one', () => {
    const segment = fc
      .array(fc.oneof(text, fc.constant('/')), { maxLength: 6, size: 'max' })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 3, size: 'max' }), (segments) => {
        let path: string;
        try {
          path = joinSegments(segments);
        } catch {
          return;
        }
        expect(pathSegments(path)).toEqual(segments);
        expect(parseStreamPath(streamUrlPath(path))).toBe(path);
        const names = fileNameOf(path).split('/');
        expect(names.some((each) => each.startsWith('.'))).toBe(false);
        expect(names.map(pathOfFileName).join('/')).toBe(path);
      }),
      { numRuns: 5000 },
    );
  });

  it('leave no file without a stream, but for hidden ones and those that go up', () => {
    fc.assert(
      fc.property(name, (each) => {
        const path = pathOfFileName(each);
        if (path === undefined) expect(each).toMatch(/(^|%2F)(%2E|\.)?\.?(%2F|$)/);
        else expect(fileNameOf(path)).toBe(each);
      }),
      { numRuns: 5000 },
    );
    expect(pathOfFileName('.hidden')).toBeUndefined();
  });
});
