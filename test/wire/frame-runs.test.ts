import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FRAME_OVERHEAD_BYTES, FrameRuns } from '../../src/wire/frame-runs.js';
import { BINARY, TEXT } from '../../src/wire/websocket.js';

const CONTINUATION = 0x0;
const CLOSE = 0x8;
const PING = 0x9;
const PAYLOAD_BYTES_MAX = 70_000;

interface Frame {
  readonly opcode: number;
  readonly payload: Buffer;
  readonly final?: boolean;
  readonly mask?: Buffer | null;
}

/** A frame as a client sends it. */
function bytesOf({ opcode, payload, final = true, mask = Buffer.from([1, 2, 3, 4]) }: Frame): Buffer {
  const masked = mask === null ? 0 : 0x80;
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  head[0] = (final ? 0x80 : 0) | opcode;
  head[1] = masked | (length < 126 ? length : length < 65_536 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
  if (mask === null) return Buffer.concat([head, payload]);
  return Buffer.concat([head, mask, payload.map((byte, at) => byte ^ (mask[at % 4] as number))]);
}

function binary(text: string): Frame {
  return { opcode: BINARY, payload: Buffer.from(text) };
}

/** What comes out when the bytes come in pieces of these sizes (the last one as often as needed). */
function split(
  bytes: Buffer,
  sizes: readonly number[],
): { runs: string[]; other: Buffer; order: string[]; frames: number } {
  const result = { runs: [] as string[], other: Buffer.alloc(0), order: [] as string[], frames: 0 };
  const runs = new FrameRuns(PAYLOAD_BYTES_MAX, {
    onRun: (payloads, frames) => {
      result.runs.push(Buffer.from(payloads).toString('latin1'));
      result.order.push('run');
      result.frames += frames;
    },
    onClose: (frame) => {
      result.other = Buffer.concat([result.other, frame]);
    },
    onOther: (other) => {
      result.other = Buffer.concat([result.other, other]);
      if (result.order.at(-1) !== 'other') result.order.push('other');
    },
  });
  for (let at = 0, index = 0; at < bytes.length; index++) {
    const size = sizes[Math.min(index, sizes.length - 1)] as number;
    runs.take(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return result;
}

const WHOLE = [Number.MAX_SAFE_INTEGER];

describe('runs of frames', () => {
  it('joins the payloads of binary messages that came together', () => {
    const bytes = Buffer.concat(['one ', 'two ', 'three'].map((text) => bytesOf(binary(text))));
    expect(split(bytes, WHOLE)).toMatchObject({ runs: ['one two three'], frames: 3, order: ['run'] });
  });

  it.each([1, 2, 3, 4, 5, 125, 126, 127, 65_535])('unmasks a payload of %i bytes', (length) => {
    const payload = Buffer.from(Array.from({ length }, (_, at) => at & 0xff));
    const bytes = bytesOf({ opcode: BINARY, payload, mask: Buffer.from([0xff, 0x80, 0x01, 0x7f]) });
    expect(split(bytes, WHOLE).runs).toEqual([payload.toString('latin1')]);
  });

  it.each<[string, Frame]>([
    ['text', { opcode: TEXT, payload: Buffer.from('text') }],
    ['a ping', { opcode: PING, payload: Buffer.from('ping') }],
    ['an empty message', binary('')],
    ['a long message', { opcode: BINARY, payload: Buffer.alloc(65_536, 'l') }],
  ])('passes on %s, and goes on after it', (_, frame) => {
    const bytes = Buffer.concat([bytesOf(binary('before')), bytesOf(frame), bytesOf(binary('after'))]);
    const result = split(bytes, WHOLE);
    expect(result.order).toEqual(['run', 'other', 'run']);
    expect(result.runs).toEqual(['before', 'after']);
    expect(result.other).toEqual(bytesOf(frame));
  });

  it.each<[string, Buffer]>([
    [
      'the first frame of a fragmented message',
      bytesOf({ opcode: BINARY, payload: Buffer.from('part'), final: false }),
    ],
    ['a continuation', bytesOf({ opcode: CONTINUATION, payload: Buffer.from('part') })],
    ['a frame without a mask', bytesOf({ opcode: BINARY, payload: Buffer.from('bare'), mask: null })],
    ['a frame with a reserved bit', Buffer.from([0xc2, 0x80, 0, 0, 0, 0])],
    ['an unknown opcode', Buffer.from([0x83, 0x80, 0, 0, 0, 0])],
    ['a control frame that is too long', bytesOf({ opcode: PING, payload: Buffer.alloc(126) })],
    ['a message beyond the limit', bytesOf({ opcode: BINARY, payload: Buffer.alloc(PAYLOAD_BYTES_MAX + 1) })],
  ])('passes on everything from %s on', (_, frame) => {
    const rest = Buffer.concat([frame, bytesOf(binary('after'))]);
    const result = split(Buffer.concat([bytesOf(binary('before')), rest]), WHOLE);
    expect(result.runs).toEqual(['before']);
    expect(result.other).toEqual(rest);
  });

  it('drops what follows a close frame', () => {
    const close = bytesOf({ opcode: CLOSE, payload: Buffer.from([3, 232]) });
    for (const sizes of [WHOLE, [1]]) {
      const result = split(Buffer.concat([bytesOf(binary('a')), close, bytesOf(binary('b'))]), sizes);
      expect(result.other.subarray(-close.length)).toEqual(close);
      expect(result.runs.join('')).not.toContain('b');
    }
  });

  it('puts messages together again wherever the bytes are cut', () => {
    const frame: fc.Arbitrary<Frame> = fc.record({
      opcode: fc.constantFrom(BINARY, BINARY, BINARY, TEXT, PING),
      payload: fc.oneof(
        { weight: 8, arbitrary: fc.uint8Array({ maxLength: 120, size: 'max' }).map((bytes) => Buffer.from(bytes)) },
        { weight: 1, arbitrary: fc.integer({ min: 126, max: 400 }).map((length) => Buffer.alloc(length, 'm')) },
      ),
      mask: fc.uint8Array({ minLength: 4, maxLength: 4, size: 'max' }).map((bytes) => Buffer.from(bytes)),
    });
    const frames = fc.array(frame, { maxLength: 30, size: 'max' }).map((all) =>
      // A control frame must be short.
      all.map((each) => (each.opcode === PING ? { ...each, payload: each.payload.subarray(0, 125) } : each)),
    );
    fc.assert(
      fc.property(
        frames,
        fc.array(fc.integer({ min: 1, max: 600 }), { minLength: 1, maxLength: 40, size: 'max' }),
        (all, sizes) => {
          const expected = all.map((each) => each.payload.toString('latin1'));
          // Runs as they are, everything else by a receiver that takes one frame at a time.
          const seen: string[] = [];
          let other = Buffer.alloc(0);
          let joined = 0;
          const runs = new FrameRuns(PAYLOAD_BYTES_MAX, {
            onRun: (payloads, count) => {
              // Nothing may be under way in the other receiver.
              expect(other.length).toBe(0);
              const text = Buffer.from(payloads).toString('latin1');
              const members = expected.slice(seen.length, seen.length + count);
              expect(members.join('')).toBe(text);
              seen.push(...members);
              joined += count;
            },
            onClose: () => {},
            onOther: (bytes) => {
              other = Buffer.concat([other, bytes]);
              for (let parsed = parse(other); parsed !== undefined; parsed = parse(other)) {
                seen.push(parsed.payload.toString('latin1'));
                other = other.subarray(parsed.end);
              }
            },
          });
          const bytes = Buffer.concat(all.map(bytesOf));
          for (let at = 0, index = 0; at < bytes.length; index++) {
            const size = sizes[Math.min(index, sizes.length - 1)] as number;
            runs.take(Buffer.from(bytes.subarray(at, at + size)));
            at += size;
          }
          expect(seen).toEqual(expected);
          expect(other.length).toBe(0);
          if (sizes.length === 1 && (sizes[0] as number) >= bytes.length) {
            expect(joined).toBe(all.filter((each) => each.opcode === BINARY && each.payload.length > 0).length);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

/** The first frame, if it is all there. */
function parse(bytes: Buffer): { payload: Buffer; end: number } | undefined {
  if (bytes.length < 2) return undefined;
  const short = (bytes[1] as number) & 0x7f;
  const at = short === 126 ? 4 : 2;
  if (bytes.length < at + 4) return undefined;
  const length = short === 126 ? bytes.readUInt16BE(2) : short;
  const end = at + 4 + length;
  if (bytes.length < end) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, end).map((byte, index) => byte ^ (mask[index % 4] as number)));
  return { payload, end };
}

describe('what is known of frames that are passed on', () => {
  const watch = (takesRuns = true) => {
    const seen = { other: Buffer.alloc(0), closes: [] as (number | undefined)[] };
    const runs = new FrameRuns(PAYLOAD_BYTES_MAX, {
      ...(takesRuns ? { onRun: () => {} } : {}),
      onOther: (bytes) => {
        seen.other = Buffer.concat([seen.other, bytes]);
      },
      onClose: (_, code) => seen.closes.push(code),
    });
    return { runs, seen, take: (bytes: Buffer) => runs.take(Buffer.from(bytes)) };
  };
  const unfinished = ({ unfinishedBytes, expectedBytes, isUnfinished }: FrameRuns) => [
    unfinishedBytes,
    expectedBytes,
    isUnfinished,
  ];

  it('how much of a message is here', () => {
    const { runs, take } = watch();
    const frame = bytesOf({ opcode: BINARY, payload: Buffer.alloc(1000) });
    expect(unfinished(runs)).toEqual([0, 0, false]);
    take(frame.subarray(0, 3));
    expect(unfinished(runs)).toEqual([0, 0, true]);
    take(frame.subarray(3, 108));
    expect(unfinished(runs)).toEqual([100, 1000, true]);
    take(frame.subarray(108));
    expect(unfinished(runs)).toEqual([0, 0, false]);
  });

  it('over all frames of a message, with pings between them', () => {
    const { runs, take } = watch(false);
    take(bytesOf({ opcode: TEXT, payload: Buffer.alloc(200), final: false }));
    expect(unfinished(runs)).toEqual([200, 200, true]);
    take(bytesOf({ opcode: PING, payload: Buffer.alloc(9) }));
    take(bytesOf({ opcode: CONTINUATION, payload: Buffer.alloc(300), final: false }));
    const bytes = 500 + FRAME_OVERHEAD_BYTES;
    expect(unfinished(runs)).toEqual([bytes, bytes, true]);
    take(bytesOf({ opcode: CONTINUATION, payload: Buffer.alloc(1) }));
    expect(unfinished(runs)).toEqual([0, 0, false]);
  });

  it('where the close begins: it is kept back, whole, with its code', () => {
    for (const [payload, code] of [
      [Buffer.from([3, 232]), 1000],
      [Buffer.from([15, 160, 0x62, 0x79, 0x65]), 4000],
      [Buffer.alloc(0), undefined],
    ] as const) {
      for (const size of [1, 2, 5, 1000]) {
        const { seen, take } = watch();
        const before = bytesOf({ opcode: TEXT, payload: Buffer.from('before') });
        const bytes = Buffer.concat([before, bytesOf({ opcode: CLOSE, payload }), bytesOf(binary('after'))]);
        for (let at = 0; at < bytes.length; at += size) take(bytes.subarray(at, at + size));
        expect([seen.closes, seen.other.equals(before)]).toEqual([[code], true]);
      }
    }
  });
});
