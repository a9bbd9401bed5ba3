import { expect, it } from 'vitest';
import { MemoryBroker, memory } from '../../src/hub/drivers/memory.js';
import { driveBroker } from './drive.js';

const start = async () => ({ broker: new MemoryBroker({ historyMax: 100 }), stop: async () => {} });

await driveBroker('the memory driver', start, ({ broker }) => ({ driver: () => memory({ broker }) }));

const MIB = 1024 * 1024;

/** How many messages after this id are kept; undefined: not all. */
function kept(broker: MemoryBroker, channel: string, after: string | undefined): number | undefined {
  try {
    return broker.replay(channel, after as string).length;
  } catch (error) {
    expect(error).toMatchObject({ code: 'HUB_HISTORY_GONE' });
    return undefined;
  }
}

it.each([
  ['bytes', () => new Uint8Array(MIB)],
  ['text', () => 'x'.repeat(MIB)],
  ['other values', () => ({ text: ['x'.repeat(MIB)] })],
])('the memory driver keeps so many messages only as fit: %s', (_, make) => {
  const broker = new MemoryBroker({ historyMax: 1_000, historyChannelBytesMax: 3.5 * MIB });
  const ids: (string | undefined)[] = [broker.subscribe('a', { message() {}, gap() {} }).position];
  broker.subscribe('a', { message: (_channel, _message, id) => ids.push(id), gap() {} });
  for (let at = 0; at < 10; at++) broker.publish('a', make());
  expect(ids.map((id) => kept(broker, 'a', id)).slice(6)).toEqual([undefined, 3, 2, 1, 0]);
  expect(ids.slice(0, 6).every((id) => kept(broker, 'a', id) === undefined)).toBe(true);
  // One that does not fit by itself is not kept, and those after it are.
  broker.publish('a', new Uint8Array(4 * MIB));
  broker.publish('a', 'small');
  expect([kept(broker, 'a', ids[10]), kept(broker, 'a', ids[11]), kept(broker, 'a', ids[12])]).toEqual([
    undefined,
    1,
    0,
  ]);
});

it('the memory driver forgets the longest unused channel when all together have too much', () => {
  const broker = new MemoryBroker({ historyMax: 10, historyBytesMax: 3.5 * MIB });
  const starts = ['a', 'b', 'c', 'd'].map(
    (channel) => [channel, broker.subscribe(channel, { message() {}, gap() {} }).position] as const,
  );
  for (const [channel] of starts) broker.publish(channel, new Uint8Array(MIB));
  expect(starts.slice(1).map(([channel, start]) => kept(broker, channel, start))).toEqual([1, 1, 1]);
  expect(kept(broker, 'a', starts[0]?.[1])).toBeUndefined();
});

it('the memory driver publishes also what has no JSON', () => {
  const broker = new MemoryBroker({ historyMax: 10 });
  const loop: Record<string, unknown> = {};
  loop.self = loop;
  for (const value of [loop, 1n, undefined, null, () => {}]) broker.publish('odd', value);
});
