import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { base64Length, writeBase64 } from '../../src/wire/base64.js';
import { encodeEventFrame, encodeSseEvent, PIECE_BYTES, socketEvent, sseEvent } from '../../src/wire/events.js';

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const utf8 = (string: string) => new TextEncoder().encode(string);

/** What an `EventSource` gives for the data of one event. */
function dataOf(event: string): string {
  const lines = event.split(/\r\n|\r|\n/).filter((line) => line.startsWith('data:'));
  return lines.map((line) => line.replace(/^data: ?/, '')).join('\n');
}

describe('an event of a channel', () => {
  it('has the text of its JSON, on one line where it is a server-sent event', () => {
    const bytes = utf8('{"id":3791411052119578828,\r\n"far":1e400}');
    const body = { bytes, kind: 'json' } as const;
    const event = { channel: 'a b', id: '7' };
    expect(text(encodeSseEvent(event, 'message', body))).toBe(
      'id: a%20b@7\ndata: {"id":3791411052119578828,  "far":1e400}\n\n',
    );
    expect(text(socketEvent(event, body).whole())).toBe(
      `{"op":"message","channel":"a b","id":"7","message":${text(bytes)}}`,
    );
  });

  it('may be made of a value', () => {
    expect(text(encodeSseEvent({ channel: 'a', message: { n: 1 } }, 'channel'))).toBe(
      'id: a@\nevent: a\ndata: {"n":1}\n\n',
    );
    expect(text(encodeEventFrame({ channel: 'a', message: [1] }).subarray(2))).toBe(
      '{"op":"message","channel":"a","message":[1]}',
    );
    expect(() => encodeSseEvent({ channel: 'a', message: undefined }, 'message')).toThrow('no JSON form');
  });

  it('of text gives the text back, its line breaks as `\\n`', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('a', ' ', '\r', '\n', '\r\n', 'ü', ':'), { maxLength: 30, size: 'max' }),
        (parts) => {
          const message = utf8(parts.join(''));
          const event = text(encodeSseEvent({ channel: 'a', message }, 'message'));
          expect(dataOf(event)).toBe(parts.join('').replace(/\r\n|\r|\n/g, '\n'));
          expect(event.indexOf('\n\n')).toBe(event.length - 2);
        },
      ),
    );
  });

  it('is the same in pieces as at once, wherever a piece ends', () => {
    for (const shift of [0, 1, 2, 3]) {
      const lines = `${'x'.repeat(PIECE_BYTES - 2 + shift)}\r\n${'ü\n'.repeat(PIECE_BYTES)}\r`;
      const event = sseEvent({ channel: 'a', message: utf8(lines) }, 'message');
      expect(event.pieceCount).toBeGreaterThan(3);
      const pieces = Array.from({ length: event.pieceCount }, (_, at) => event.piece(at));
      const whole = text(Buffer.concat(pieces));
      expect(whole === text(event.whole())).toBe(true);
      expect(dataOf(whole) === lines.replace(/\r\n|\r|\n/g, '\n')).toBe(true);

      const bytes = Uint8Array.from({ length: 2 * PIECE_BYTES + shift }, (_, at) => 255 - (at & 0x7f));
      const binary = sseEvent({ channel: 'a', message: bytes }, 'message');
      const joined = text(Buffer.concat(Array.from({ length: binary.pieceCount }, (_, at) => binary.piece(at))));
      expect(Buffer.from(dataOf(joined), 'base64').equals(bytes)).toBe(true);
    }
  });
});

describe('writeBase64', () => {
  it('is what the platform makes of any bytes, at any place', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20, size: 'max' }), fc.nat(5), (bytes, at) => {
        const out = new Uint8Array(at + base64Length(bytes.length)).fill(0x20);
        expect(writeBase64(out, at, bytes)).toBe(out.length);
        expect(text(out)).toBe(' '.repeat(at) + Buffer.from(bytes).toString('base64'));
      }),
    );
  });
});
