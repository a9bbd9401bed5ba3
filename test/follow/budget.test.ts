import { describe, expect, it } from 'vitest';
import { ReadBudget } from '../../src/follow/budget.js';
import { DEFAULT_FOLLOW_ENGINE_LIMITS } from '../../src/follow/limits.js';

const KIB = 1024;
const MIB = 1024 * KIB;

describe('ReadBudget', () => {
  it('grants what is wanted while there is plenty, up to the largest read', () => {
    const budget = new ReadBudget(DEFAULT_FOLLOW_ENGINE_LIMITS);
    expect(budget.grant(64 * KIB)).toBe(64 * KIB);
    expect(budget.grant(100 * MIB)).toBe(MIB);
    expect(budget.used).toBe(64 * KIB + MIB);
  });

  it('never refuses the smallest read, and stays near its limit however many hold on', () => {
    const budget = new ReadBudget(DEFAULT_FOLLOW_ENGINE_LIMITS);
    const grants = Array.from({ length: 2000 }, () => budget.grant(MIB));
    expect(Math.min(...grants)).toBe(16 * KIB);
    expect(budget.used).toBeLessThan(64 * MIB + 2000 * 16 * KIB);
  });

  it('takes back what was granted', () => {
    const budget = new ReadBudget(DEFAULT_FOLLOW_ENGINE_LIMITS);
    for (const granted of Array.from({ length: 500 }, () => budget.grant(MIB))) budget.release(granted);
    expect(budget.used).toBe(0);
    expect(budget.grant(MIB)).toBe(MIB);
  });
});
