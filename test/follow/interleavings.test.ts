import { Buffer } from 'node:buffer';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createFollowEngine, type Format, unfinishedCharacter } from '../../src/follow/index.js';
import { createMemoryStore, type Store } from '../../src/log/index.js';
import { CollectingSink } from './collecting-sink.js';
import { ScriptedStore } from './scripted-store.js';

const raw: Format = { name: 'raw', encode: (data) => data };
const characters: Format = { name: 'characters', unfinished: unfinishedCharacter, encode: (data) => data };
/** Shows where each piece ends, so that a wrong offset is seen as well as a wrong byte. */
const numbered: Format = {
  name: 'numbered',
  encode: (data, after) => Buffer.concat([Buffer.from(`${after.offset - data.length}+${data.length}:`), data]),
};

/** What may happen, in any order and number. */
type Step =
  | { readonly kind: 'append'; readonly bytes: number }
  | { readonly kind: 'join'; readonly at: number; readonly fullEvery: number; readonly format: number }
  | { readonly kind: 'drain'; readonly follower: number }
  | { readonly kind: 'turn' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('append' as const), bytes: fc.integer({ min: 1, max: 60 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('join' as const),
      at: fc.nat(100),
      fullEvery: fc.integer({ min: 1, max: 6 }),
      format: fc.nat(2),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('drain' as const), follower: fc.nat(50) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('turn' as const) }) },
);

/** A store whose reads take as long as the numbers say, in turns of the event loop. */
function slowReads(store: Store, delays: readonly number[]): Store {
  let reads = 0;
  return new Proxy(store, {
    get(target, name) {
      if (name === 'read') {
        return async (...args: Parameters<Store['read']>) => {
          const result = await target.read(...args);
          for (let i = delays[reads++ % delays.length] ?? 0; i > 0; i--) await turn();
          return result;
        };
      }
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function dataOf(from: number, length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => ((from + i) * 31) % 251));
}

describe('followers that join at any moment', () => {
  it('each get exactly the bytes from their offset on, whatever the interleaving', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 80, size: 'max' }),
        fc.array(fc.nat(3), { minLength: 1, maxLength: 8, size: 'max' }),
        fc.record({ windowBytes: fc.integer({ min: 1, max: 300 }), chunkBytesMax: fc.integer({ min: 8, max: 100 }) }),
        async (steps, delays, limits) => {
          const store = createMemoryStore();
          const engine = createFollowEngine({
            store: slowReads(store, delays),
            ...limits,
            readBytesMin: 32,
            readBytesMax: 128,
          });
          await store.create('s', { contentType: 'application/octet-stream' });
          let tail = 0;
          const appends: Promise<unknown>[] = [];
          const followers: { sink: CollectingSink; offset: number; format: Format; joined: Promise<void> }[] = [];
          for (const each of steps) {
            if (each.kind === 'append') {
              appends.push(store.append('s', { data: dataOf(tail, each.bytes) }));
              tail += each.bytes;
              if (each.bytes % 2 === 0) await appends.at(-1);
            } else if (each.kind === 'join') {
              const sink = new CollectingSink();
              sink.isFullAfter = () => sink.writes.length % each.fullEvery === 0;
              const format = [raw, characters, numbered][each.format] as Format;
              const follower = { sink, offset: 0, format, joined: Promise.resolve() };
              follower.joined = (async () => {
                const stream = await engine.open('s');
                follower.offset = Math.floor((stream.info.tail * each.at) / 100);
                stream.follow({ offset: follower.offset, format, sink });
              })();
              followers.push(follower);
            } else if (each.kind === 'drain') {
              followers[each.follower % Math.max(1, followers.length)]?.sink.drain();
            } else await turn();
          }
          await Promise.all([...appends, ...followers.map(({ joined }) => joined)]);
          await store.append('s', { close: true });
          for (const { sink, offset, format } of followers) {
            let ended = false;
            void sink.ended.then(() => {
              ended = true;
            });
            for (let turns = 0; !ended && turns < 10_000; turns++) {
              sink.drain();
              await turn();
            }
            expect(await Promise.race([sink.ended, turn('not ended')])).toEqual({ kind: 'closed' });
            expect(format === numbered ? fromNumbered(sink.writes, offset) : sink.all).toEqual(
              dataOf(offset, tail - offset),
            );
          }
          expect(engine.usage).toEqual({ streams: 0, followers: 0, catchUpBytes: 0 });
          engine.close();
          await store.close();
        },
      ),
      { numRuns: 400, verbose: 1 },
    );
  });
});

/** The smallest steps there are: between two of them run none, one or two rounds of what waits in the microtask queue. */
const instant = fc.record({
  what: fc.constantFrom('commit', 'commit', 'announce', 'join', 'drain', 'read'),
  which: fc.nat(20),
  ticks: fc.nat(2),
});

describe('followers of a store in which everything happens at the worst moment', () => {
  it('each get exactly the bytes from their offset on', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(instant, { minLength: 1, maxLength: 60, size: 'max' }),
        fc.integer({ min: 1, max: 60 }),
        async (instants, windowBytes) => {
          const scripted = new ScriptedStore();
          const engine = createFollowEngine({
            store: scripted.store,
            windowBytes,
            chunkBytesMax: 16,
            readBytesMin: 8,
            readBytesMax: 24,
          });
          const keeper = await engine.open('s');
          const followers: { sink: CollectingSink; offset: number }[] = [];
          for (const { what, which, ticks } of instants) {
            if (what === 'commit') scripted.commit(dataOf(scripted.data.length, which + 1));
            else if (what === 'announce') scripted.announce();
            else if (what === 'read') scripted.letRead();
            else if (what === 'drain') followers[which % Math.max(1, followers.length)]?.sink.drain();
            else {
              const sink = new CollectingSink();
              sink.isFullAfter = () => which % 3 === 0 || sink.writes.length % 2 === which % 2;
              void engine.open('s').then((stream) => {
                const offset = Math.floor((stream.info.tail * which) / 20);
                followers.push({ sink, offset });
                stream.follow({ offset, format: numbered, sink });
              });
            }
            for (let i = 0; i < ticks; i++) await Promise.resolve();
          }
          await turn();
          scripted.commit(Buffer.alloc(0), true);
          scripted.announce();
          const ended = followers.map(({ sink }) => sink.ended);
          for (let turns = 0; engine.usage.followers > 0 && turns < 10_000; turns++) {
            scripted.letRead(true);
            for (const { sink } of followers) sink.drain();
            await turn();
          }
          expect(await Promise.all(ended)).toEqual(followers.map(() => ({ kind: 'closed' })));
          for (const { sink, offset } of followers) {
            expect(fromNumbered(sink.writes, offset)).toEqual(dataOf(offset, scripted.data.length - offset));
          }
          keeper.release();
          expect(engine.usage).toEqual({ streams: 0, followers: 0, catchUpBytes: 0 });
        },
      ),
      { numRuns: 1000, verbose: 1 },
    );
  });
});

/** Checks that each piece says truly where it lies, and gives the bytes of all. */
function fromNumbered(writes: readonly Buffer[], offset: number): Buffer {
  let at = offset;
  const pieces: Buffer[] = [];
  for (const write of writes) {
    const colon = write.indexOf(':');
    const [from, length] = write.subarray(0, colon).toString().split('+').map(Number) as [number, number];
    expect(from).toBe(at);
    expect(write.length - colon - 1).toBe(length);
    at += length;
    pieces.push(write.subarray(colon + 1));
  }
  return Buffer.concat(pieces);
}
