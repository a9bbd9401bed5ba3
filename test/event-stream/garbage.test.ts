import { describe, expect, it } from 'vitest';
import { done, EventStream, type Position, type Subscription } from '../../src/event-stream/index.js';
import { collectGarbage, isGarbage } from '../garbage-collector.js';
import { countedSignal, microtasks, readAll } from './readers.js';

/** Publishes an event that can be watched, and enough others that its block is not the stream's newest. */
function publishWatched(stream: EventStream<object>, bufferSize: number): WeakRef<object> {
  const event = new WeakRef({ watched: true });
  stream.publish(event.deref() as object);
  for (let count = 0; count < bufferSize; count++) stream.publish({});
  return event;
}

describe('memory', () => {
  it('keeps an event while a reader has not read it, and no longer', async () => {
    const stream = new EventStream<object>({ bufferSize: 4 });
    const reader = stream.subscribe();
    const event = publishWatched(stream, 4);
    expect(await isGarbage(event)).toBe(false);
    for (let count = 0; count < 5; count++) await reader.next();
    expect(await isGarbage(event)).toBe(true);
    expect(reader.lag).toBe(0);
  });

  it('keeps an event for a position', async () => {
    const stream = new EventStream<object>({ bufferSize: 4 });
    let position: Position<object> | undefined = stream.position();
    const event = publishWatched(stream, 4);
    expect(await isGarbage(event)).toBe(false);
    expect(position?.isReady).toBe(true);
    position = undefined;
    expect(await isGarbage(event)).toBe(true);
  });

  it('keeps nothing when nobody reads', async () => {
    const stream = new EventStream<object>({ bufferSize: 4 });
    const event = publishWatched(stream, 4);
    expect(await isGarbage(event)).toBe(true);
    expect(stream.closed).toBe(false);
  });

  it('keeps nothing of a block that was ended once it is read, also when nothing comes after it', async () => {
    const stream = new EventStream<object>();
    void stream.subscribe().consume(() => {});
    const sleeper = stream.subscribe();
    const event = new WeakRef({ watched: true });
    stream.publish(event.deref() as object);
    stream.endBlock();
    expect(await isGarbage(event)).toBe(false);
    expect(await sleeper.next()).toMatchObject({ done: false });
    void sleeper.next();
    expect(await isGarbage(event)).toBe(true);
    expect(stream.count).toBe(1);
  });

  it('keeps nothing for a consumer that keeps up', async () => {
    const stream = new EventStream<object>({ bufferSize: 4 });
    void stream.subscribe().consume(() => {});
    const event = publishWatched(stream, 4);
    expect(await isGarbage(event)).toBe(true);
    expect(stream.closed).toBe(false);
  });

  it.each<[string, (reader: Subscription<object>) => Promise<unknown>]>([
    ['returned', (reader) => reader.return()],
    ['disposed of', (reader) => reader[Symbol.asyncDispose]()],
    [
      'left by break',
      async (reader) => {
        for await (const _ of reader) break;
      },
    ],
    ['cancelled as a ReadableStream', (reader) => reader.toReadableStream().cancel()],
  ])('keeps nothing for a subscription that was %s, even while it is held', async (_, leave) => {
    const stream = new EventStream<object>({ bufferSize: 4 });
    const reader = stream.subscribe();
    stream.publish({});
    await leave(reader);
    const event = publishWatched(stream, 4);
    expect(await isGarbage(event)).toBe(true);
    expect(reader.isReady).toBe(false);
  });

  it('keeps nothing for a subscription whose signal aborted, even while it is held', async () => {
    const stream = new EventStream<object>({ bufferSize: 4 });
    const controller = new AbortController();
    const reader = stream.subscribe({ signal: controller.signal });
    const before = publishWatched(stream, 4);
    controller.abort();
    const after = publishWatched(stream, 4);
    expect(await isGarbage(before)).toBe(true);
    expect(await isGarbage(after)).toBe(true);
    expect(reader.isReady).toBe(false);
  });

  it('keeps nothing for a subscription that nobody refers to any more', async () => {
    const stream = new EventStream<object>({ bufferSize: 4 });
    const abandoned = new WeakRef(stream.subscribe());
    const event = publishWatched(stream, 4);
    expect(await isGarbage(abandoned)).toBe(true);
    expect(await isGarbage(event)).toBe(true);
    expect(stream.closed).toBe(false);
  });

  it('keeps nothing for an abandoned subscription whose signal lives on', async () => {
    const stream = new EventStream<object>({ bufferSize: 4 });
    const { signal, listeners } = countedSignal();
    const abandoned = new WeakRef(stream.subscribe({ signal }));
    const event = publishWatched(stream, 4);
    expect(listeners()).toBe(1);
    expect(await isGarbage(abandoned)).toBe(true);
    expect(await isGarbage(event)).toBe(true);
    // The finalizer runs in a task of its own.
    await expect.poll(listeners).toBe(0);
  });

  it.each<[string, (reader: Subscription<object>) => Promise<unknown>]>([
    ['next', (reader) => reader.next()],
    ['consume', (reader) => reader.consume(() => {})],
    ['for await', (reader) => readAll(reader)],
  ])('keeps a reader that waits in %s for its signal, when nothing else refers to its stream', async (_, wait) => {
    const controller = new AbortController();
    const outcome = wait(new EventStream<object>().subscribe({ signal: controller.signal })).catch((error) => error);
    await collectGarbage();
    controller.abort('enough');
    expect(await outcome).toBe('enough');
  });

  it('keeps a reader for its signal no longer than it waits', async () => {
    const { controller, signal, listeners } = countedSignal();
    const stopWaiting = async () => {
      const [answered, gaveUp, consumed] = [1, 2, 3].map(() => new EventStream<object>());
      const readers = [answered, gaveUp, consumed].map((stream) => stream?.subscribe({ signal }));
      const next = readers[0]?.next();
      answered?.publish({});
      await next;
      const own = new AbortController();
      const abandoned = readers[1]?.next({ signal: own.signal });
      own.abort('own');
      await expect(abandoned).rejects.toBe('own');
      const consuming = readers[2]?.consume(() => done);
      consumed?.publish({});
      await consuming;
      return readers.map((reader) => new WeakRef(reader as object));
    };
    for (const reader of await stopWaiting()) expect(await isGarbage(reader)).toBe(true);
    await expect.poll(listeners).toBe(0);
    expect(controller.signal.aborted).toBe(false);
  });

  it('keeps nothing for an abandoned reader that waited when its signal aborted', async () => {
    const stream = new EventStream<object>({ bufferSize: 4 });
    const controller = new AbortController();
    const abandon = () => {
      const reader = stream.subscribe();
      reader.consume(() => {}, { signal: controller.signal }).catch(() => {});
      return new WeakRef(reader);
    };
    const abandoned = abandon();
    await microtasks();
    controller.abort();
    expect(await isGarbage(abandoned)).toBe(true);
    expect(stream.closed).toBe(false);
  });

  it('keeps nothing for a reader that gave up waiting, while nobody publishes', async () => {
    const stream = new EventStream<object>();
    const controller = new AbortController();
    const giveUp = () => {
      const reader = stream.subscribe();
      reader.next({ signal: controller.signal }).catch(() => {});
      controller.abort();
      return new WeakRef(reader);
    };
    expect(await isGarbage(giveUp())).toBe(true);
    expect(stream.closed).toBe(false);
  });

  it('does not grow while positions are asked again and again whether they are ready', async () => {
    const stream = new EventStream<object>();
    const position = stream.position();
    const { ready } = position;
    for (let times = 0; times < 1000; times++) expect(position.ready).toBe(ready);
  });
});

describe('memory of a stream with a bound', () => {
  it('loses what fell out of it under a reader that sleeps', async () => {
    const stream = new EventStream<object>({ bufferSize: 4, maxLag: 8 });
    const sleeper = stream.subscribe();
    const position = stream.position();
    const old = publishWatched(stream, 4);
    const recent = publishWatched(stream, 7);
    expect(await isGarbage(old)).toBe(true);
    expect(await isGarbage(recent)).toBe(false);
    expect(sleeper.lag).toBe(13);
    expect(position.isReady).toBe(true);
    await expect(sleeper.next()).rejects.toMatchObject({ details: { missed: 5 } });
    expect((await sleeper.next()).value).toEqual({ watched: true });
  });

  it('chooses blocks no larger than the bound', async () => {
    const stream = new EventStream<object>({ maxLag: 4 });
    const sleeper = stream.subscribe();
    const event = publishWatched(stream, 2 * 4);
    expect(await isGarbage(event)).toBe(true);
    expect(sleeper.isReady).toBe(true);
  });

  it('holds no more blocks than the bound needs, however long readers sleep', async () => {
    const stream = new EventStream<{ value: number }>({ bufferSize: 1, maxLag: 4 });
    const sleepers = [stream.subscribe()];
    const events: WeakRef<object>[] = [];
    for (let value = 0; value < 200; value++) {
      const event = { value };
      events.push(new WeakRef(event));
      stream.publish(event);
      if (value % 50 === 0) sleepers.push(stream.subscribe());
      if (value % 20 === 0) await microtasks();
    }
    expect(await isGarbage(events[190] as WeakRef<object>)).toBe(true);
    expect(events.filter((event) => event.deref() !== undefined).length).toBeLessThanOrEqual(4 + 1);
    for (const sleeper of sleepers) {
      await expect(sleeper.next()).rejects.toMatchObject({ code: 'EVENT_STREAM_LAGGED' });
      expect((await sleeper.next()).value).toEqual({ value: 196 });
    }
  });

  it('keeps nothing when all have read it, although it is within the bound', async () => {
    const stream = new EventStream<object>({ bufferSize: 4, maxLag: 1000 });
    void stream.subscribe().consume(() => {});
    const event = publishWatched(stream, 4);
    expect(await isGarbage(event)).toBe(true);
    expect(stream.closed).toBe(false);
  });
});
