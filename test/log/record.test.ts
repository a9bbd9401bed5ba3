import { describe, expect, it } from 'vitest';
import {
  decodeRecord,
  decodeSegmentHeader,
  encodeFreeHeader,
  encodeRecord,
  encodeSegmentHeader,
  previousCrcAt,
  RECORD_HEADER_BYTES,
  type RecordFields,
  RecordType,
  recordBytes,
  SEGMENT_HEADER_BYTES,
  sealRecord,
} from '../../src/log/file/record.js';

const MARK = 0xdead_beef;

const name = { bytes: Buffer.from('ö/b.txtid-1'), pathLength: 8 };
const plain: RecordFields = {
  type: RecordType.append,
  lsn: 2 ** 40 + 1,
  syncedLsn: 2 ** 40,
  timeMs: 1_795_000_000_000,
  name,
  offset: 2 ** 50 + 3,
  close: false,
  soft: false,
  producer: undefined,
  streamSeq: undefined,
  appender: undefined,
  body: undefined,
};
const full: RecordFields = {
  ...plain,
  close: true,
  soft: true,
  producer: { id: 'prodücer', epoch: 2 ** 53 - 1, seq: 0, fence: -1 },
  streamSeq: '\u{10000}',
  body: Buffer.from('{}'),
};

function encode(fields: RecordFields, payload: Uint8Array, seed = 7, previousCrc = 9): Buffer {
  const bytes = Buffer.alloc(recordBytes(fields, payload.length));
  const head = encodeRecord(bytes, 0, fields, payload.length, previousCrc, MARK);
  bytes.set(payload, head);
  sealRecord(bytes, 0, head + payload.length, undefined, seed);
  return bytes;
}

describe('a journal record', () => {
  it.each([
    ['plain', plain],
    ['with everything', full],
  ])('comes back as it was written (%s)', (_, fields) => {
    const payload = Buffer.from('payload');
    const bytes = encode(fields, payload);
    expect(bytes.length % 8).toBe(0);
    const record = decodeRecord(bytes, 0, 7);
    const { name: _name, body, ...rest } = fields;
    expect(record).toMatchObject({ ...rest, path: 'ö/b.txt', id: 'id-1', payloadLength: 7, end: bytes.length });
    expect(record?.body && Buffer.from(record.body)).toEqual(body);
    const at = record?.payloadPosition ?? 0;
    expect(bytes.subarray(at, at + 7)).toEqual(payload);
    expect(previousCrcAt(bytes, 0)).toBe(9);
  });

  it('has one checksum, whether its payload stands beside it or elsewhere', () => {
    const payload = Buffer.alloc(100, 'x');
    const bytes = Buffer.alloc(recordBytes(plain, 100));
    const head = encodeRecord(bytes, 0, plain, 100, 9, MARK);
    const crc = sealRecord(bytes, 0, head, payload, 7);
    expect(crc).toBe(encode(plain, payload).readUInt32LE(4));
  });

  it('is invalid with any one bit changed', () => {
    const bytes = encode(full, Buffer.from('payload'));
    const length = bytes.readUInt32LE(0);
    for (let bit = 0; bit < length * 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(decodeRecord(damaged, 0, 7), `bit ${bit}`).toBeUndefined();
    }
  });

  it('is invalid cut short, in another segment, and where there is nothing', () => {
    const bytes = encode(plain, Buffer.from('payload'));
    for (let length = 0; length < bytes.readUInt32LE(0); length++) {
      expect(decodeRecord(bytes.subarray(0, length), 0, 7)).toBeUndefined();
    }
    expect(decodeRecord(bytes, 0, 8)).toBeUndefined();
    expect(decodeRecord(Buffer.alloc(RECORD_HEADER_BYTES * 2), 0, 7)).toBeUndefined();
  });
});

describe('a segment header', () => {
  const nonce = Buffer.alloc(16, 3);

  it('comes back as it was written', () => {
    const header = decodeSegmentHeader(
      encodeSegmentHeader({ number: 2 ** 33, firstLsn: 2 ** 40, nonce, fileBytes: 2 ** 32, timeMs: 1e12 }),
    );
    expect(header).toMatchObject({
      number: 2 ** 33,
      firstLsn: 2 ** 40,
      mark: 0x03030303,
      fileBytes: 2 ** 32,
      timeMs: 1e12,
    });
  });

  it('gives each use of a file another seed', () => {
    const first = decodeSegmentHeader(
      encodeSegmentHeader({ number: 1, firstLsn: 1, nonce, fileBytes: 4096, timeMs: 1e12 }),
    );
    const second = decodeSegmentHeader(
      encodeSegmentHeader({ number: 1, firstLsn: 1, nonce: Buffer.alloc(16, 4), fileBytes: 4096, timeMs: 1e12 }),
    );
    expect((first as { seed: number }).seed).not.toBe((second as { seed: number }).seed);
  });

  it('is free when it is zeros, and invalid when it is anything else', () => {
    expect(decodeSegmentHeader(Buffer.alloc(SEGMENT_HEADER_BYTES))).toEqual({
      free: true,
      version: 0,
      lsn: 0,
      timeMs: 0,
    });
    expect(decodeSegmentHeader(Buffer.alloc(0))).toEqual({ free: true, version: 0, lsn: 0, timeMs: 0 });
    expect(decodeSegmentHeader(encodeFreeHeader(2 ** 40, 1e12))).toEqual({
      free: true,
      version: 2,
      lsn: 2 ** 40,
      timeMs: 1e12,
    });
    const bytes = encodeSegmentHeader({ number: 1, firstLsn: 1, nonce, fileBytes: 4096, timeMs: 1e12 });
    for (let at = 0; at < SEGMENT_HEADER_BYTES; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] as number) ^ 0x10;
      expect(decodeSegmentHeader(damaged), `byte ${at}`).toBe('invalid');
    }
  });
});
