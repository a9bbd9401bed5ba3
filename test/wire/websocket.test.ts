import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { BINARY, encodeFrame, frameHeaderLength, TEXT, writeFrame } from '../../src/wire/websocket.js';

describe('encodeFrame', () => {
  it('writes the examples of RFC 6455, section 5.7', () => {
    expect([...encodeFrame(TEXT, Buffer.from('Hello'))]).toEqual([0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    expect([...encodeFrame(BINARY, Buffer.alloc(256)).subarray(0, 4)]).toEqual([0x82, 0x7e, 0x01, 0x00]);
    expect([...encodeFrame(BINARY, Buffer.alloc(65536)).subarray(0, 10)]).toEqual([0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
  });

  it.each([
    [0, 2],
    [125, 2],
    [126, 4],
    [65535, 4],
    [65536, 10],
  ])('uses the shortest length for a payload of %i bytes', (length, header) => {
    const payload = Buffer.alloc(length, 7);
    const frame = encodeFrame(BINARY, payload);
    expect(frameHeaderLength(length)).toBe(header);
    expect(Buffer.from(frame).subarray(header)).toEqual(payload);
  });
});

describe('writeFrame', () => {
  it('puts frames one after the other', () => {
    const target = new Uint8Array(9);
    const next = writeFrame(target, 1, TEXT, Buffer.from('a'));
    expect(next).toBe(4);
    expect(writeFrame(target, next, BINARY, Buffer.from('bcd'))).toBe(9);
    expect(Buffer.from(target).toString('latin1')).toBe('\0\x81\x01a\x82\x03bcd');
  });
});
