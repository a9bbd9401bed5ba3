import { setMaxListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { EventStream } from '../../src/event-stream/index.js';
import { countedSignal, isPending, microtasks, numbers, publishNumbers, readAll } from './readers.js';

const END = { done: true, value: undefined };

describe('next', () => {
  it('gives what is there, then waits for what comes', async () => {
    const stream = new EventStream<string>();
    const reader = stream.subscribe();
    stream.publish('a');
    expect(reader.isReady).toBe(true);
    expect(reader.lag).toBe(1);
    expect(await reader.next()).toEqual({ done: false, value: 'a' });
    expect(reader.isReady).toBe(false);
    const pending = reader.next();
    expect(await isPending(pending)).toBe(true);
    stream.publish('b');
    expect(await pending).toEqual({ done: false, value: 'b' });
  });

  it('answers concurrent calls in their order', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    const order: number[] = [];
    const results = [0, 1, 2, 3].map((call) => reader.next().finally(() => order.push(call)));
    stream.publish(0);
    await microtasks();
    publishNumbers(stream, 2, 1);
    // Made before the two are delivered: it must not overtake the calls that wait.
    results.push(reader.next());
    publishNumbers(stream, 2, 3);
    expect((await Promise.all(results)).map((result) => result.value)).toEqual(numbers(5));
    expect(order).toEqual([0, 1, 2, 3]);
  });

  it('ends all calls that wait when the stream closes, and every call after that', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    const results = [reader.next(), reader.next(), reader.next()];
    stream.publish(1);
    stream.close();
    expect(await Promise.all(results)).toEqual([{ done: false, value: 1 }, END, END]);
    expect(await reader.next()).toEqual(END);
  });

  it('rejects with the reason of an aborted signal even when an event is there, and reads nothing', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    stream.publish(1);
    await expect(reader.next({ signal: AbortSignal.abort(new Error('too late')) })).rejects.toThrow('too late');
    expect(await reader.next()).toEqual({ done: false, value: 1 });
  });

  it('gives up waiting on abort and leaves the other calls alone', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    const controller = new AbortController();
    const { signal } = controller;
    const first = reader.next();
    const second = reader.next({ signal });
    const third = reader.next();
    controller.abort(new Error('changed my mind'));
    await expect(second).rejects.toThrow('changed my mind');
    publishNumbers(stream, 2);
    expect([(await first).value, (await third).value]).toEqual([0, 1]);
  });

  it('delivers to nobody but the next caller what was published just before an abort', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    const controller = new AbortController();
    const pending = reader.next({ signal: controller.signal });
    stream.publish(1);
    controller.abort(new Error('aborted'));
    await expect(pending).rejects.toThrow('aborted');
    expect(await reader.next()).toEqual({ done: false, value: 1 });
  });

  it('takes its listener off the signal once it is answered', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    const { signal, listeners } = countedSignal();
    const pending = reader.next({ signal });
    expect(listeners()).toBe(1);
    stream.publish(1);
    await pending;
    expect(listeners()).toBe(0);
    const last = reader.next({ signal });
    stream.close();
    await last;
    expect(listeners()).toBe(0);
  });

  it('cancels thousands of waiting readers without disturbing the rest', async () => {
    const stream = new EventStream<number>();
    const controller = new AbortController();
    setMaxListeners(0, controller.signal);
    const kept: Promise<unknown>[] = [];
    const cancelled: Promise<unknown>[] = [];
    for (let index = 0; index < 20_000; index++) {
      if (index % 100 === 0) kept.push(stream.subscribe().next());
      else cancelled.push(stream.subscribe().next({ signal: controller.signal }));
    }
    controller.abort('off');
    expect((await Promise.allSettled(cancelled)).every((result) => result.status === 'rejected')).toBe(true);
    stream.publish(7);
    expect(await Promise.all(kept)).toEqual(kept.map(() => ({ done: false, value: 7 })));
  });
});

describe('iteration', () => {
  it('ends the subscription on break', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    publishNumbers(stream, 3);
    for await (const value of reader) if (value === 1) break;
    expect(await reader.next()).toEqual(END);
  });

  it('ends the subscription when its body throws', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    stream.publish(1);
    await expect(async () => {
      for await (const value of reader) throw new Error(`not ${value}`);
    }).rejects.toThrow('not 1');
    expect(await reader.next()).toEqual(END);
  });
});

describe('return', () => {
  it('ends the calls that wait', async () => {
    const reader = new EventStream<number>().subscribe();
    const pending = [reader.next(), reader.next()];
    expect(await reader.return()).toEqual(END);
    expect(await Promise.all(pending)).toEqual([END, END]);
  });

  it('ends the reader before the events that it has not read', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    publishNumbers(stream, 2);
    await reader.return();
    expect(reader.isReady).toBe(false);
    expect(reader.lag).toBe(0);
    expect(await readAll(reader)).toEqual([]);
    expect(() => reader.position()).toThrow(expect.objectContaining({ code: 'SUBSCRIPTION_ENDED' }));
  });

  it('is what asynchronous disposal does', async () => {
    const reader = new EventStream<number>().subscribe();
    const pending = reader.next();
    await reader[Symbol.asyncDispose]();
    expect(await pending).toEqual(END);
  });
});

describe("a subscription's signal", () => {
  it('rejects whoever waits, and every later call', async () => {
    const controller = new AbortController();
    const reader = new EventStream<number>().subscribe({ signal: controller.signal });
    const pending = reader.next();
    controller.abort(new Error('shut down'));
    await expect(pending).rejects.toThrow('shut down');
    await expect(reader.next()).rejects.toThrow('shut down');
    await expect(reader.consume(() => {})).rejects.toThrow('shut down');
    expect(await reader.return()).toEqual(END);
  });

  it('ends a loop whose body was running, although events are left', async () => {
    const stream = new EventStream<number>();
    const controller = new AbortController();
    publishNumbers(stream, 1);
    const reader = stream.subscribe({ signal: controller.signal });
    publishNumbers(stream, 5);
    const seen: number[] = [];
    await expect(async () => {
      for await (const value of reader) {
        seen.push(value);
        if (value === 2) controller.abort(new Error('enough'));
      }
    }).rejects.toThrow('enough');
    expect(seen).toEqual([0, 1, 2]);
  });

  it('rejects the first call when it was aborted before', async () => {
    const reader = new EventStream<number>().subscribe({ signal: AbortSignal.abort(new Error('never')) });
    await expect(reader.next()).rejects.toThrow('never');
  });

  it('changes nothing once the reader has come to the end', async () => {
    const stream = new EventStream<number>();
    const { controller, signal, listeners } = countedSignal();
    const reader = stream.subscribe({ signal });
    expect(listeners()).toBe(1);
    stream.close();
    expect(await reader.next()).toEqual(END);
    expect(listeners()).toBe(0);
    controller.abort();
    expect(await reader.next()).toEqual(END);
  });

  it('leaves nobody with an unhandled rejection when nobody waits', async () => {
    const controller = new AbortController();
    const reader = new EventStream<number>().subscribe({ signal: controller.signal });
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', note);
    try {
      controller.abort(new Error('quietly'));
      await microtasks();
      await microtasks();
      expect(unhandled).toEqual([]);
      expect(reader.isReady).toBe(false);
    } finally {
      process.off('unhandledRejection', note);
    }
  });
});

describe('a bound', () => {
  it('lets a reader be as far behind as it says', async () => {
    const stream = new EventStream<number>({ maxLag: 10, bufferSize: 4 });
    const reader = stream.subscribe();
    publishNumbers(stream, 10);
    stream.close();
    expect(await readAll(reader)).toEqual(numbers(10));
  });

  it.each([1, 3, 4, 5, 100])(
    'tells a reader what it missed and goes on with the oldest left (blocks of %i)',
    async (bufferSize) => {
      const stream = new EventStream<number>({ maxLag: 10, bufferSize });
      const reader = stream.subscribe();
      publishNumbers(stream, 37);
      await expect(reader.next()).rejects.toMatchObject({
        code: 'EVENT_STREAM_LAGGED',
        details: { missed: 27, maxLag: 10 },
      });
      expect(reader.lag).toBe(10);
      publishNumbers(stream, 1, 37);
      await expect(reader.next()).rejects.toMatchObject({ details: { missed: 1 } });
      stream.close();
      expect(await readAll(reader)).toEqual(numbers(10, 28));
    },
  );

  it.each([1, 2, 7])('holds at every distance from the tail (blocks of %i)', async (bufferSize) => {
    for (let lag = 0; lag < 30; lag++) {
      const stream = new EventStream<number>({ maxLag: 6, bufferSize });
      publishNumbers(stream, 5);
      const reader = stream.subscribe();
      publishNumbers(stream, lag, 5);
      stream.close();
      const missed = Math.max(0, lag - 6);
      if (missed > 0) await expect(reader.next()).rejects.toMatchObject({ details: { missed } });
      expect(await readAll(reader)).toEqual(numbers(lag - missed, 5 + missed));
    }
  });

  it('tells the first of several calls that wait, and serves the others', async () => {
    const stream = new EventStream<number>({ maxLag: 2 });
    const reader = stream.subscribe();
    const [first, second, third] = [reader.next(), reader.next(), reader.next()];
    publishNumbers(stream, 5);
    await expect(first).rejects.toMatchObject({ details: { missed: 3 } });
    expect([(await second).value, (await third).value]).toEqual([3, 4]);
  });

  it('spares readers that keep up, however long the stream is', async () => {
    const stream = new EventStream<number>({ maxLag: 2 });
    const all = readAll(stream.subscribe());
    for (let value = 0; value < 100; value++) {
      stream.publish(value);
      if (value % 2 === 1) await microtasks();
    }
    stream.close();
    expect(await all).toEqual(numbers(100));
  });
});
