import { describe, expect, it } from 'vitest';
import { memory } from '../../src/hub/drivers/memory.js';
import { createHub, EncodedMessage, type Hub, type HubEvent, type HubSubscription } from '../../src/hub/index.js';
import { isGarbage } from '../garbage-collector.js';
import { FakeDriver } from './fake-driver.js';

const MIB = 1024 * 1024;
const bytesOf = (size: number) => new EncodedMessage(new Uint8Array(size), 'binary');

/** All that is ready: how many messages, and how many are told to be missing. */
async function drain(subscription: HubSubscription<HubEvent>) {
  const seen = { messages: 0, missed: 0, gaps: 0 };
  while (subscription.lag > 0) {
    const { value } = await subscription.next();
    if (value?.gap === undefined) seen.messages++;
    else {
      expect(value.gap.reason).toBe('lagged');
      seen.missed += value.gap.missed ?? Number.NaN;
      seen.gaps++;
    }
  }
  return seen;
}

describe('maxLagBytes', () => {
  const publishers: [string, (hub: Hub, driver: FakeDriver, size: number) => unknown, boolean][] = [
    ['bytes in memory', (hub, _, size) => hub.publish('a', new Uint8Array(size)), false],
    ['text in memory', (hub, _, size) => hub.publish('a', 'x'.repeat(size)), false],
    ['encoded messages in memory', (hub, _, size) => hub.publish('a', bytesOf(size)), false],
    ['messages of a broker', (_, driver, size) => driver.sinks.get('a')?.message('a', new Uint8Array(size)), true],
  ];
  it.each(publishers)('bounds a subscriber that does not read: %s', async (_, publish, isBroker) => {
    const driver = new FakeDriver();
    const hub = createHub(isBroker ? { driver, maxLagBytes: 8 * MIB } : { maxLagBytes: 8 * MIB });
    const subscription = hub.subscribe('a');
    const reader = hub.subscribe('a');
    await Promise.all([subscription.ready, reader.ready]);
    const published = 40;
    let read = 0;
    let peak = 0;
    for (let count = 0; count < published; count++) {
      publish(hub, driver, MIB);
      expect(await reader.next()).toMatchObject({ done: false });
      read++;
      peak = Math.max(peak, subscription.lagBytes);
    }
    expect(peak).toBeLessThanOrEqual(9.5 * MIB);
    expect(read).toBe(published);
    const { messages, missed, gaps } = await drain(subscription);
    expect(messages + missed).toBe(published);
    expect(gaps).toBe(1);
    expect(messages).toBeLessThanOrEqual(9);
    // And then it goes on.
    publish(hub, driver, 10);
    expect((await subscription.next()).value?.message).toBeDefined();
    await hub.close();
  });

  it('lets one message wait, however large it is', async () => {
    const hub = createHub({ maxLagBytes: 1000 });
    const subscription = hub.subscribe('a');
    await subscription.ready;
    for (let count = 0; count < 5; count++) {
      await hub.publish('a', bytesOf(MIB));
      expect(await drain(subscription)).toEqual({ messages: 1, missed: 0, gaps: 0 });
    }
    await hub.close();
  });

  it('counts many small messages', async () => {
    const hub = createHub({ maxLagBytes: 64 * 1024 });
    const subscription = hub.subscribe('a');
    await subscription.ready;
    let peak = 0;
    for (let count = 0; count < 10_000; count++) {
      await hub.publish('a', bytesOf(100));
      peak = Math.max(peak, subscription.lagBytes);
    }
    expect(peak).toBeGreaterThan(64 * 1024);
    expect(peak).toBeLessThanOrEqual(90 * 1024);
    const { messages, missed } = await drain(subscription);
    expect(messages + missed).toBe(10_000);
    // Each counts its 100 bytes and 512 more.
    expect(messages).toBeLessThanOrEqual(150);
    await hub.close();
  });

  it('may be less for one subscriber, and ends those who asked for that', async () => {
    const hub = createHub();
    const modest = hub.subscribe('a', { maxLagBytes: MIB, whenLagging: 'disconnect' });
    const other = hub.subscribe('a');
    await Promise.all([modest.ready, other.ready]);
    for (let count = 0; count < 4; count++) await hub.publish('a', bytesOf(MIB));
    await expect(modest.next()).rejects.toMatchObject({ code: 'HUB_LAGGED', details: { maxLagBytes: MIB } });
    expect(await drain(other)).toEqual({ messages: 4, missed: 0, gaps: 0 });
    expect(() => hub.subscribe('a', { maxLagBytes: 0 })).toThrow('maxLagBytes');
    await hub.close();
  });
});

describe('totalLagBytesMax', () => {
  it('bounds sleepers on many channels together, and leaves those alone who read', async () => {
    const hub = createHub({ totalLagBytesMax: 8 * MIB, maxLagBytes: 4 * MIB });
    const names = Array.from({ length: 20 }, (_, at) => `c${at}`);
    const sleepers = names.map((name) => hub.subscribe(name));
    const reader = hub.subscribe('read');
    await Promise.all([...sleepers, reader].map(({ ready }) => ready));
    for (let round = 0; round < 3; round++) {
      for (const name of names) {
        await hub.publish(name, bytesOf(MIB));
        await hub.publish('read', bytesOf(MIB));
        expect((await reader.next()).value?.gap).toBeUndefined();
        const total = sleepers.reduce((sum, { lagBytes }) => sum + lagBytes, 0);
        expect(total).toBeLessThanOrEqual(10 * MIB);
      }
    }
    for (const sleeper of sleepers) {
      const { messages, missed } = await drain(sleeper);
      expect(messages + missed).toBe(3);
    }
    await hub.close();
  });

  it('counts what returning subscribers have to read of their own', async () => {
    const hub = createHub({
      driver: memory({ historyMax: 100, historyChannelBytesMax: 4 * MIB }),
      totalLagBytesMax: 8 * MIB,
    });
    const first = hub.subscribe('a');
    await first.ready;
    const after = first.position as string;
    first.close();
    for (let count = 0; count < 3; count++) await hub.publish('a', bytesOf(MIB));
    const back = Array.from({ length: 10 }, () => hub.subscribe('a', { after }));
    await Promise.all(back.map(({ ready }) => ready));
    await new Promise((resolve) => setImmediate(resolve));
    const total = back.reduce((sum, { lagBytes }) => sum + lagBytes, 0);
    expect(total).toBeLessThanOrEqual(9 * MIB);
    for (const each of back) {
      const { messages, missed } = await drain(each);
      expect(messages + missed).toBe(3);
    }
    await hub.close();
  });
});

it('a message is garbage once all have read it, also where nothing comes after it', async () => {
  const driver = new FakeDriver();
  const hub = createHub(driver);
  const subscription = hub.subscribe('a');
  await subscription.ready;
  void subscription.consume(() => {});
  const message = new WeakRef(new Uint8Array(MIB));
  driver.sinks.get('a')?.message('a', message.deref() as Uint8Array);
  expect(await isGarbage(message)).toBe(true);
  await hub.close();
});

it('publishes that wait for the broker are bounded by their bytes', async () => {
  const driver = new FakeDriver();
  let answer = () => {};
  driver.onPublish = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  const hub = createHub({ driver, publishBytesMax: 1000 });
  await hub.connect();
  const first = hub.publish('a', bytesOf(900));
  await expect(hub.publish('a', bytesOf(200))).rejects.toMatchObject({
    code: 'HUB_BUSY',
    details: { publishBytesMax: 1000 },
  });
  answer();
  await first;
  const second = hub.publish('a', bytesOf(200));
  answer();
  await second;
  await hub.close();
});
