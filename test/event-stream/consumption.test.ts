import { describe, expect, it } from 'vitest';
import { done, EventStream } from '../../src/event-stream/index.js';
import { countedSignal, isPending, microtasks, numbers, publishNumbers, readAll } from './readers.js';

/** A promise and the way to settle it. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe('consume', () => {
  it('resolves when the stream is closed and drained', async () => {
    const stream = new EventStream<number>({ bufferSize: 2 });
    const reader = stream.subscribe();
    publishNumbers(stream, 3);
    const seen: number[] = [];
    const consumed = reader.consume((value) => seen.push(value));
    expect(seen).toEqual([0, 1, 2]);
    publishNumbers(stream, 2, 3);
    stream.close();
    await consumed;
    expect(seen).toEqual(numbers(5));
    expect(await reader.next()).toEqual({ done: true, value: undefined });
  });

  it.each([
    ['done', () => done],
    ['a promise of done', async () => done],
  ])('stops at %s, and the reader may go on after that event', async (_, answer) => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    publishNumbers(stream, 4);
    const seen: number[] = [];
    await reader.consume((value) => {
      seen.push(value);
      return value === 1 ? answer() : undefined;
    });
    expect(seen).toEqual([0, 1]);
    await reader.consume((value) => (value === 2 ? answer() : undefined));
    expect(await reader.next()).toEqual({ done: false, value: 3 });
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('broken');
      },
    ],
    [
      'rejects',
      async () => {
        throw new Error('broken');
      },
    ],
  ])('rejects when the consumer %s, whether called at once or later', async (_, consumer) => {
    const stream = new EventStream<number>();
    const early = stream.subscribe();
    const late = stream.subscribe().consume(consumer);
    publishNumbers(stream, 2);
    await expect(early.consume(consumer)).rejects.toThrow('broken');
    await expect(late).rejects.toThrow('broken');
    expect(await early.next()).toEqual({ done: false, value: 1 });
  });

  it('keeps one failing consumer from disturbing the others', async () => {
    const stream = new EventStream<number>();
    const seen: number[] = [];
    const failing = stream.subscribe().consume(() => {
      throw new Error('mine alone');
    });
    void stream.subscribe().consume((value) => seen.push(value));
    publishNumbers(stream, 3);
    await expect(failing).rejects.toThrow('mine alone');
    expect(seen).toEqual([0, 1, 2]);
  });

  it('awaits a promise before the next call, while other readers go on', async () => {
    const stream = new EventStream<number>();
    const gates = [gate(), gate()];
    const calls: string[] = [];
    const slow = stream.subscribe().consume(async (value) => {
      calls.push(`slow ${value}`);
      await gates[value]?.opened;
    });
    void stream.subscribe().consume((value) => calls.push(`fast ${value}`));
    publishNumbers(stream, 2);
    stream.close();
    await microtasks();
    expect(calls).toEqual(['slow 0', 'fast 0', 'fast 1']);
    gates[0]?.open();
    await microtasks();
    expect(calls.at(-1)).toBe('slow 1');
    expect(await isPending(slow)).toBe(true);
    gates[1]?.open();
    await slow;
  });

  it('awaits anything with a then, and ignores other answers', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    publishNumbers(stream, 4);
    class Deferred {
      // biome-ignore lint/suspicious/noThenProperty: a promise of somebody else's make is what this is about
      then(resolve: (value: unknown) => void) {
        resolve(done);
      }
    }
    const answers = [0, 'text', new Deferred(), null];
    const seen: number[] = [];
    await reader.consume((value) => {
      seen.push(value);
      return answers[value];
    });
    expect(seen).toEqual([0, 1, 2]);
  });

  it('rejects with the reason of a signal that aborts while it waits, and the reader may go on', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    const { controller, signal, listeners } = countedSignal();
    const seen: number[] = [];
    const consumed = reader.consume((value) => seen.push(value), { signal });
    stream.publish(0);
    await microtasks();
    controller.abort(new Error('stop'));
    stream.publish(1);
    await expect(consumed).rejects.toThrow('stop');
    expect(seen).toEqual([0]);
    expect(listeners()).toBe(0);
    expect(await reader.next()).toEqual({ done: false, value: 1 });
  });

  it('does not call the consumer when the signal was aborted before', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    stream.publish(0);
    const consumed = reader.consume(() => expect.unreachable(), { signal: AbortSignal.abort(new Error('before')) });
    await expect(consumed).rejects.toThrow('before');
  });

  it('stops after the call in which the signal aborts', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    publishNumbers(stream, 5);
    const controller = new AbortController();
    const seen: number[] = [];
    const consumed = reader.consume(
      (value) => {
        seen.push(value);
        if (value === 2) controller.abort(new Error('from within'));
      },
      { signal: controller.signal },
    );
    await expect(consumed).rejects.toThrow('from within');
    expect(seen).toEqual([0, 1, 2]);
  });

  it("settles on abort only when the consumer's promise has settled", async () => {
    const stream = new EventStream<number>();
    const { opened, open } = gate();
    const controller = new AbortController();
    const seen: number[] = [];
    const consumed = stream.subscribe().consume(
      (value) => {
        seen.push(value);
        return opened;
      },
      { signal: controller.signal },
    );
    publishNumbers(stream, 2);
    await microtasks();
    controller.abort(new Error('stop'));
    expect(await isPending(consumed)).toBe(true);
    open();
    await expect(consumed).rejects.toThrow('stop');
    expect(seen).toEqual([0]);
  });

  it("lets the consumer's own outcome come before an abort during its call", async () => {
    const stream = new EventStream<number>();
    publishNumbers(stream, 1);
    const { opened, open } = gate();
    const controller = new AbortController();
    const reader = stream.subscribe();
    stream.publish(1);
    const consumed = reader.consume(() => opened.then(() => done), { signal: controller.signal });
    controller.abort();
    open();
    await consumed;
  });

  it('ends without error when the subscription is returned, from outside or from within', async () => {
    const stream = new EventStream<number>();
    const outside = stream.subscribe();
    const consumed = outside.consume(() => expect.unreachable());
    await outside.return();
    await consumed;

    const within = stream.subscribe();
    publishNumbers(stream, 3);
    const seen: number[] = [];
    await within.consume((value) => {
      seen.push(value);
      if (value === 1) void within.return();
    });
    expect(seen).toEqual([0, 1]);
  });

  it("ends with the reason of the subscription's signal", async () => {
    const stream = new EventStream<number>();
    const controller = new AbortController();
    const consumed = stream.subscribe({ signal: controller.signal }).consume(() => {});
    stream.publish(1);
    await microtasks();
    controller.abort(new Error('gone'));
    await expect(consumed).rejects.toThrow('gone');
  });

  it("takes the subscription's listener off its signal at the end of the stream", async () => {
    const stream = new EventStream<number>();
    const { signal, listeners } = countedSignal();
    const consumed = stream.subscribe({ signal }).consume(() => {});
    expect(listeners()).toBe(1);
    stream.close();
    await consumed;
    expect(listeners()).toBe(0);
  });

  it('delivers what a consumer publishes to all, in one order', async () => {
    const stream = new EventStream<number>({ bufferSize: 2 });
    const first: number[] = [];
    const second: number[] = [];
    void stream.subscribe().consume((value) => {
      first.push(value);
      if (value < 10) stream.publish(value + 1);
    });
    void stream.subscribe().consume((value) => second.push(value));
    stream.publish(0);
    await microtasks();
    expect(first).toEqual(numbers(11));
    expect(second).toEqual(numbers(11));
  });

  it('delivers what is published during its first, synchronous calls', async () => {
    const stream = new EventStream<number>();
    const reader = stream.subscribe();
    stream.publish(0);
    const seen: number[] = [];
    void reader.consume((value) => {
      seen.push(value);
      if (value === 0) stream.publish(1);
    });
    stream.publish(2);
    await microtasks();
    expect(seen).toEqual([0, 1, 2]);
  });

  it('drains what is left when a consumer closes the stream', async () => {
    const stream = new EventStream<number>();
    const seen: number[] = [];
    const consumed = stream.subscribe().consume((value) => {
      seen.push(value);
      stream.close();
    });
    const other = readAll(stream.subscribe());
    publishNumbers(stream, 3);
    await consumed;
    expect(seen).toEqual([0, 1, 2]);
    expect(await other).toEqual([0, 1, 2]);
  });

  it('lets a consumer end another reader before that one is called', async () => {
    const stream = new EventStream<number>();
    const readers = numbers(100).map(() => stream.subscribe());
    const called: number[] = [];
    const consumed = readers.map((reader, index) =>
      reader.consume(() => {
        called.push(index);
        if (index === 0) for (const each of readers.slice(20)) void each.return();
      }),
    );
    stream.publish(1);
    await microtasks();
    expect(called).toEqual(numbers(20));
    stream.publish(2);
    await microtasks();
    expect(called).toEqual([...numbers(20), ...numbers(20)]);
    stream.close();
    await Promise.all(consumed);
  });

  it('sees only what comes later when it subscribes from within a call', async () => {
    const stream = new EventStream<number>();
    const inner: number[] = [];
    void stream.subscribe().consume((value) => {
      if (value === 0) void stream.subscribe().consume((later) => inner.push(later));
    });
    stream.publish(0);
    stream.publish(1);
    await microtasks();
    stream.publish(2);
    await microtasks();
    expect(inner).toEqual([2]);
  });

  it('lets its consumer take further events with next', async () => {
    const stream = new EventStream<string>();
    const reader = stream.subscribe();
    const pairs: string[] = [];
    const consumed = reader.consume(async (head) => {
      pairs.push(`${head}=${(await reader.next()).value}`);
    });
    for (const value of ['a', '1', 'b', '2', 'c']) stream.publish(value);
    stream.close();
    await consumed;
    expect(pairs).toEqual(['a=1', 'b=2', 'c=undefined']);
  });

  it('refuses a second consumer at a time', async () => {
    const reader = new EventStream<number>().subscribe();
    void reader.consume(() => {});
    await expect(reader.consume(() => {})).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('rejects where events were missed, and goes on when called again', async () => {
    const stream = new EventStream<number>({ maxLag: 3, bufferSize: 2 });
    const reader = stream.subscribe();
    const seen: number[] = [];
    const consumed = reader.consume((value) => seen.push(value));
    publishNumbers(stream, 10);
    await expect(consumed).rejects.toMatchObject({ code: 'EVENT_STREAM_LAGGED', details: { missed: 7 } });
    stream.close();
    await reader.consume((value) => seen.push(value));
    expect(seen).toEqual([7, 8, 9]);
  });
});
