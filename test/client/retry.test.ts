import { describe, expect, it, vi } from 'vitest';
import { Backoff, wait } from '../../src/client/retry.js';
import { isMillraceError } from '../../src/errors.js';

describe('Backoff', () => {
  it('doubles the wait up to its maximum, with jitter between half and the whole', () => {
    const options = { retryMs: 60_000, retryDelayMinMs: 100, retryDelayMaxMs: 500 };
    const longest = new Backoff(options, () => 1);
    expect([1, 2, 3, 4, 5].map(() => longest.next())).toEqual([100, 200, 400, 500, 500]);
    const shortest = new Backoff(options, () => 0);
    expect([1, 2, 3, 4, 5].map(() => shortest.next())).toEqual([50, 100, 200, 250, 250]);
  });

  it('gives up once nothing worked for retryMs, and never waits past that', () => {
    let now = 1_000;
    const backoff = new Backoff(
      { retryMs: 1_000, retryDelayMinMs: 800 },
      () => 1,
      () => now,
    );
    expect(backoff.next()).toBe(800);
    now += 900;
    expect(backoff.next()).toBe(100);
    now += 100;
    expect(backoff.next()).toBeUndefined();
  });

  it('starts anew after a connection that worked', () => {
    let now = 0;
    const backoff = new Backoff(
      { retryMs: 1_000, retryDelayMinMs: 100 },
      () => 1,
      () => now,
    );
    backoff.next();
    backoff.next();
    now += 999;
    backoff.reset();
    now += 5_000;
    expect(backoff.next()).toBe(100);
  });

  it('never tries again when retryMs is 0', () => {
    expect(new Backoff({ retryMs: 0 }).next()).toBeUndefined();
  });

  it('does not take a clock that jumps for time that has passed', () => {
    let wallMs = 1_000;
    const wallClock = vi.spyOn(Date, 'now').mockImplementation(() => wallMs);
    const backoff = new Backoff({ retryMs: 60_000 });
    expect(backoff.next()).toBeGreaterThan(0);
    wallMs += 2 * 3_600_000;
    expect(backoff.next()).toBeGreaterThan(0);
    wallClock.mockRestore();
  });

  it.each(['retryMs', 'retryDelayMinMs', 'retryDelayMaxMs'])('refuses a negative %s by name', (name) => {
    expect(() => new Backoff({ [name]: -1 })).toThrow(name);
  });
});

describe('times', () => {
  it.each([
    ['retryMs', Number.POSITIVE_INFINITY],
    ['retryMs', 2 ** 31],
    ['retryDelayMinMs', 0],
    ['retryDelayMaxMs', 0],
    ['retryDelayMaxMs', 2 ** 31],
  ])('%s must not be %d', (name, value) => {
    expect(() => new Backoff({ [name]: value })).toThrow(name);
  });
});

describe('wait', () => {
  it('ends with the reason of a signal that is aborted meanwhile', async () => {
    const controller = new AbortController();
    const waiting = wait(60_000, controller.signal);
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
  });

  it('does not begin under an aborted signal', async () => {
    const failure = await wait(60_000, AbortSignal.abort()).catch((error: unknown) => error);
    expect(isMillraceError(failure)).toBe(false);
    expect((failure as Error).name).toBe('AbortError');
  });
});
