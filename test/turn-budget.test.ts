import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { scanJson } from '../src/http/scan-json.js';
import { SLICE_BYTES, TURN_BYTES_MAX, TurnBudget } from '../src/turn-budget.js';

it('gives so many bytes a turn to all together, in the order in which they asked', async () => {
  const budget = new TurnBudget(100);
  const done: string[] = [];
  const work = async (name: string, slices: number) => {
    for (let at = 0; at < slices; at++) {
      await budget.take(50);
      done.push(name);
    }
  };
  void work('a', 4);
  void work('b', 3);
  for (let turn = 0; done.length < 7; turn++) {
    // Those of the turn at hand come before its end or after it: who can tell.
    expect(done.length).toBeLessThanOrEqual(2 * (turn + 1));
    await setImmediate();
  }
  expect(done.join('')).toBe('abababa');
});

it('serves one that asks for more than a turn has', async () => {
  const budget = new TurnBudget(100);
  expect(budget.take(1_000)).toBeUndefined();
  await budget.take(1_000);
  await budget.take(1);
});

it('large JSON is checked in as many turns as its bytes ask for, small JSON at once', async () => {
  const small = Buffer.from(`[${'{},'.repeat(10)}1]`);
  expect(scanJson(small)).toBeUndefined();
  const large = Buffer.from(`[${'{},'.repeat(1_000_000)}1]`);
  let turns = 0;
  let checked = false;
  const checking = Promise.resolve(scanJson(large)).then(() => {
    checked = true;
  });
  while (!checked) {
    await setImmediate();
    turns++;
  }
  await checking;
  expect(turns).toBeGreaterThanOrEqual(Math.floor(large.length / (TURN_BYTES_MAX + SLICE_BYTES)));
  large[large.length - 1] = 0x7d;
  await expect(scanJson(large)).rejects.toMatchObject({ code: 'INVALID_JSON', details: { at: large.length - 1 } });
});
