import { setTimeout as sleep } from 'node:timers/promises';
import zlib from 'node:zlib';
import { Admin, deleteRecordsV2, Producer } from '@platformatic/kafka';
import { afterEach, describe, expect, it } from 'vitest';
import { driverFromUrl, kafka } from '../../src/hub/drivers/kafka.js';
import { createHub, type Driver, type Hub, type HubEvent, type HubSubscription } from '../../src/hub/index.js';
import { status, take, within } from '../../src/testing/hub-driver-harness.js';
import { driveBroker } from './drive.js';
import { GUARDED, startKafka } from './start-kafka.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

function connect(driver: string | Driver): Hub {
  const hub = typeof driver === 'string' ? createHub(driver) : createHub({ driver });
  cleanups.push(() => hub.close());
  return hub;
}

function admin(address: string): Admin {
  const client = new Admin({ clientId: 'test', bootstrapBrokers: [address] });
  cleanups.push(() => client.close());
  return client;
}

await driveBroker(
  'the Kafka driver',
  () => startKafka(),
  (broker) => ({
    driver: () => driverFromUrl(broker.url),
    broker,
    foreign: broker,
    processModule: `
      import { driverFromUrl } from 'millrace/hub/kafka';
      const driver = () => driverFromUrl('${broker.url}');
    `,
    unreachable: () => kafka({ brokers: ['127.0.0.1:1'] }),
  }),
  (broker) => {
    describe('around an outage', () => {
      it('nothing is lost, nothing comes twice, and there is no gap', { timeout: 90_000 }, async () => {
        const [from, to] = [connect(broker.url), connect(broker.url)];
        const follower: HubSubscription<HubEvent> = to.subscribe('outage');
        await follower.ready;
        for (let at = 0; at < 100; at++) await from.publish('outage', at);
        await broker.kill();
        await Promise.all([status(from, 'reconnecting'), status(to, 'reconnecting')]);
        await broker.restart();
        await status(from, 'connected', 40_000);
        for (let at = 100; at < 200; at++) await from.publish('outage', at);
        expect(await take(follower, 200)).toEqual(Array.from({ length: 200 }, (_, at) => at));
      });

      it('a subscribe that is under way waits for the broker to be back', { timeout: 90_000 }, async () => {
        const hub = createHub({ driver: driverFromUrl(broker.url), connectTimeoutMs: 60_000 });
        cleanups.push(() => hub.close());
        await hub.publish('under-way', 0);
        const follower = hub.subscribe('under-way');
        await sleep(0);
        await broker.kill();
        const standing = follower.ready.then(
          () => 'stands',
          (error: unknown) => error,
        );
        await broker.restart();
        expect(await standing).toBe('stands');
        await hub.publish('under-way', 1);
        expect(await take(follower, 1)).toEqual([1]);
      });
    });

    describe('a hub whose broker is away', () => {
      it('closes all the same, with a subscribe that waits', { timeout: 60_000 }, async () => {
        const { stop, kill, url } = await startKafka();
        cleanups.push(stop);
        const hub = connect(url);
        const follower = hub.subscribe('away');
        await follower.ready;
        await kill();
        await status(hub, 'reconnecting');
        const waiting = hub.subscribe('waiting');
        const ended = expect(waiting.ready).rejects.toMatchObject({ code: 'HUB_CLOSED' });
        await within(hub.close(), 'the hub to close');
        await ended;
        expect((await follower.next()).done).toBe(true);
      });
    });

    describe('a topic', () => {
      it('of several partitions, made by somebody else, is read whole', async () => {
        await admin(broker.address).createTopics({ topics: ['partitioned'], partitions: 3, replicas: 1 });
        const hub = connect(broker.url);
        const follower: HubSubscription<HubEvent> = hub.subscribe('partitioned');
        await follower.ready;
        const producer = new Producer({ clientId: 'test', bootstrapBrokers: [broker.address] });
        cleanups.push(() => producer.close());
        const ids: string[] = [];
        for (const partition of [2, 0, 1, 2]) {
          const message = { topic: 'partitioned', partition, value: Buffer.from(String(partition)) };
          await producer.send({ messages: [message], acks: -1 });
          const { value } = await within(follower.next(), 'the message');
          expect(value?.message).toBe(partition);
          ids.push(value?.id ?? '');
        }
        expect([...ids].sort()).toEqual(ids);
        expect(new Set(ids).size).toBe(4);
        const again: HubSubscription<HubEvent> = hub.subscribe('partitioned', { after: ids[0] as string });
        expect((await take(again, 3)).sort()).toEqual([0, 1, 2]);
      });

      it('of several partitions is resumed without a loss or a repeat while others publish', {
        timeout: 60_000,
      }, async () => {
        await admin(broker.address).createTopics({ topics: ['seam'], partitions: 2, replicas: 1 });
        const producer = new Producer({ clientId: 'test', bootstrapBrokers: [broker.address] });
        cleanups.push(() => producer.close());
        let stopped = false;
        const publishing = [0, 1].map(async (partition) => {
          for (let at = 0; !stopped; at++) {
            const value = Buffer.from(JSON.stringify([partition, at]));
            await producer.send({ messages: [{ topic: 'seam', partition, value }], acks: -1 });
          }
        });
        cleanups.push(async () => {
          stopped = true;
          await Promise.all(publishing);
        });
        const steady = connect(broker.url);
        const follower: HubSubscription<HubEvent> = steady.subscribe('seam');
        for (let round = 0; round < 6; round++) {
          const lasts = new Map<number, number>();
          const read = async (from: HubSubscription<HubEvent>, count: number) => {
            let id = '';
            for (let at = 0; at < count; at++) {
              const { value } = await within(from.next(), 'a message');
              const [partition, number] = (value as HubEvent).message as [number, number];
              expect(number, `partition ${partition}`).toBe((lasts.get(partition) ?? number - 1) + 1);
              lasts.set(partition, number);
              id = value?.id ?? '';
            }
            return id;
          };
          const first = steady.subscribe('seam');
          const id = await read(first, 30);
          first.close();
          await sleep(50);
          // The channel is followed already by one hub, and not yet by the other.
          const hub = round % 2 === 0 ? steady : connect(broker.url);
          const again = hub.subscribe('seam', { after: id });
          await read(again, 300);
          again.close();
        }
        follower.close();
      });

      it('whose messages were deleted before they were read tells of the gap, and how many they were', async () => {
        const hub = connect(broker.url);
        const client = admin(broker.address);
        const from = connect(broker.url);
        await from.publish('trimmed', 'first');
        const first = hub.subscribe('trimmed');
        await first.ready;
        await from.publish('trimmed', 'seen');
        const { value } = await within(first.next(), 'a message');
        const id = (value as HubEvent).id as string;
        first.close();
        for (let at = 0; at < 10; at++) await from.publish('trimmed', at);
        const [connection] = (await client.connectToBrokers()).values();
        await deleteRecordsV2.api.async(
          connection as NonNullable<typeof connection>,
          [{ name: 'trimmed', partitions: [{ partitionIndex: 0, offset: 6n }] }],
          5_000,
        );
        const again: HubSubscription<HubEvent> = hub.subscribe('trimmed', { after: id });
        const gap = await within(again.next(), 'a gap');
        expect(gap.value).toMatchObject({ gap: { reason: 'history' } });
      });

      it.skipIf('zstdCompressSync' in zlib)(
        'with messages of a compression that this Node lacks (zstd, before 22.15) is read past them, with a gap',
        { timeout: 60_000 },
        async () => {
          const hub = connect(broker.url);
          const [follower, other]: HubSubscription<HubEvent>[] = [hub.subscribe('zstd'), hub.subscribe('readable')];
          await Promise.all([follower?.ready, other?.ready]);
          await broker.publish('zstd', '"unreadable"', 'zstd');
          expect((await within(follower?.next() as Promise<unknown>, 'a gap')) as object).toMatchObject({
            value: { gap: { reason: 'undecodable' } },
          });
          await hub.publish('zstd', 'plain');
          await hub.publish('readable', 'too');
          expect(await take(follower as HubSubscription<HubEvent>, 1)).toEqual(['plain']);
          expect(await take(other as HubSubscription<HubEvent>, 1)).toEqual(['too']);
        },
      );

      it('with messages that cannot be read is resumed past them, with a gap', { timeout: 60_000 }, async () => {
        const hub = connect(broker.url);
        const first: HubSubscription<HubEvent> = hub.subscribe('snappy');
        await first.ready;
        await hub.publish('snappy', 'seen');
        const { value } = await within(first.next(), 'a message');
        const after = value?.id ?? '';
        first.close();
        await hub.publish('snappy', 'missed');
        await broker.publish('snappy', '"unreadable"', 'snappy');
        const again: HubSubscription<HubEvent> = hub.subscribe('snappy', { after });
        await again.ready;
        expect((await within(again.next(), 'a gap')).value).toMatchObject({ gap: { reason: 'history' } });
        await hub.publish('snappy', 'live');
        expect(await take(again, 1)).toEqual(['live']);
      });

      it('has what is published while the hub closes', async () => {
        const hub = connect(broker.url);
        await hub.publish('closing', 0);
        const publishes = Array.from({ length: 50 }, (_, at) => hub.publish('closing', at));
        const since = performance.now();
        await hub.close();
        expect(performance.now() - since).toBeLessThan(900);
        await Promise.all(publishes);
      });

      it('of compressed messages is read', { timeout: 60_000 }, async () => {
        const hub = connect(broker.url);
        const follower = hub.subscribe('compressed');
        await follower.ready;
        for (const codec of ['gzip', 'lz4']) await broker.publish('compressed', `"${codec}"`, codec);
        expect(await take(follower, 2)).toEqual(['gzip', 'lz4']);
      });

      it('that is deleted and made anew is read on, and the reader is told', { timeout: 60_000 }, async () => {
        const hub = connect(broker.url);
        const follower: HubSubscription<HubEvent> = hub.subscribe('renewed');
        await follower.ready;
        await hub.publish('renewed', 'old');
        expect(await take(follower, 1)).toEqual(['old']);
        await admin(broker.address).deleteTopics({ topics: ['renewed'] });
        expect((await within(follower.next(), 'a gap')).value).toMatchObject({ gap: { reason: 'history' } });
        await hub.publish('renewed', 'new');
        expect(await take(follower, 1)).toEqual(['new']);
      });

      it('is not made where that is switched off', async () => {
        const hub = connect(`${broker.url}?createTopics=false`);
        await expect(hub.publish('never-made', 1)).rejects.toMatchObject({ code: 'HUB_CHANNEL_INVALID' });
        await expect(hub.subscribe('never-made').ready).rejects.toMatchObject({ code: 'HUB_CHANNEL_INVALID' });
        expect(await admin(broker.address).listTopics()).not.toContain('never-made');
      });

      it('whose name differs from another only in "." and "_" is refused, as Kafka does', async () => {
        const hub = connect(broker.url);
        await hub.publish('either.or', 1);
        await expect(hub.publish('either_or', 1)).rejects.toMatchObject({ code: 'HUB_CHANNEL_INVALID' });
      });

      it('that takes less than the broker refuses only the message that is too large', async () => {
        await admin(broker.address).createTopics({
          topics: ['narrow'],
          partitions: 1,
          replicas: 1,
          configs: [{ name: 'max.message.bytes', value: '2000' }],
        });
        const hub = connect(broker.url);
        const follower = hub.subscribe('narrow');
        await follower.ready;
        const texts = ['a'.repeat(900), 'b'.repeat(900), 'c'.repeat(3_000), 'd'.repeat(900)];
        const outcomes = await Promise.allSettled(texts.map((text) => hub.publish('narrow', text)));
        expect(outcomes.map((outcome) => outcome.status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
        expect(outcomes[2]).toMatchObject({ reason: { code: 'HUB_MESSAGE_TOO_LARGE' } });
        expect(await take(follower, 3)).toEqual([texts[0], texts[1], texts[3]]);
      });
    });

    describe('a Kafka that asks for a user', () => {
      it('lets in who has the password, and the hub tells who has not', { timeout: 120_000 }, async () => {
        const guarded = await startKafka(GUARDED);
        cleanups.push(() => guarded.stop());
        const hub = connect(`kafka://alice:open%3Asesame@${guarded.address}`);
        const follower = hub.subscribe('guarded');
        await follower.ready;
        await hub.publish('guarded', 'in');
        expect(await take(follower, 1)).toEqual(['in']);
        const stranger = connect(`kafka://alice:wrong@${guarded.address}`);
        await expect(stranger.connect()).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
        const other = connect(`kafka://alice:open%3Asesame@${guarded.address}?mechanism=SCRAM-SHA-256`);
        await expect(other.connect()).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
      });
    });
  },
);
