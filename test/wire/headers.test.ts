import { describe, expect, test } from 'vitest';
import { isMillraceError, type MillraceError } from '../../src/errors.js';
import {
  matchesEntityTag,
  PRODUCER_ID_LENGTH_MAX,
  parseClosed,
  parseContentType,
  parseExpiresAt,
  parseFork,
  parseLifetime,
  parseProducer,
  parseStreamSeq,
  parseTtl,
  STREAM_SEQ_LENGTH_MAX,
  TTL_SECONDS_MAX,
} from '../../src/wire/headers.js';

function refusal(action: () => unknown): MillraceError | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (isMillraceError(error)) return error;
    throw error;
  }
}

const refused = (action: () => unknown) => refusal(action)?.code;

describe('Stream-Closed', () => {
  test('is set by true in any case, and by nothing else', () => {
    for (const value of ['true', 'TRUE', 'True']) expect(parseClosed(value)).toBe(true);
    for (const value of [undefined, '', 'false', '1', 'yes', 'true ', 'truee']) expect(parseClosed(value)).toBe(false);
  });
});

describe('Stream-TTL', () => {
  test('is a plain whole number of seconds', () => {
    expect(parseTtl(undefined)).toBeUndefined();
    expect(parseTtl('0')).toBe(0);
    expect(parseTtl('3600')).toBe(3600);
    expect(parseTtl(String(TTL_SECONDS_MAX))).toBe(TTL_SECONDS_MAX);
  });

  test('in any other notation is refused', () => {
    for (const value of ['', '-1', '+3600', '03600', '00', '3600.0', '3.6e3', '0x10', '1 ', '1,2', '9'.repeat(17)]) {
      expect(
        refused(() => parseTtl(value)),
        value,
      ).toBe('INVALID_HEADER');
    }
    expect(refused(() => parseTtl(String(TTL_SECONDS_MAX + 1)))).toBe('INVALID_HEADER');
  });
});

describe('Stream-Expires-At', () => {
  test('is an RFC 3339 timestamp', () => {
    expect(parseExpiresAt(undefined)).toBeUndefined();
    expect(parseExpiresAt('2030-01-01T00:00:00Z')).toBe(Date.UTC(2030, 0, 1));
    expect(parseExpiresAt('2030-01-01t00:00:00.123z')).toBe(Date.UTC(2030, 0, 1, 0, 0, 0, 123));
    expect(parseExpiresAt('2030-01-01T02:00:00+02:00')).toBe(Date.UTC(2030, 0, 1));
    expect(parseExpiresAt('2028-02-29T23:59:60Z')).toBe(Date.UTC(2028, 2, 1));
  });

  test('that no calendar or clock has is refused', () => {
    const wrong = ['', 'tomorrow', '2030-01-01', '2030-01-01T00:00:00', '2030-02-30T00:00:00Z', '2030-13-01T00:00:00Z'];
    for (const value of [
      ...wrong,
      '2030-01-01T24:00:00Z',
      '2030-01-01T00:60:00Z',
      '2030-01-01 00:00:00Z',
      '1893456000',
    ]) {
      expect(
        refused(() => parseExpiresAt(value)),
        value,
      ).toBe('INVALID_HEADER');
    }
  });

  test('does not go together with Stream-TTL', () => {
    const both = { 'stream-ttl': '60', 'stream-expires-at': '2030-01-01T00:00:00Z' };
    expect(refused(() => parseLifetime(both))).toBe('INVALID_HEADER');
    expect(parseLifetime({ 'stream-ttl': '60' })).toEqual({ ttlSeconds: 60 });
    expect(parseLifetime({})).toEqual({});
  });
});

describe('producer headers', () => {
  const headers = (id?: string, epoch?: string, seq?: string) => ({
    'producer-id': id,
    'producer-epoch': epoch,
    'producer-seq': seq,
  });

  test('come all together or not at all', () => {
    expect(parseProducer(headers())).toBeUndefined();
    expect(parseProducer(headers('p', '0', '7'))).toEqual({ id: 'p', epoch: 0, seq: 7 });
    expect(refusal(() => parseProducer(headers('p', '0')))?.details).toEqual({ header: 'Producer-Seq' });
    expect(refusal(() => parseProducer(headers('p', undefined, '0')))?.details).toEqual({ header: 'Producer-Epoch' });
    expect(refusal(() => parseProducer(headers(undefined, '0', '0')))?.details).toEqual({ header: 'Producer-Id' });
  });

  test('hold plain numbers up to 2^53 - 1', () => {
    expect(parseProducer(headers('p', '9007199254740991', '9007199254740991'))?.seq).toBe(Number.MAX_SAFE_INTEGER);
    for (const value of ['', '-1', '1.5', '1e3', '01', 'abc', '9007199254740992', '1 2', '0, 0']) {
      expect(
        refused(() => parseProducer(headers('p', value, '0'))),
        value,
      ).toBe('INVALID_HEADER');
      expect(
        refused(() => parseProducer(headers('p', '0', value))),
        value,
      ).toBe('INVALID_HEADER');
    }
  });

  test('name the producer in 1 to 256 characters', () => {
    expect(refused(() => parseProducer(headers('', '0', '0')))).toBe('INVALID_HEADER');
    expect(parseProducer(headers('p'.repeat(PRODUCER_ID_LENGTH_MAX), '0', '0'))).toBeDefined();
    expect(refused(() => parseProducer(headers('p'.repeat(PRODUCER_ID_LENGTH_MAX + 1), '0', '0')))).toBe(
      'INVALID_HEADER',
    );
  });
});

describe('Stream-Seq', () => {
  test('is any text of 1 to 256 characters', () => {
    expect(parseStreamSeq(undefined)).toBeUndefined();
    expect(parseStreamSeq('a b/ü')).toBe('a b/ü');
    expect(refused(() => parseStreamSeq(''))).toBe('INVALID_HEADER');
    expect(refused(() => parseStreamSeq('x'.repeat(STREAM_SEQ_LENGTH_MAX + 1)))).toBe('INVALID_HEADER');
  });
});

describe('fork headers', () => {
  const from = { 'stream-forked-from': '/a' };

  test('name the source and the place', () => {
    expect(parseFork({})).toBeUndefined();
    expect(parseFork(from)).toEqual({ from: '/a' });
    expect(parseFork({ ...from, 'stream-fork-offset': '0000000000000005', 'stream-fork-sub-offset': '3' })).toEqual({
      from: '/a',
      offset: { offset: 5, owner: undefined },
      subOffset: 3,
    });
  });

  test('need the source', () => {
    expect(refused(() => parseFork({ 'stream-fork-offset': '0000000000000005' }))).toBe('INVALID_HEADER');
    expect(refused(() => parseFork({ 'stream-fork-sub-offset': '0' }))).toBe('INVALID_HEADER');
    expect(refused(() => parseFork({ 'stream-forked-from': '' }))).toBe('INVALID_HEADER');
    expect(refused(() => parseFork({ 'stream-forked-from': 'http://elsewhere/a' }))).toBe('INVALID_HEADER');
  });

  test('with malformed places are refused', () => {
    for (const value of ['-1', 'abc', '1.5', '05', '+1', '']) {
      expect(
        refused(() => parseFork({ ...from, 'stream-fork-sub-offset': value })),
        value,
      ).toBe('INVALID_HEADER');
      expect(
        refused(() => parseFork({ ...from, 'stream-fork-offset': value })),
        value,
      ).toBe('INVALID_OFFSET');
    }
  });
});

describe('Content-Type', () => {
  test('is kept as sent', () => {
    for (const value of ['text/plain', 'application/json; charset=utf-8', 'a/b;', 'application/vnd.x+json ;q="1"']) {
      expect(parseContentType(value)).toBe(value);
    }
    expect(parseContentType(undefined)).toBeUndefined();
    expect(parseContentType('')).toBeUndefined();
  });

  test('that is no media type is refused', () => {
    for (const value of [
      'text',
      'text/',
      '/plain',
      'text/plain/x',
      'te xt/plain',
      'text/plain, a/b',
      `a/${'b'.repeat(300)}`,
    ]) {
      expect(
        refused(() => parseContentType(value)),
        value,
      ).toBe('INVALID_HEADER');
    }
  });
});

describe('If-None-Match', () => {
  test('compares weakly, in lists, and with *', () => {
    expect(matchesEntityTag('"x"', '"x"')).toBe(true);
    expect(matchesEntityTag('W/"x"', '"x"')).toBe(true);
    expect(matchesEntityTag('"a", "x"', '"x"')).toBe(true);
    expect(matchesEntityTag('*', '"x"')).toBe(true);
    expect(matchesEntityTag('"y"', '"x"')).toBe(false);
    expect(matchesEntityTag('x', '"x"')).toBe(false);
    expect(matchesEntityTag(undefined, '"x"')).toBe(false);
  });
});
