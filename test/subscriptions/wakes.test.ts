import { describe, expect, test } from 'vitest';
import { DEFAULT_SUBSCRIPTION_LIMITS } from '../../src/subscriptions/limits.js';
import { retryDelayMs } from '../../src/subscriptions/wakes.js';

describe('retryDelayMs', () => {
  const delay = (failures: number, random: number) => retryDelayMs(failures, DEFAULT_SUBSCRIPTION_LIMITS, () => random);

  test('begins with a second, doubles, and ends at a minute', () => {
    expect([1, 2, 3, 6, 7, 8, 1000].map((failures) => delay(failures, 0.5))).toEqual([
      1000, 2000, 4000, 32_000, 60_000, 60_000, 60_000,
    ]);
  });

  test('varies by a fifth', () => {
    expect(delay(1, 0)).toBe(800);
    expect(delay(1, 1)).toBe(1200);
  });
});
