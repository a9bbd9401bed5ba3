import { describe, expect, it } from 'vitest';
import { checkStreamPath, PATH_BYTES_MAX, PATH_SEGMENT_BYTES_MAX, parseStreamPath } from '../../src/log/index.js';

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
  ])('%s names %s', (url, path) => {
    expect(parseStreamPath(url)).toBe(path);
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
    '/a%2fb',
    '/a%2Fb',
    '/a%5cb',
    '/a\\b',
    '/%00',
    '/a%00.txt',
    '/a%0ab',
    '/a%7f',
    '/%c2%85',
    '/.millrace/lock',
    '/%2emillrace/journal',
    '/a/.hidden',
    '/%',
    '/%2',
    '/%zz',
    '/%ff',
    '/%c0%ae%c0%ae/a',
    '/%ed%a0%80',
    `/${'x'.repeat(PATH_SEGMENT_BYTES_MAX + 1)}`,
    `/${'%C3%B6'.repeat(PATH_SEGMENT_BYTES_MAX / 2 + 1)}`,
    `/${'abcdefg/'.repeat(PATH_BYTES_MAX / 8)}x`,
  ])('%s names nothing', (url) => {
    expect(refused(() => parseStreamPath(url))).toBe('INVALID_PATH');
  });

  it('may be as long as the limits', () => {
    const segment = 'x'.repeat(PATH_SEGMENT_BYTES_MAX);
    expect(parseStreamPath(`/${segment}`)).toBe(segment);
    const path = `${'abcdefg/'.repeat(PATH_BYTES_MAX / 8 - 1)}abcdefgh`;
    expect(path.length).toBe(PATH_BYTES_MAX);
    expect(checkStreamPath(path)).toBe(path);
  });

  it('is not half a character', () => {
    expect(refused(() => checkStreamPath('a\ud800'))).toBe('INVALID_PATH');
    expect(checkStreamPath('a\u{1f600}')).toBe('a\u{1f600}');
  });
});
