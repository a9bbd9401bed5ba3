import { describe, expect, test } from 'vitest';
import { isMillraceError } from '../../src/errors.js';
import { pathSegments } from '../../src/log/index.js';
import { compileGlob, PATTERN_LENGTH_MAX } from '../../src/subscriptions/glob.js';

const matches = (pattern: string, path: string) => compileGlob(pattern)(pathSegments(path));

describe('compileGlob', () => {
  test('* is one segment', () => {
    expect(matches('events/*', 'events/a')).toBe(true);
    expect(matches('events/*', 'events/a/b')).toBe(false);
    expect(matches('events/*', 'events')).toBe(false);
    expect(matches('*/a', 'x/a')).toBe(true);
  });

  test('** is any number of segments, none included', () => {
    for (const path of ['a', 'a/b', 'a/b/c']) expect(matches('**', path)).toBe(true);
    expect(matches('a/**', 'a')).toBe(true);
    expect(matches('a/**/z', 'a/z')).toBe(true);
    expect(matches('a/**/z', 'a/b/c/z')).toBe(true);
    expect(matches('a/**/z', 'a/b/c')).toBe(false);
    expect(matches('**/log/*', 'x/log/y/log/z')).toBe(true);
  });

  test('* inside a segment is any characters of it', () => {
    expect(matches('room-*', 'room-42')).toBe(true);
    expect(matches('*.log', 'a.log')).toBe(true);
    expect(matches('a*b*c', 'aXbYc')).toBe(true);
    expect(matches('a*b*c', 'aXcYb')).toBe(false);
  });

  test('a slash within a segment is no border, and a dot that begins one nothing special', () => {
    expect(matches('a/*', 'a%2Fb')).toBe(false);
    expect(matches('*', 'a%2Fb')).toBe(true);
    expect(matches('a*b', 'a%2Fb')).toBe(true);
    expect(matches('a%2Fb', 'a%2Fb')).toBe(true);
    expect(matches('a%2Fb', 'a/b')).toBe(false);
    expect(matches('a%252Fb', 'a%2Fb')).toBe(false);
    // What a segment says: the text `2F` of an escape is nothing to be matched.
    expect(matches('*2F*', 'a%2Fb')).toBe(false);
    expect(matches('*2F*', 'a%252Fb')).toBe(true);
    expect(matches('docs/**/.updates', 'docs/x/y/.updates')).toBe(true);
    expect(matches('docs/*/*', 'docs/x/.updates')).toBe(true);
  });

  test('everything else is literal', () => {
    expect(matches('a.b', 'axb')).toBe(false);
    expect(matches('[ab]?', '[ab]?')).toBe(true);
    expect(matches('[ab]', 'a')).toBe(false);
  });

  test('a pattern that tries to be slow is not', () => {
    const before = process.cpuUsage();
    expect(matches(`${'*a'.repeat(400)}b`, 'a'.repeat(255))).toBe(false);
    expect(matches(`${'**/a/'.repeat(150)}b`, 'a/'.repeat(400).slice(0, -1))).toBe(false);
    expect(process.cpuUsage(before).user).toBeLessThan(1_000_000);
  });

  test('patterns that name no path are refused', () => {
    for (const pattern of ['', '/a', 'a//b', 'a/', 'a'.repeat(PATTERN_LENGTH_MAX + 1)]) {
      let refused: unknown;
      try {
        compileGlob(pattern);
      } catch (error) {
        refused = error;
      }
      expect(isMillraceError(refused, 'INVALID_REQUEST'), pattern).toBe(true);
    }
  });
});
