import { describe, expect, it } from 'vitest';
import { DEFAULT_BUFFER_SIZE, EventStream } from '../../src/event-stream/index.js';
import { microtasks, numbers, publishNumbers, readAll } from './readers.js';

describe('an event stream', () => {
  it('shows every subscriber every event published after it subscribed, in order', async () => {
    const stream = new EventStream<number>({ bufferSize: 16 });
    const everything = stream.subscribe();
    publishNumbers(stream, 50);
    const secondHalf = stream.subscribe();
    publishNumbers(stream, 50, 50);
    const nothing = stream.subscribe();
    stream.close();
    const afterClose = stream.subscribe();

    expect(await readAll(everything)).toEqual(numbers(100));
    expect(await readAll(secondHalf)).toEqual(numbers(50, 50));
    expect(await readAll(nothing)).toEqual([]);
    expect(await readAll(afterClose)).toEqual([]);
  });

  it('shows the same to subscribers that read while it publishes', async () => {
    const stream = new EventStream<number>({ bufferSize: 16 });
    const everything = readAll(stream.subscribe());
    let secondHalf: Promise<number[]> | undefined;
    for (let value = 0; value < 100; value++) {
      if (value === 50) secondHalf = readAll(stream.subscribe());
      stream.publish(value);
      if (value % 7 === 0) await microtasks();
    }
    const nothing = readAll(stream.subscribe());
    stream.close();

    expect(await everything).toEqual(numbers(100));
    expect(await secondHalf).toEqual(numbers(50, 50));
    expect(await nothing).toEqual([]);
  });

  it.each([1, 2, 3, DEFAULT_BUFFER_SIZE])('loses nothing where blocks of %i meet', async (bufferSize) => {
    const stream = new EventStream<number>({ bufferSize });
    const count = 2 * bufferSize + 1;
    const behind = stream.subscribe();
    const abreast = readAll(stream.subscribe());
    for (let value = 0; value < count; value++) {
      stream.publish(value);
      await Promise.resolve();
    }
    stream.close();
    expect(await abreast).toEqual(numbers(count));
    expect(await readAll(behind)).toEqual(numbers(count));
  });

  it('hands over the same reference to all, and any value, undefined too', async () => {
    const stream = new EventStream<unknown>();
    const [one, other] = [stream.subscribe(), stream.subscribe()];
    const event = { some: 'object' };
    for (const value of [event, undefined, null, Number.NaN]) stream.publish(value);
    stream.close();
    const values = await readAll(one);
    expect(values).toEqual([event, undefined, null, Number.NaN]);
    expect(values[0]).toBe(event);
    expect((await readAll(other))[0]).toBe(event);
  });

  it('never calls a reader from within publish or close', async () => {
    const stream = new EventStream<number>();
    const seen: number[] = [];
    const consumed = stream.subscribe().consume((value) => void seen.push(value));
    stream.publish(1);
    stream.close();
    expect(seen).toEqual([]);
    await consumed;
    expect(seen).toEqual([1]);
  });

  it('wakes readers in the order in which they came', async () => {
    const stream = new EventStream<number>();
    const calls: string[] = [];
    for (const name of ['a', 'b', 'c']) void stream.subscribe().consume((value) => void calls.push(`${name}${value}`));
    stream.publish(1);
    await microtasks();
    stream.publish(2);
    stream.publish(3);
    await microtasks();
    expect(calls).toEqual(['a1', 'b1', 'c1', 'a2', 'a3', 'b2', 'b3', 'c2', 'c3']);
  });

  it('takes no events once it is closed, and may be closed again', () => {
    const stream = new EventStream<number>();
    expect(stream.closed).toBe(false);
    stream.close();
    stream.close();
    expect(stream.closed).toBe(true);
    expect(() => stream.publish(1)).toThrow(expect.objectContaining({ code: 'EVENT_STREAM_CLOSED' }));
  });

  it.each([
    { bufferSize: 0 },
    { bufferSize: 1.5 },
    { bufferSize: Number.NaN },
    { maxLag: 0 },
    { maxLag: -1 },
    { maxLag: Number.POSITIVE_INFINITY },
  ])('refuses %o', (options) => {
    expect(() => new EventStream(options)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
  });
});

describe('a stream as a ReadableStream', () => {
  it('gives all events and ends with the stream', async () => {
    const stream = new EventStream<number>();
    const readable = stream.toReadableStream();
    publishNumbers(stream, 3);
    queueMicrotask(() => {
      stream.publish(3);
      stream.close();
    });
    const values: number[] = [];
    for await (const value of readable) values.push(value);
    expect(values).toEqual(numbers(4));
  });

  it('leaves events in the list until they are asked for', async () => {
    const stream = new EventStream<number>();
    const subscription = stream.subscribe();
    const reader = subscription.toReadableStream().getReader();
    publishNumbers(stream, 3);
    await microtasks();
    expect(subscription.lag).toBe(3);
    expect(await reader.read()).toEqual({ done: false, value: 0 });
    await microtasks();
    expect(subscription.lag).toBe(2);
  });

  it('ends the subscription when it is cancelled, also while a read waits', async () => {
    const stream = new EventStream<number>();
    const subscription = stream.subscribe();
    const reader = subscription.toReadableStream().getReader();
    const pending = reader.read();
    await reader.cancel('enough');
    expect(await pending).toEqual({ done: true, value: undefined });
    stream.publish(1);
    expect(await subscription.next()).toEqual({ done: true, value: undefined });
  });

  it('fails with the reason of an aborted signal', async () => {
    const controller = new AbortController();
    const reader = new EventStream<number>().toReadableStream({ signal: controller.signal }).getReader();
    const pending = reader.read();
    controller.abort(new Error('no more'));
    await expect(pending).rejects.toThrow('no more');
  });

  it('fails with EVENT_STREAM_LAGGED where events were missed', async () => {
    const stream = new EventStream<number>({ maxLag: 2 });
    const reader = stream.toReadableStream().getReader();
    publishNumbers(stream, 3);
    await expect(reader.read()).rejects.toMatchObject({ code: 'EVENT_STREAM_LAGGED', details: { missed: 1 } });
  });

  it('can be piped through other streams', async () => {
    const stream = new EventStream<string>();
    const chunks: string[] = [];
    const piped = stream
      .toReadableStream()
      .pipeThrough(new TextEncoderStream())
      .pipeThrough(new TextDecoderStream())
      .pipeTo(new WritableStream({ write: (chunk) => void chunks.push(chunk) }));
    stream.publish('one');
    stream.publish('two');
    stream.close();
    await piped;
    expect(chunks.join(' ')).toBe('one two');
  });
});
