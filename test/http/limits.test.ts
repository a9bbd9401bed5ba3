import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { DEFAULT_FOLLOW_ENGINE_LIMITS } from '../../src/follow/index.js';
import { DEFAULT_HTTP_LIMITS, DEFAULT_SERVER_TIMEOUTS } from '../../src/http/index.js';
import { httpLimits } from '../../src/http/limits.js';

const page = readFileSync('docs/http.md', 'utf8');

/** Option and default of each row of the tables after a heading. */
function rows(after: string): Record<string, string> {
  const text = page.slice(page.indexOf(after));
  const table = text.slice(0, text.indexOf('\n\n', text.indexOf('| ---')));
  return Object.fromEntries(
    [...table.matchAll(/^\| `(\w+)` +\| ([^|]+?) +\|/gm)].map(([, name, value]) => [name, value]),
  );
}

function shown(name: string, value: number): string {
  if (!name.includes('Bytes')) return value.toLocaleString('en');
  return value % 2 ** 20 === 0 ? `${value / 2 ** 20} MiB` : `${value / 2 ** 10} KiB`;
}

describe('docs/http.md', () => {
  it('has every limit with its default', () => {
    for (const [heading, limits] of [
      ['`createHandler({ limits:', DEFAULT_HTTP_LIMITS],
      ['`createHandler({ follow:', DEFAULT_FOLLOW_ENGINE_LIMITS],
    ] as const) {
      expect(rows(heading)).toEqual(
        Object.fromEntries(Object.entries(limits).map(([name, value]) => [name, shown(name, value)])),
      );
    }
    for (const [name, value] of Object.entries(DEFAULT_SERVER_TIMEOUTS)) {
      expect(page).toContain(`\`${name}\` (${shown(name, value)}`);
    }
  });
});

describe('httpLimits', () => {
  it('takes 0 for a wait, and what is not given by default', () => {
    expect(httpLimits({ drainMs: 0, resumeGraceMs: 0, followersMax: undefined as unknown as number })).toEqual({
      ...DEFAULT_HTTP_LIMITS,
      drainMs: 0,
      resumeGraceMs: 0,
    });
  });

  it('takes the longest wait of a timer', () => {
    expect(httpLimits({ heartbeatIntervalMs: 2 ** 31 - 1 }).heartbeatIntervalMs).toBe(2 ** 31 - 1);
  });

  it.each([
    ['followersMax', 0, 'of at least 1'],
    ['bodyBytesMax', 1.5, 'of at least 1'],
    ['drainMs', -1, 'from 0 to 2147483647'],
    ['heartbeatIntervalMs', 0, 'from 1 to 2147483647'],
    // A timer of Node that is to wait longer ends after 1 ms.
    ['heartbeatIntervalMs', 2 ** 31, 'from 1 to 2147483647'],
    ['drainMs', 9_999_999_999, 'from 0 to 2147483647'],
  ] as const)('refuses %s of %d', (name, value, range) => {
    expect(() => httpLimits({ [name]: value })).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: `${name} must be a whole number ${range}, not ${value}.`,
      }),
    );
  });
});
