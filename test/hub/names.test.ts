import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkChannelName, nameEscaper } from '../../src/hub/index.js';
import { patternMatcher } from '../../src/hub/names.js';

const letters = nameEscaper({ escape: '-', lengthMax: 64, holds: (character) => /[a-z0-9]/.test(character) });

describe('nameEscaper', () => {
  it('leaves alone what the broker holds', () => {
    expect(letters.toBroker('chat42')).toBe('chat42');
  });

  it('writes the rest as hex of its UTF-8', () => {
    expect(letters.toBroker('a/é-😀')).toBe('a-2F-C3-A9-2D-F0-9F-98-80');
  });

  it('gives every name back, and different names stay different', () => {
    const name = fc.string({ unit: 'binary', minLength: 1, maxLength: 5, size: 'max' });
    fc.assert(
      fc.property(name, name, (one, two) => {
        expect(letters.fromBroker(letters.toBroker(one))).toBe(one);
        expect(letters.toBroker(one) === letters.toBroker(two)).toBe(one === two);
      }),
      { verbose: 1 },
    );
  });

  it('leaves names that it did not make as they are', () => {
    for (const name of ['a-', 'a-2', 'a-2f', 'a-ZZ', 'a-FF', 'a-61', '-C3']) {
      expect(letters.fromBroker(name)).toBe(name);
    }
  });

  it('refuses a name that is too long once escaped', () => {
    expect(letters.toBroker('x'.repeat(64))).toHaveLength(64);
    expect(() => letters.toBroker('/'.repeat(22))).toThrow(expect.objectContaining({ code: 'HUB_CHANNEL_INVALID' }));
  });
});

describe('checkChannelName', () => {
  it('counts bytes, not characters', () => {
    expect(() => checkChannelName('é'.repeat(4), 8)).not.toThrow();
    expect(() => checkChannelName('é'.repeat(5), 8)).toThrow(expect.objectContaining({ code: 'HUB_CHANNEL_INVALID' }));
  });
});

describe('patternMatcher', () => {
  it('agrees with the same pattern as a regular expression', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '*', '.', '\n'), maxLength: 8, size: 'max' });
    fc.assert(
      fc.property(text, text, (pattern, name) => {
        const source = pattern.split('*').map((part) => part.replace(/[.*]/g, '\\$&'));
        expect(patternMatcher(pattern)(name)).toBe(new RegExp(`^${source.join('[^]*')}$`).test(name));
      }),
      { verbose: 1, numRuns: 2000 },
    );
  });

  it('is not slowed down by many wildcards', () => {
    const matches = patternMatcher(`${'*a'.repeat(50)}b`);
    const before = process.cpuUsage();
    expect(matches('a'.repeat(1000))).toBe(false);
    expect(process.cpuUsage(before).user).toBeLessThan(100_000);
  });
});
