import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TextPieces } from '../../src/client/text.js';

function* chunksOf(bytes: Uint8Array, cuts: readonly number[]): Generator<Uint8Array> {
  let start = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    yield bytes.subarray(start, Math.max(start, cut));
    start = Math.max(start, cut);
  }
  yield bytes.subarray(start);
}

function textOf(bytes: Uint8Array, cuts: readonly number[]): string[] {
  const pieces = new TextPieces();
  const parts = [...chunksOf(bytes, cuts)].map((chunk) => pieces.push(chunk));
  return [...parts, pieces.end()].filter((part) => part !== '');
}

describe('TextPieces', () => {
  it('never splits a character, wherever the chunks are cut', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 60, size: 'max' }),
        fc.array(fc.nat(240), { maxLength: 12, size: 'max' }),
        (text, cuts) => {
          const bytes = new TextEncoder().encode(text);
          const parts = textOf(
            bytes,
            cuts.map((cut) => Math.min(cut, bytes.length)),
          );
          expect(parts.join('')).toBe(text);
          for (const part of parts) {
            expect(part).not.toBe('');
            expect(part).not.toMatch(/\p{Surrogate}/u);
          }
        },
      ),
    );
  });

  it('gives each character as soon as its last byte is there', () => {
    const euro = new TextEncoder().encode('a€');
    expect(textOf(euro, [1, 2, 3])).toEqual(['a', '€']);
  });

  it('replaces what is not UTF-8, also when the data ends within a character', () => {
    expect(textOf(new Uint8Array([0x61, 0xff, 0xe2, 0x82]), [])).toEqual(['a\ufffd', '\ufffd']);
  });

  it('keeps a byte order mark', () => {
    expect(textOf(new Uint8Array([0xef, 0xbb, 0xbf, 0x61]), [])).toEqual(['\ufeffa']);
  });

  it('gives the same as a decoder that is given everything at once, also for what is not UTF-8', () => {
    const byte = fc.oneof(fc.nat(255), fc.constantFrom(0xc2, 0xe2, 0xf0, 0xf5, 0x80, 0x9f));
    fc.assert(
      fc.property(
        fc.array(byte, { maxLength: 40, size: 'max' }),
        fc.array(fc.nat(40), { maxLength: 12, size: 'max' }),
        (values, cuts) => {
          const bytes = Uint8Array.from(values);
          const parts = textOf(
            bytes,
            cuts.map((cut) => Math.min(cut, bytes.length)),
          );
          expect(parts.join('')).toBe(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes));
        },
      ),
    );
  });

  it('says how many bytes it holds back', () => {
    const pieces = new TextPieces();
    expect([pieces.push(Uint8Array.of(0x61, 0xe2, 0x82)), pieces.heldBytes]).toEqual(['a', 2]);
    expect([pieces.push(Uint8Array.of(0xac)), pieces.heldBytes]).toEqual(['€', 0]);
  });
});
