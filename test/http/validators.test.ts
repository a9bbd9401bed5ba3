import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { isNotModified, rangeApplies, validatorFields, validatorsOf } from '../../src/http/validators.js';
import type { StreamInfo } from '../../src/log/index.js';

const SECOND = Date.parse('2026-03-04T05:06:07Z');

const info = (modifiedAtMs: number | undefined): StreamInfo => ({
  path: 'a',
  id: 'id',
  contentType: 'text/plain',
  json: false,
  tail: 10,
  closed: false,
  createdAtMs: 0,
  ...(modifiedAtMs === undefined ? {} : { modifiedAtMs }),
  appender: false,
});

const request = (headers: Record<string, string>) => ({ headers }) as unknown as IncomingMessage;
const dateOf = (at: number, modifiedAtMs: number): string => {
  vi.setSystemTime(at);
  return validatorFields(validatorsOf(info(modifiedAtMs), 0, 10))[3] as string;
};
const knows = (at: number, modifiedAtMs: number | undefined, since: string): boolean => {
  vi.setSystemTime(at);
  return isNotModified(request({ 'if-modified-since': since }), validatorsOf(info(modifiedAtMs), 0, 10));
};

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] });
});

afterEach(() => {
  vi.useRealTimers();
});

describe('Last-Modified', () => {
  it('lets whoever has it know that nothing has changed since', () => {
    const date = dateOf(SECOND + 5000, SECOND + 300);
    expect(date).toBe('Wed, 04 Mar 2026 05:06:08 GMT');
    expect(knows(SECOND + 9000, SECOND + 300, date)).toBe(true);
  });

  it('never hides what came in the second in which it was told', () => {
    for (const told of [300, 700, 999, 1000, 1001]) {
      const date = dateOf(SECOND + told, SECOND + 300);
      for (const came of [told, told + 1, 999, 1000, 1500].filter((ms) => ms >= told)) {
        expect([told, came, knows(SECOND + 60_000, SECOND + came, date)]).toEqual([told, came, false]);
        expect(rangeApplies(request({ 'if-range': date }), validatorsOf(info(SECOND + came), 0, 10))).toBe(false);
      }
    }
  });

  it('is never later than now, also of a stream from the future', () => {
    expect(dateOf(SECOND, SECOND + 300)).toBe('Wed, 04 Mar 2026 05:06:07 GMT');
    expect(dateOf(SECOND, SECOND + 3_600_000)).toBe('Wed, 04 Mar 2026 05:06:07 GMT');
  });

  it('is left out where nobody knows, and then no date is believed', () => {
    expect(validatorFields(validatorsOf(info(undefined), 0, 10))).toEqual(['ETag', '"id:0:10"']);
    expect(knows(SECOND, undefined, 'Wed, 04 Mar 2026 05:06:07 GMT')).toBe(false);
  });
});

describe('If-Modified-Since', () => {
  it('may be written in any of the forms of HTTP, and means nothing if it is no date or has not come yet', () => {
    const at = SECOND + 60_000;
    for (const date of [
      'Wed, 04 Mar 2026 05:06:08 GMT',
      'Wednesday, 04-Mar-26 05:06:08 GMT',
      'Wed Mar  4 05:06:08 2026',
    ]) {
      expect([date, knows(at, SECOND + 300, date)]).toEqual([date, true]);
    }
    for (const date of ['', 'yesterday', '1', 'Wed, 04 Mar 2026 05:06:07 GMT', 'Wed, 04 Mar 2036 05:06:08 GMT']) {
      expect([date, knows(at, SECOND + 300, date)]).toEqual([date, false]);
    }
  });

  it('does not count beside If-None-Match', () => {
    vi.setSystemTime(SECOND + 60_000);
    const validators = validatorsOf(info(SECOND), 0, 10);
    const since = { 'if-modified-since': 'Wed, 04 Mar 2026 05:06:59 GMT' };
    expect(isNotModified(request(since), validators)).toBe(true);
    expect(isNotModified(request({ ...since, 'if-none-match': '"other"' }), validators)).toBe(false);
    expect(isNotModified(request({ 'if-none-match': validators.tag }), validators)).toBe(true);
  });
});

describe('If-Range', () => {
  it('takes the tag or the date, to the letter', () => {
    vi.setSystemTime(SECOND + 60_000);
    const validators = validatorsOf(info(SECOND), 0, 10);
    const applies = (condition: string) => rangeApplies(request({ 'if-range': condition }), validators);
    expect(rangeApplies(request({}), validators)).toBe(true);
    expect(applies(validators.tag)).toBe(true);
    expect(applies('Wed, 04 Mar 2026 05:06:08 GMT')).toBe(true);
    expect(applies('Wed, 04 Mar 2026 05:06:09 GMT')).toBe(false);
    expect(applies('"other"')).toBe(false);
    expect(applies(`W/${validators.tag}`)).toBe(false);
  });
});
