import { EventEmitter, once } from 'node:events';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { combineSignals } from '../src/signals.js';
import { countedSignal } from './event-stream/readers.js';
import { collectGarbage, isGarbage } from './garbage-collector.js';

afterEach(() => {
  vi.useRealTimers();
});

describe('combineSignals', () => {
  it('aborts with the first of its sources, for its reason, and lets go of the others', () => {
    const [first, second] = [countedSignal(), countedSignal()];
    const { signal } = combineSignals([first.signal, second.signal]);
    expect(signal.aborted).toBe(false);
    second.controller.abort('second');
    expect(signal.reason).toBe('second');
    expect(first.listeners()).toBe(0);
    expect(second.listeners()).toBe(0);
    first.controller.abort('first');
    expect(signal.reason).toBe('second');
  });

  it('is aborted at once where a source is, and then holds nothing', () => {
    vi.useFakeTimers();
    const { signal: fresh, listeners } = countedSignal();
    const { signal } = combineSignals([fresh, AbortSignal.abort('before')], 1000);
    expect(signal.reason).toBe('before');
    expect(listeners()).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('aborts when its time is over, not before, and says so as AbortSignal.timeout() does', () => {
    vi.useFakeTimers();
    const { signal: source, listeners } = countedSignal();
    const { signal } = combineSignals([source], 1000);
    vi.advanceTimersByTime(999);
    expect(signal.aborted).toBe(false);
    vi.advanceTimersByTime(1);
    expect(signal.reason).toMatchObject({ name: 'TimeoutError' });
    expect(listeners()).toBe(0);
  });

  it('aborts no more once it is released, and leaves neither timers nor listeners', () => {
    vi.useFakeTimers();
    const { controller, signal: source, listeners } = countedSignal();
    const { signal, release } = combineSignals([source], 1000);
    expect(listeners()).toBe(1);
    expect(vi.getTimerCount()).toBe(1);
    release();
    release();
    expect(listeners()).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    controller.abort();
    expect(signal.aborted).toBe(false);
  });

  it('does not keep a process alive for its time limit', () => {
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = timers();
    const { release } = combineSignals([], 60_000);
    expect(timers()).toBe(before);
    release();
  });

  it('aborts although nobody refers to it or its sources but those who wait', async () => {
    const controller = new AbortController();
    const waiting = [
      once(new EventEmitter(), 'never', { signal: combineSignals([new AbortController().signal], 500).signal }),
      once(new EventEmitter(), 'never', { signal: combineSignals([controller.signal]).signal }),
    ];
    const outcomes = Promise.allSettled(waiting);
    await collectGarbage();
    controller.abort('source');
    expect(await outcomes).toMatchObject([
      { status: 'rejected', reason: { cause: { name: 'TimeoutError' } } },
      { status: 'rejected', reason: { cause: 'source' } },
    ]);
  });

  it('is garbage once it is released, however long its sources live', async () => {
    const source = new AbortController();
    const use = () => {
      const { signal, release } = combineSignals([source.signal], 60_000);
      release();
      return new WeakRef(signal);
    };
    expect(await isGarbage(use())).toBe(true);
    expect(source.signal.aborted).toBe(false);
  });
});
