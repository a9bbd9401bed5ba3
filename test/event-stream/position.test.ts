import { describe, expect, it } from 'vitest';
import { EventStream } from '../../src/event-stream/index.js';
import { isPending, numbers, publishNumbers, readAll } from './readers.js';

describe('a position', () => {
  it('gives the same events to everyone, as often as asked', async () => {
    const stream = new EventStream<number>({ bufferSize: 3 });
    publishNumbers(stream, 2);
    const position = stream.position();
    publishNumbers(stream, 5, 2);
    stream.close();
    for (let times = 0; times < 3; times++) {
      expect(await readAll(position.subscribe())).toEqual(numbers(5, 2));
      expect((await position.next())?.value).toBe(2);
    }
  });

  it('walks the list by next, up to the end', async () => {
    const stream = new EventStream<number>({ bufferSize: 2 });
    let position = stream.position();
    publishNumbers(stream, 5);
    stream.close();
    const values: number[] = [];
    for (let step = await position.next(); step !== undefined; step = await position.next()) {
      values.push(step.value);
      position = step.position;
    }
    expect(values).toEqual(numbers(5));
    expect(await position.next()).toBeUndefined();
  });

  it('can be iterated', async () => {
    const stream = new EventStream<number>();
    const position = stream.position();
    publishNumbers(stream, 3);
    stream.close();
    const values: number[] = [];
    for await (const value of position) values.push(value);
    expect(values).toEqual([0, 1, 2]);
  });

  it('is ready once its event is published', async () => {
    const stream = new EventStream<number>();
    const position = stream.position();
    const { ready } = position;
    const next = position.next();
    expect(position.isReady).toBe(false);
    expect(await isPending(ready)).toBe(true);
    stream.publish(1);
    expect(position.isReady).toBe(true);
    await ready;
    await position.ready;
    expect((await next)?.value).toBe(1);
    expect(await isPending(stream.position().ready)).toBe(true);
  });

  it('waits for its own event, whatever wake-ups are under way for older ones', async () => {
    const stream = new EventStream<string>();
    const reader = stream.subscribe();
    const older = stream.position().ready;
    const first = reader.next();
    stream.publish('a');
    // The readers of 'a' are about to be woken.
    const position = stream.position();
    const { ready } = position;
    const next = position.next();
    expect(ready).not.toBe(older);
    expect(await isPending(next)).toBe(true);
    expect(await isPending(ready)).toBe(true);
    await Promise.all([older, first]);
    stream.publish('b');
    await ready;
    expect((await next)?.value).toBe('b');
  });

  it('tells the end of a stream that is closed while a wake-up is under way', async () => {
    const stream = new EventStream<string>();
    const first = stream.subscribe().next();
    stream.publish('a');
    const next = stream.position().next();
    stream.close();
    expect(await next).toBeUndefined();
    expect((await first).value).toBe('a');
  });

  it('is ready, and empty, once the stream is closed before its event', async () => {
    const stream = new EventStream<number>();
    const position = stream.position();
    const { ready } = position;
    const next = position.next();
    stream.close();
    await ready;
    await position.ready;
    expect(position.isReady).toBe(true);
    expect(await next).toBeUndefined();
  });

  it('shares one promise among all that wait, so that asking often costs nothing', async () => {
    const stream = new EventStream<number>();
    const { ready } = stream.position();
    expect(stream.position().ready).toBe(ready);
    expect(stream.subscribe().position().ready).toBe(ready);
    stream.publish(1);
    await ready;
    expect(stream.position().ready).not.toBe(ready);
  });

  it('of a subscription is where that reader stands, and stays there', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    publishNumbers(stream, 4);
    await reader.next();
    const position = reader.position();
    await reader.next();
    stream.close();
    expect(await readAll(position.subscribe())).toEqual([1, 2, 3]);
    expect(await readAll(reader)).toEqual([2, 3]);
  });

  it('from within a consumer is the place after the event in hand', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    publishNumbers(stream, 3);
    stream.close();
    const after: number[][] = [];
    const replays: Promise<unknown>[] = [];
    await reader.consume(() => {
      replays.push(readAll(reader.position().subscribe()).then((values) => after.push(values)));
    });
    await Promise.all(replays);
    expect(after).toContainEqual([1, 2]);
    expect(after).toContainEqual([2]);
    expect(after).toContainEqual([]);
  });

  it('that fell out of the bound says so, and its readers go on with the oldest left', async () => {
    const stream = new EventStream<number>({ maxLag: 3, bufferSize: 2 });
    const position = stream.position();
    publishNumbers(stream, 10);
    stream.close();
    await expect(position.next()).rejects.toMatchObject({ code: 'EVENT_STREAM_LAGGED', details: { missed: 7 } });
    const reader = position.subscribe();
    await expect(reader.next()).rejects.toMatchObject({ details: { missed: 7 } });
    expect(await readAll(reader)).toEqual([7, 8, 9]);
  });
});
