import { describe, expect, it } from 'vitest';
import { StoreTime, systemClock, WALL_CLOCK_SETTLES_MS } from '../../src/log/clock.js';
import { openMemoryStore } from '../../src/log/memory-store.js';
import { ManualClock } from './manual-clock.js';

const HOUR_MS = 3_600_000;

/** A store's time that looks at the clock every second, as a store does. */
function watching(clock: ManualClock, seenMs?: number): StoreTime {
  const time = new StoreTime(clock, seenMs);
  clock.every(1000, () => time.look());
  return time;
}

describe("a store's own time", () => {
  it('begins with the wall clock, and then heeds it no more', () => {
    const clock = new ManualClock();
    const time = new StoreTime(clock);
    const start = clock.wallMs();
    expect(Math.abs(time.nowMs - start)).toBeLessThanOrEqual(1);
    clock.setWall(-27 * HOUR_MS);
    clock.pass(5000);
    clock.setWall(54 * HOUR_MS);
    clock.pass(5000);
    expect(Math.abs(time.nowMs - start - 10_000)).toBeLessThanOrEqual(1);
    expect(Number.isInteger(time.nowMs)).toBe(true);
  });

  it('begins with the highest time that was seen before, where the wall clock is behind it', () => {
    const clock = new ManualClock();
    const seenMs = clock.wallMs() + HOUR_MS;
    const time = new StoreTime(clock, seenMs);
    expect(time.nowMs).toBeGreaterThanOrEqual(seenMs - 1);
    clock.pass(HOUR_MS);
    expect(time.nowMs).toBeGreaterThanOrEqual(seenMs + HOUR_MS - 1);
  });

  it('never goes backwards by the clocks of this machine', () => {
    const time = new StoreTime(systemClock);
    let before = time.nowMs;
    for (let times = 0; times < 10_000; times++) {
      expect(time.nowMs).toBeGreaterThanOrEqual(before);
      before = time.nowMs;
    }
  });
});

describe('a moment of the wall clock', () => {
  it('is surely past when the clock was past it for long enough, and no sooner', () => {
    const clock = new ManualClock();
    const time = watching(clock);
    clock.pass(2 * WALL_CLOCK_SETTLES_MS);
    const moment = clock.wallMs() + 500;
    clock.pass(1000);
    expect(time.isPast(moment)).toBe(true);
    clock.pass(WALL_CLOCK_SETTLES_MS - 2000);
    expect(time.isSurelyPast(moment)).toBe(false);
    clock.pass(3000);
    expect(time.isSurelyPast(moment)).toBe(true);
  });

  it('is not surely past by a clock that somebody set forward for a while', () => {
    const clock = new ManualClock();
    const time = watching(clock);
    const moment = clock.wallMs() + HOUR_MS;
    for (let times = 0; times < 5; times++) {
      clock.pass(WALL_CLOCK_SETTLES_MS / 2);
      clock.setWall(2 * HOUR_MS);
      clock.pass(WALL_CLOCK_SETTLES_MS / 2);
      expect(time.isPast(moment)).toBe(true);
      expect(time.isSurelyPast(moment)).toBe(false);
      clock.setWall(-2 * HOUR_MS);
    }
  });

  it('is not surely past because the process stood still meanwhile', () => {
    const clock = new ManualClock();
    const time = watching(clock);
    const moment = clock.wallMs() + HOUR_MS;
    clock.pass(1000);
    clock.suspend(8 * HOUR_MS);
    expect(time.isPast(moment)).toBe(true);
    expect(time.isSurelyPast(moment)).toBe(false);
    clock.pass(WALL_CLOCK_SETTLES_MS + 1000);
    expect(time.isSurelyPast(moment)).toBe(true);
  });

  it('is not surely past to whoever has just begun to look', () => {
    const clock = new ManualClock();
    const time = watching(clock);
    const moment = clock.wallMs() - HOUR_MS;
    expect(time.isPast(moment)).toBe(true);
    clock.pass(WALL_CLOCK_SETTLES_MS - 1000);
    expect(time.isSurelyPast(moment)).toBe(false);
    clock.pass(1000);
    expect(time.isSurelyPast(moment)).toBe(true);
  });
});

describe('the time at which a stream got its newest byte', () => {
  it('is that of the wall clock, and another one each time also where the clock was set back', async () => {
    const clock = new ManualClock();
    const store = openMemoryStore({}, clock);
    const modifiedAtMs = async () => (await store.stat('a')).modifiedAtMs as number;
    await store.create('a');
    clock.setWall(HOUR_MS);
    await store.append('a', { data: Buffer.from('1') });
    const first = await modifiedAtMs();
    expect(first).toBe(clock.wallMs());
    clock.setWall(-2 * HOUR_MS);
    await store.append('a', { data: Buffer.from('2') });
    const second = await modifiedAtMs();
    // Readers know it in seconds.
    expect(Math.floor(second / 1000)).toBeGreaterThan(Math.floor(first / 1000));
    await store.close();
  });
});
