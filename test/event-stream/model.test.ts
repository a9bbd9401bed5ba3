import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { done, EventStream, type Position, type Subscription } from '../../src/event-stream/index.js';
import { microtasks } from './readers.js';

/**
 * Random programs against a model that is nothing but an array of all events and, for each reader, the number of the
 * event that it must see next. On failure fast-check prints the seed and the shortest program.
 */

interface Reader {
  readonly subscription: Subscription<number>;
  /** The event that must come next. */
  at: number;
  /** Whether it left, or was told of the end of the stream: it must answer nothing but that any more. */
  ended: boolean;
  /** What its calls answered, checked. */
  readonly checks: Promise<void>[];
  /** How many calls are not answered yet. */
  open: number;
  consuming: boolean;
}

type Step =
  | { kind: 'publish'; count: number }
  | { kind: 'subscribe' | 'turn' | 'microtask' | 'close' | 'keep' | 'endBlock' }
  | { kind: 'next' | 'abortedNext' | 'consume' | 'return' | 'position'; reader: number; count: number }
  | { kind: 'replay'; position: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('publish' as const), count: fc.integer({ min: 1, max: 9 }) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'subscribe' as const,
        'turn' as const,
        'microtask' as const,
        'keep' as const,
        'endBlock' as const,
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('close' as const) }) },
  {
    weight: 16,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'next' as const,
        'next' as const,
        'abortedNext' as const,
        'consume' as const,
        'return' as const,
        'position' as const,
      ),
      reader: fc.nat(),
      count: fc.integer({ min: 1, max: 5 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('replay' as const), position: fc.nat() }) },
);

const ABANDONED = new Error('abandoned');

class Model {
  readonly stream: EventStream<number>;
  readonly maxLag: number;
  published = 0;
  closed = false;
  readonly readers: Reader[] = [];
  readonly positions: { position: Position<number>; at: number }[] = [];

  constructor(bufferSize: number, maxLag: number | undefined) {
    this.stream = new EventStream({ bufferSize, maxLag });
    this.maxLag = maxLag ?? Number.POSITIVE_INFINITY;
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const each of steps) {
      // Only some steps let others run: most of what can go wrong does so within one turn.
      if (each.kind === 'turn') await microtasks();
      else if (each.kind === 'microtask') await Promise.resolve();
      else if (each.kind === 'replay') await this.#replay(each.position);
      else this.#step(each);
    }
    if (!this.closed) this.#close();
    await microtasks();
    await Promise.all(this.readers.flatMap((reader) => reader.checks));
    for (const reader of this.readers) {
      if (!reader.ended) await this.#drain(reader.subscription, reader.at);
      expect(await reader.subscription.next()).toEqual({ done: true, value: undefined });
    }
  }

  #step(each: Step): void {
    switch (each.kind) {
      case 'publish':
        if (this.closed) {
          expect(() => this.stream.publish(0)).toThrow();
          return;
        }
        for (let count = 0; count < each.count; count++) this.stream.publish(this.published++);
        return;
      case 'close':
        this.#close();
        return;
      case 'subscribe':
        this.readers.push({
          subscription: this.stream.subscribe(),
          at: this.published,
          ended: false,
          checks: [],
          open: 0,
          consuming: false,
        });
        return;
      case 'endBlock':
        this.stream.endBlock();
        break;
      case 'keep':
        this.positions.push({ position: this.stream.position(), at: this.published });
        return;
      case 'next':
      case 'abortedNext':
      case 'consume':
      case 'return':
      case 'position': {
        const reader = this.readers[each.reader % this.readers.length];
        if (reader === undefined) return;
        if (reader.ended) this.#readEnded(reader, each.kind);
        else this.#read(reader, each.kind, each.count);
      }
    }
  }

  async #replay(index: number): Promise<void> {
    const kept = this.positions[index % this.positions.length];
    if (kept === undefined) return;
    expect(kept.position.isReady).toBe(this.closed || kept.at < this.published);
    if (this.closed) await this.#drain(kept.position.subscribe(), kept.at);
  }

  #read(reader: Reader, kind: 'next' | 'abortedNext' | 'consume' | 'return' | 'position', count: number): void {
    const { subscription } = reader;
    switch (kind) {
      case 'next':
        if (reader.consuming) return;
        for (let times = 0; times < count; times++) this.#check(reader, this.#expectNext(reader, subscription.next()));
        return;
      case 'abortedNext': {
        // Aborted in the same turn: it gets the next event if that was there at once, else nothing is read.
        if (reader.consuming) return;
        const controller = new AbortController();
        const result = subscription.next({ signal: controller.signal });
        this.#check(reader, this.#expectNext(reader, result));
        controller.abort(ABANDONED);
        return;
      }
      case 'consume': {
        if (reader.open > 0) return;
        reader.consuming = true;
        let left = count;
        let leftOpen = false;
        const consumed = subscription.consume((value) => {
          expect(value).toBe(reader.at++);
          if (--left > 0) return undefined;
          leftOpen = !this.closed;
          return done;
        });
        this.#check(
          reader,
          consumed
            .then(
              // Whoever consumes to the end of a closed stream has come to the end of the subscription too.
              () => {
                reader.ended ||= this.closed && reader.at === this.published && !leftOpen;
              },
              (error: unknown) => this.#skip(reader, error),
            )
            .finally(() => {
              reader.consuming = false;
            }),
        );
        return;
      }
      case 'return':
        reader.ended = true;
        void subscription.return();
        return;
      case 'position':
        if (reader.open > 0) return;
        expect(subscription.lag).toBe(this.published - reader.at);
        this.positions.push({ position: subscription.position(), at: reader.at });
    }
  }

  #readEnded({ subscription, checks }: Reader, kind: 'next' | 'abortedNext' | 'consume' | 'return' | 'position'): void {
    const end = { done: true, value: undefined };
    if (kind === 'position') expect(() => subscription.position()).toThrow(/has ended/);
    else if (kind === 'consume') checks.push(expect(subscription.consume(unexpected)).resolves.toBeUndefined());
    else checks.push(expect(kind === 'return' ? subscription.return() : subscription.next()).resolves.toEqual(end));
  }

  async #expectNext(reader: Reader, result: Promise<IteratorResult<number, undefined>>): Promise<void> {
    try {
      const { done: end, value } = await result;
      if (end) {
        expect(reader.ended || (this.closed && reader.at === this.published)).toBe(true);
        reader.ended = true;
      } else {
        expect(value).toBe(reader.at++);
      }
    } catch (error) {
      if (error !== ABANDONED) this.#skip(reader, error);
    }
  }

  #check(reader: Reader, check: Promise<void>): void {
    reader.open++;
    reader.checks.push(
      check.finally(() => {
        reader.open--;
      }),
    );
  }

  /** Only being too far behind is a reason to miss events, and only as many as that. */
  #skip(reader: { at: number }, error: unknown): void {
    expect(error).toMatchObject({ code: 'EVENT_STREAM_LAGGED' });
    const { missed } = (error as { details: { missed: number } }).details;
    expect(missed).toBeGreaterThan(0);
    reader.at += missed;
    expect(this.published - reader.at).toBeGreaterThanOrEqual(this.maxLag);
  }

  async #drain(subscription: Subscription<number>, from: number): Promise<void> {
    let at = from;
    if (this.published - from > this.maxLag) {
      at = this.published - this.maxLag;
      await expect(subscription.next()).rejects.toMatchObject({ details: { missed: at - from } });
    }
    while (at < this.published) expect(await subscription.next()).toEqual({ done: false, value: at++ });
    expect(await subscription.next()).toEqual({ done: true, value: undefined });
  }

  #close(): void {
    this.closed = true;
    this.stream.close();
  }
}

function unexpected(value: number): never {
  throw new Error(`${value} came after the end`);
}

describe('any program of publishing, reading, aborting and leaving', () => {
  it('behaves as an array with one index per reader', { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(1, 2, 3, 8, 1024),
        fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
        // Long ones: what `size` says by default is ten steps at most, half of them five.
        fc.array(step, { maxLength: 60, size: 'max' }),
        (bufferSize, maxLag, steps) => new Model(bufferSize, maxLag).run(steps),
      ),
      { numRuns: 1000 },
    );
  });
});
