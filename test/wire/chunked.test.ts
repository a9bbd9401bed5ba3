import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { encodeChunk } from '../../src/wire/chunked.js';

describe('encodeChunk', () => {
  it('puts the length in hexadecimal before the data', () => {
    expect(Buffer.from(encodeChunk(Buffer.from('hello'))).toString()).toBe('5\r\nhello\r\n');
    expect(
      Buffer.from(encodeChunk(Buffer.alloc(255, 'x')))
        .toString()
        .startsWith('ff\r\nxxx'),
    ).toBe(true);
    expect(encodeChunk(Buffer.alloc(100_000)).length).toBe('186a0\r\n'.length + 100_000 + 2);
  });

  it('makes nothing of nothing, which would end the body', () => {
    expect(encodeChunk(Buffer.alloc(0)).length).toBe(0);
  });
});
