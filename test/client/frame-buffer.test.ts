import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameBuffer } from '../../src/client/frame-buffer.js';

function framesOf(chunks: readonly (string | Uint8Array)[], frameMaxBytes: number): Uint8Array[] {
  const frames: Uint8Array[] = [];
  const buffer = new FrameBuffer(frameMaxBytes, (frame) => frames.push(frame));
  for (const chunk of chunks) buffer.write(chunk);
  buffer.end();
  return frames;
}

describe('FrameBuffer', () => {
  it('passes on exactly the bytes that were written, in frames within the limit', () => {
    const chunk = fc.oneof(
      fc.uint8Array({ maxLength: 50, size: 'max' }),
      fc.string({ unit: 'grapheme', maxLength: 30, size: 'max' }),
    );
    fc.assert(
      fc.property(
        fc.array(chunk, { maxLength: 30, size: 'max' }),
        fc.integer({ min: 6, max: 64 }),
        (chunks, frameMaxBytes) => {
          const frames = framesOf(chunks, frameMaxBytes);
          const expected = Buffer.concat(chunks.map((part) => Buffer.from(part as Uint8Array)));
          expect(Buffer.concat(frames).equals(expected)).toBe(true);
          for (const frame of frames) {
            expect(frame.length).toBeGreaterThan(0);
            expect(frame.length).toBeLessThanOrEqual(frameMaxBytes);
          }
        },
      ),
    );
  });

  it('puts many small writes into one frame', () => {
    const frames = framesOf(Array<string>(100).fill('0123456789'), 1_000);
    expect(frames.map((frame) => frame.length)).toEqual([1_000]);
  });

  it('joins a surrogate pair that two strings share', () => {
    const [high, low] = ['😀'.slice(0, 1), '😀'.slice(1)];
    expect(Buffer.concat(framesOf([`a${high}`, '', `${low}b`], 64)).toString()).toBe('a😀b');
  });

  it('replaces half a pair whose other half never comes', () => {
    const high = '😀'.slice(0, 1);
    expect(Buffer.concat(framesOf([high, new Uint8Array([0x61]), high], 64)).toString()).toBe('\ufffda\ufffd');
  });

  it('has copied what was written: the caller may use its buffer again', () => {
    const reused = new Uint8Array([1, 2, 3]);
    const frames: Uint8Array[] = [];
    const buffer = new FrameBuffer(64, (frame) => frames.push(frame));
    buffer.write(reused);
    reused.fill(9);
    buffer.flush();
    expect(frames).toEqual([new Uint8Array([1, 2, 3])]);
  });
});
