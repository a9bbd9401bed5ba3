import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unfinishedCharacter } from '../../src/follow/utf8.js';

describe('unfinishedCharacter', () => {
  it('finds nothing to keep back in whole characters', () => {
    for (const text of ['', 'a', 'é', '€', '😀', 'a€', '😀é']) expect(unfinishedCharacter(Buffer.from(text))).toBe(0);
  });

  it('keeps back the beginning of a character, whatever its length', () => {
    for (const character of ['é', '€', '😀']) {
      const bytes = Buffer.from(`x${character}`);
      for (let cut = 2; cut < bytes.length; cut++) expect(unfinishedCharacter(bytes.subarray(0, cut))).toBe(cut - 1);
    }
  });

  it('keeps nothing back that can never become a character', () => {
    expect(unfinishedCharacter(Buffer.from([0x80]))).toBe(0);
    expect(unfinishedCharacter(Buffer.from([0x80, 0x80, 0x80, 0x80]))).toBe(0);
    expect(unfinishedCharacter(Buffer.from([0xc0]))).toBe(0);
    expect(unfinishedCharacter(Buffer.from([0xff]))).toBe(0);
    expect(unfinishedCharacter(Buffer.from([0xf5, 0x80]))).toBe(0);
  });

  it('cuts any text at any place into whole characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.nat(), (text, at) => {
        const bytes = Buffer.from(text);
        const cut = bytes.length === 0 ? 0 : at % (bytes.length + 1);
        const whole = cut - unfinishedCharacter(bytes.subarray(0, cut));
        expect(bytes.subarray(0, whole).toString() + bytes.subarray(whole).toString()).toBe(text);
      }),
    );
  });
});
