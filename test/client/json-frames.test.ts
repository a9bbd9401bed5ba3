import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonFrames } from '../../src/client/json-frames.js';

function framesOf(
  chunks: readonly (string | Uint8Array)[],
  frameBytesMax = 1_000,
  serverFrameBytesMax = 10_000,
): string[] {
  const frames: string[] = [];
  const gatherer = new JsonFrames(frameBytesMax, serverFrameBytesMax, (frame) =>
    frames.push(Buffer.from(frame).toString()),
  );
  for (const chunk of chunks) gatherer.write(chunk);
  gatherer.end();
  return frames;
}

describe('JsonFrames', () => {
  it('sends a string as it is', () => {
    expect(framesOf(['{"a":1}', '[1,2]'])).toEqual(['{"a":1}', '[1,2]']);
  });

  it('joins lines into one array, so that an array on a line stays one message', () => {
    expect(framesOf([Buffer.from('{"a":1}\n[1,2]\n')])).toEqual(['[{"a":1},[1,2]]']);
  });

  it('leaves out blank lines, and needs no newline at the end', () => {
    expect(framesOf([Buffer.from('\n1\r\n \t\n2')])).toEqual(['[1\r,2]']);
    expect(framesOf([Buffer.from('\n')])).toEqual([]);
  });

  it('keeps bytes and strings in their order', () => {
    expect(framesOf([Buffer.from('1\n'), '2', Buffer.from('3\n')])).toEqual(['[1]', '2', '[3]']);
  });

  it('sends every message once and in order, wherever the bytes are cut', () => {
    const message = fc.jsonValue({ maxDepth: 2 });
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 20, size: 'max' }),
        fc.array(fc.nat(400), { maxLength: 30, size: 'max' }),
        fc.integer({ min: 1, max: 50 }),
        (messages, cuts, max) => {
          const bytes = Buffer.from(messages.map((value) => `${JSON.stringify(value)}\n`).join(''));
          const places = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)).sort((a, b) => a - b), bytes.length];
          const chunks = places.slice(1).map((end, i) => bytes.subarray(places[i], end));
          const sent = framesOf(chunks, max).flatMap((frame) => JSON.parse(frame) as unknown[]);
          expect(sent).toEqual(JSON.parse(JSON.stringify(messages)));
        },
      ),
    );
  });

  it('does not cut a message that is larger than a frame should be', () => {
    const long = JSON.stringify('x'.repeat(500));
    expect(framesOf([Buffer.from(`1\n${long}\n2\n`)], 100)).toEqual(['[1]', `[${long}]`, '[2]']);
  });

  it('makes no frame larger than it should be, brackets and commas included', () => {
    const frames = framesOf([Buffer.from('1\n'.repeat(1_000))], 100);
    expect(frames.flatMap((frame) => JSON.parse(frame) as unknown[])).toHaveLength(1_000);
    expect(Math.max(...frames.map((frame) => frame.length))).toBeLessThanOrEqual(100);
  });

  it.each([
    ['two values', '1,2'],
    ['half an object', '{"a":1'],
    ['half an array', '[1'],
    ['a comma', ','],
    ['a byte order mark', '\ufeff1'],
    ['what is not UTF-8', Buffer.from([0x22, 0xff, 0x22])],
    ['nested deeper than the server takes', '['.repeat(1001) + ']'.repeat(1001)],
  ])('refuses a line that is %s, though it might fit between others, and emits those before it', (_what, line) => {
    const frames: string[] = [];
    const gatherer = new JsonFrames(1_000, 10_000, (frame) => frames.push(Buffer.from(frame).toString()));
    const bytes = Buffer.concat([Buffer.from('1\n\n2\n'), Buffer.from(line as string), Buffer.from('\n"b":2}\n2]\n')]);
    expect(() => gatherer.write(bytes)).toThrow(
      expect.objectContaining({ code: 'INVALID_JSON', details: expect.objectContaining({ line: 4 }) }),
    );
    expect(frames).toEqual(['[1,2]']);
  });

  it('refuses a last line without its newline that is not JSON', () => {
    expect(() => framesOf([Buffer.from('1\n{"a":')])).toThrow(expect.objectContaining({ code: 'INVALID_JSON' }));
  });

  it('refuses a line that no frame can hold as soon as it is too long, and emits those before it', () => {
    const frames: string[] = [];
    const gatherer = new JsonFrames(50, 100, (frame) => frames.push(Buffer.from(frame).toString()));
    gatherer.write(Buffer.from('1\n'));
    gatherer.write(Buffer.from('2'.repeat(98)));
    expect(() => gatherer.write(Buffer.from('2'))).toThrow(
      expect.objectContaining({ code: 'APPEND_TOO_LARGE', details: { line: 2, lineBytesMax: 98 } }),
    );
    expect(frames).toEqual(['[1]']);
    expect(gatherer.bytes).toBe(0);
  });
});
