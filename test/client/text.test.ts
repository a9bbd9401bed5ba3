import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeText } from '../../src/client/text.js';

async function* chunksOf(bytes: Uint8Array, cuts: readonly number[]): AsyncGenerator<Uint8Array> {
  let start = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    yield bytes.subarray(start, Math.max(start, cut));
    start = Math.max(start, cut);
  }
  yield bytes.subarray(start);
}

async function collect(source: AsyncIterable<string>): Promise<string[]> {
  const parts: string[] = [];
  for await (const part of source) parts.push(part);
  return parts;
}

describe('decodeText', () => {
  it('never splits a character, wherever the chunks are cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary', maxLength: 60 }),
        fc.array(fc.nat(240), { maxLength: 12 }),
        async (text, cuts) => {
          const bytes = new TextEncoder().encode(text);
          const parts = await collect(
            decodeText(
              chunksOf(
                bytes,
                cuts.map((cut) => Math.min(cut, bytes.length)),
              ),
            ),
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

  it('gives each character as soon as its last byte is there', async () => {
    const euro = new TextEncoder().encode('a€');
    expect(await collect(decodeText(chunksOf(euro, [1, 2, 3])))).toEqual(['a', '€']);
  });

  it('replaces what is not UTF-8, also when the data ends within a character', async () => {
    expect(await collect(decodeText(chunksOf(new Uint8Array([0x61, 0xff, 0xe2, 0x82]), [])))).toEqual([
      'a\ufffd',
      '\ufffd',
    ]);
  });

  it('keeps a byte order mark', async () => {
    expect(await collect(decodeText(chunksOf(new Uint8Array([0xef, 0xbb, 0xbf, 0x61]), [])))).toEqual(['\ufeffa']);
  });
});
