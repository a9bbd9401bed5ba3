import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { Chunk } from '../../src/follow/chunk.js';
import { Window } from '../../src/follow/window.js';

const open = { closed: false, appender: true, deleted: false };

function windowOf(sizes: readonly number[], bytesMax: number): Window {
  const window = new Window();
  let offset = 100;
  for (const size of sizes) {
    const data = Buffer.from(Array.from({ length: size }, (_, i) => (offset + i) % 256));
    window.push(new Chunk('abcdefghijklmnop', offset, data, open, true), bytesMax);
    offset += size;
  }
  return window;
}

describe('Window', () => {
  it('answers from the middle of a chunk on', () => {
    const window = windowOf([10, 10, 10], 1000);
    expect(Buffer.concat(window.from(105, 1000) ?? [])[0]).toBe(105);
    expect(Buffer.concat(window.from(105, 1000) ?? []).length).toBe(25);
  });

  it('gives whole chunks up to the wanted size, and always one', () => {
    const window = windowOf([10, 10, 10], 1000);
    expect(window.from(100, 25)?.map((piece) => piece.length)).toEqual([10, 10]);
    expect(window.from(100, 1)?.map((piece) => piece.length)).toEqual([10]);
  });

  it('knows what it no longer has, and what there is not yet', () => {
    const window = windowOf([10, 10, 10], 20);
    expect(window.bytes).toBe(20);
    expect(window.from(109, 1000)).toBeUndefined();
    expect(window.from(110, 1000)).toBeDefined();
    expect(window.from(130, 1000)).toBeUndefined();
  });

  it('keeps the newest chunk, however large', () => {
    const window = windowOf([10, 500], 20);
    expect(window.bytes).toBe(500);
    expect(window.from(110, 1000)?.length).toBe(1);
  });

  it('finds every offset after thousands of chunks came and went', () => {
    const window = windowOf(new Array(5000).fill(7), 700);
    expect(window.bytes).toBe(700);
    const end = 100 + 5000 * 7;
    for (let offset = end - 700; offset < end; offset++) {
      expect(window.from(offset, 1)?.[0]?.[0]).toBe(offset % 256);
    }
  });
});
