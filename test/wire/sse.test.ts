import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeSseData, formatSseControl, sseEncodingOf, wholeTextLength } from '../../src/wire/sse.js';

const bytes = (text: string) => new TextEncoder().encode(text);

interface SseEvent {
  type: string;
  data: string;
}

/** A reader as the HTML standard describes it, section 9.2.6. */
function readEvents(stream: Uint8Array): SseEvent[] {
  const events: SseEvent[] = [];
  let type = '';
  let data: string[] = [];
  for (const line of new TextDecoder().decode(stream).split(/\r\n|\r|\n/)) {
    if (line === '') {
      if (data.length > 0) events.push({ type, data: data.join('\n') });
      type = '';
      data = [];
      continue;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') type = value;
    if (field === 'data') data.push(value);
  }
  return events;
}

describe('ids', () => {
  test('stand before the name of the event: some readers take the line after that for the data', () => {
    const text = (event: Uint8Array) => new TextDecoder().decode(event);
    expect(text(encodeSseData('text', bytes('a'), '7'))).toBe('id: 7\nevent: data\ndata:a\n\n');
    expect(text(encodeSseData('json', bytes('1\n'), '7'))).toBe('id: 7\nevent: data\ndata:[\ndata:1\ndata:]\n\n');
    expect(text(encodeSseData('base64', bytes('a'), '7'))).toBe('id: 7\nevent: data\ndata:YQ==\n\n');
    const control = formatSseControl({ nextOffset: '7', upToDate: true, closed: true }, '7');
    expect(control).toMatch(/^id: 7\nevent: control\ndata:\{/);
  });
});

describe('text events', () => {
  test('carry each line on its own', () => {
    expect(new TextDecoder().decode(encodeSseData('text', bytes('a\nb')))).toBe('event: data\ndata:a\ndata:b\n\n');
  });

  test('arrive as one event with every kind of line break as \\n, whatever the text tries', () => {
    const nasty = fc.array(
      fc.constantFrom('\r', '\n', '\r\n', ' ', ':', 'a', 'é', '🙂', 'data:', 'event: control', '\u2028', '\0'),
      { minLength: 1, maxLength: 40, size: 'max' },
    );
    fc.assert(
      fc.property(nasty, (parts) => {
        const input = parts.join('');
        expect(readEvents(encodeSseData('text', bytes(input)))).toEqual([
          { type: 'data', data: input.replace(/\r\n|\r/g, '\n') },
        ]);
      }),
      { numRuns: 1000 },
    );
  });

  test('keep leading spaces', () => {
    expect(readEvents(encodeSseData('text', bytes('  indented\n x')))).toEqual([
      { type: 'data', data: '  indented\n x' },
    ]);
  });
});

describe('JSON events', () => {
  test('are an array with one message a line', () => {
    const event = new TextDecoder().decode(encodeSseData('json', bytes('{"k":"v"}\n[1]\n')));
    expect(event).toBe('event: data\ndata:[\ndata:{"k":"v"},\ndata:[1]\ndata:]\n\n');
  });

  test('parse back to the messages', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { minLength: 1 }), (messages) => {
        const input = messages.map((message) => `${JSON.stringify(message)}\n`).join('');
        const [event, ...more] = readEvents(encodeSseData('json', bytes(input)));
        return more.length === 0 && JSON.stringify(JSON.parse(event?.data ?? '')) === JSON.stringify(messages);
      }),
    );
  });

  test('hold a carriage return of a file written by hand as whitespace', () => {
    const [event] = readEvents(encodeSseData('json', bytes('{"a":\r1}\r\n2\r\n')));
    expect(JSON.parse(event?.data ?? '')).toEqual([{ a: 1 }, 2]);
  });
});

describe('base64 events', () => {
  test('decode to the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (data) => {
        const [event] = readEvents(encodeSseData('base64', data));
        return event?.type === 'data' && event.data === Buffer.from(data).toString('base64');
      }),
    );
  });
});

describe('formatSseControl', () => {
  const offset = '0000000000000042_sabcdefg';
  const read = (event: string) => JSON.parse(readEvents(bytes(event))[0]?.data ?? '');

  test('says where the reader is', () => {
    expect(read(formatSseControl({ nextOffset: offset, cursor: '7', upToDate: false, closed: false }))).toEqual({
      streamNextOffset: '0000000000000042_sabcdefg',
      streamCursor: '7',
    });
    expect(read(formatSseControl({ nextOffset: offset, cursor: '7', upToDate: true, closed: false }))).toEqual({
      streamNextOffset: '0000000000000042_sabcdefg',
      streamCursor: '7',
      upToDate: true,
    });
  });

  test('has no cursor once the stream is closed', () => {
    expect(read(formatSseControl({ nextOffset: offset, cursor: '7', upToDate: true, closed: true }))).toEqual({
      streamNextOffset: '0000000000000042_sabcdefg',
      upToDate: true,
      streamClosed: true,
    });
  });
});

describe('sseEncodingOf', () => {
  const encoding = (contentType: string, json = false) => sseEncodingOf({ contentType, json });

  test('is JSON for streams of messages, text for text, base64 for the rest', () => {
    expect(encoding('Application/JSON; charset=utf-8', true)).toBe('json');
    expect(encoding('text/plain')).toBe('text');
    expect(encoding('TEXT/html;x=y')).toBe('text');
    expect(encoding('application/json')).toBe('text');
    expect(encoding('application/octet-stream')).toBe('base64');
    expect(encoding('application/json-seq')).toBe('base64');
  });
});

describe('wholeTextLength', () => {
  test('leaves out only an unfinished character at the end', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), fc.nat(), (input, at) => {
        const all = bytes(input);
        const cut = all.subarray(0, at % (all.length + 1));
        const whole = wholeTextLength(cut);
        expect(cut.length - whole).toBeLessThanOrEqual(3);
        expect(() => new TextDecoder('utf-8', { fatal: true }).decode(cut.subarray(0, whole))).not.toThrow();
        if (cut.length === all.length) expect(whole).toBe(all.length);
      }),
    );
  });

  test('holds nothing back that can never become a character', () => {
    for (const data of [[0x80], [0x41, 0x80, 0x80, 0x80, 0x80], [0xff], [0xc3, 0x41], [0xf0, 0x9f, 0x41]]) {
      expect(wholeTextLength(Uint8Array.from(data))).toBe(data.length);
    }
    expect(wholeTextLength(Uint8Array.of(0x41, 0xf0, 0x9f, 0x99))).toBe(1);
    expect(wholeTextLength(new Uint8Array(0))).toBe(0);
  });
});
