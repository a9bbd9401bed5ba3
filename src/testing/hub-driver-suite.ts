import assert from 'node:assert/strict';
import { type Driver, EncodedMessage, encodedMessageOf, type HubEvent, type HubSubscription } from '../hub/index.js';
import { HubBench, rejects, status, take, within } from './hub-driver-harness.js';

/** What the suite needs to know of the driver under test, and of the broker behind it. */
export interface HubDriverSuiteOptions {
  /** A new driver for the broker under test. Each hub of the suite gets one of its own. */
  readonly driver: () => Driver | Driver<unknown>;
  /** Ends the broker as a crash would, and brings it back at the same address. */
  readonly broker?: {
    kill(): Promise<void>;
    restart(): Promise<void>;
  };
  /** Another program on the same broker, to prove that messages are plain. Names are as `names.toBroker` gives them. */
  readonly foreign?: {
    publish(name: string, payload: string): Promise<void>;
    /** Resolves once it listens. */
    follow(name: string): Promise<{ next(): Promise<string>; end(): Promise<void> }>;
  };
  /**
   * For the case with a second process: the text of an ES module (imports and all) that defines `driver`, a function
   * that makes a driver. It runs in the current folder, where `millrace/hub` must be found.
   */
  readonly processModule?: string;
  /** A driver for an address where nobody listens. */
  readonly unreachable?: () => Driver;
}

/** One case: give it to your test framework. */
export interface HubDriverCase {
  readonly name: string;
  /** Why this driver cannot be asked for this. */
  readonly skip: string | undefined;
  readonly timeoutMs: number;
  run(): Promise<void>;
}

/** How many messages the case of many messages sends. */
const MANY = 10_000;
/** A message as large as most brokers take by default. */
const LARGE_BYTES = 900_000;
const CASE_TIMEOUT_MS = 60_000;

/** Names that brokers are known to dislike. Each must work, or be refused as too long once escaped. */
export const oddChannelNames: readonly string[] = [
  'a b',
  ' ',
  'a/b',
  'a.b',
  '.',
  '..',
  'a..b',
  '*',
  '>',
  'a.*',
  '$SYS',
  '_',
  '-',
  'UPPER',
  'upper',
  'a,b;c=d',
  'a:b',
  '100%',
  '%41',
  'a\nb',
  'a\u0000b',
  '{"a":1}',
  'ünïcödé',
  '频道/聊天',
  '😀',
  'a#ephemeral',
  '__proto__',
  'x'.repeat(60),
];

/**
 * The cases that every driver must pass. Any framework runs them:
 *
 *     for (const { name, skip, timeoutMs, run } of hubDriverSuite({ driver: () => myDriver(url) })) {
 *       it(skip ? `${name} (not asked: ${skip})` : name, { skip: skip !== undefined, timeout: timeoutMs }, run);
 *     }
 *
 * A case is skipped only for an ability that the driver does not declare, or for a part of the options that is missing.
 */
export function hubDriverSuite(options: HubDriverSuiteOptions): HubDriverCase[] {
  const makeDriver = options.driver as () => Driver<unknown>;
  const { abilities, names, carries = 'bytes' } = makeDriver();
  const { broker, foreign, processModule, unreachable } = options;
  const cases: HubDriverCase[] = [];

  function test(name: string, run: (bench: HubBench) => Promise<void>, skip?: string): void {
    cases.push({
      name,
      skip,
      timeoutMs: CASE_TIMEOUT_MS,
      async run() {
        const bench = new HubBench(makeDriver);
        try {
          await run(bench);
        } finally {
          await bench.end();
        }
      },
    });
  }

  const inOrder = (messages: unknown[]) =>
    abilities.ordering ? messages : messages.toSorted((a, b) => (a as number) - (b as number));

  test('two hubs each see every message, in order per channel', async (bench) => {
    const [one, two] = [await bench.hub(), await bench.hub()];
    const [left, right] = [bench.channel(), bench.channel()];
    const followers = [one, two].flatMap((hub) => [hub.subscribe(left), hub.subscribe(right)]);
    await Promise.all(followers.map((follower) => follower.ready));
    const numbers = Array.from({ length: 200 }, (_, at) => at);
    await Promise.all(numbers.flatMap((at) => [one.publish(left, at), one.publish(right, at)]));
    for (const follower of followers) assert.deepEqual(inOrder(await take(follower, numbers.length)), numbers);
  });

  test('one subscription follows several channels, and one publish reaches several', async (bench) => {
    const hub = await bench.hub();
    const channels = [bench.channel(), bench.channel()];
    const follower = hub.subscribe(channels);
    await follower.ready;
    await hub.publish(channels, 'both');
    const seen: string[] = [];
    while (seen.length < 2) {
      const { value } = await within(follower.next(), 'a message on each channel');
      assert.equal(value?.message, 'both');
      seen.push(value.channel);
    }
    assert.deepEqual(seen.sort(), [...channels].sort());
  });

  test('a late subscriber sees what comes after it', async (bench) => {
    const hub = await bench.hub();
    const channel = bench.channel();
    await hub.publish(channel, 'early');
    const follower = hub.subscribe(channel);
    await follower.ready;
    await hub.publish(channel, 'late');
    assert.deepEqual(await take(follower, 1), ['late']);
  });

  test('whoever subscribes and then publishes on the same hub sees the message without waiting', async (bench) => {
    const hub = await bench.hub();
    const channel = bench.channel();
    const follower = hub.subscribe(channel);
    await Promise.all([hub.publish(channel, 1), hub.publish(channel, 2)]);
    assert.deepEqual(inOrder(await take(follower, 2)), [1, 2]);
  });

  test('unsubscribing ends the delivery, and subscribing again begins anew', async (bench) => {
    const [hub, other] = [await bench.hub(), await bench.hub()];
    const channel = bench.channel();
    const first = hub.subscribe(channel);
    await first.ready;
    first.close();
    assert.equal(hub.channelCount, 0, 'nothing is subscribed on the broker any more');
    await other.publish(channel, 'unseen');
    const second = hub.subscribe(channel);
    await second.ready;
    await other.publish(channel, 'seen');
    assert.deepEqual(await take(second, 1), ['seen']);
    assert.equal((await first.next()).done, true);
  });

  test('whoever subscribes while an earlier subscribe that was left is under way is not forgotten', async (bench) => {
    const hub = await bench.hub();
    for (let turns = 0; turns < 12; turns++) {
      const channel = bench.channel();
      const first = hub.subscribe(channel);
      for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
      first.close();
      const second = hub.subscribe(channel);
      await second.ready;
      await hub.publish(channel, turns);
      assert.deepEqual(await take(second, 1), [turns]);
      second.close();
    }
  });

  test('a hundred local subscribers share one subscription on the broker', async (bench) => {
    const hub = await bench.hub();
    const channel = bench.channel();
    const followers = Array.from({ length: 100 }, () => hub.subscribe(channel));
    await Promise.all(followers.map((follower) => follower.ready));
    assert.equal(hub.channelCount, 1);
    await hub.publish(channel, 'all');
    for (const follower of followers) assert.deepEqual(await take(follower, 1), ['all']);
    for (const follower of followers) follower.close();
    assert.equal(hub.channelCount, 0);
  });

  test('messages of every kind arrive as they were', async (bench) => {
    const [from, to] = [await bench.hub(), await bench.hub()];
    const channel = bench.channel();
    const follower = to.subscribe(channel);
    await follower.ready;
    const messages = [
      {},
      [],
      '',
      null,
      false,
      0,
      'line one\nline two\r\n',
      { text: 'ünïcödé 频道 😀 \u0000', nested: { deep: [1, [2, [3]]] } },
      new Uint8Array([0, 255, 254, 10, 13, 128, 0]),
      Uint8Array.from({ length: 256 }, (_, at) => at),
    ];
    for (const message of messages) {
      await from.publish(channel, message);
      assert.deepEqual(await take(follower, 1), [message]);
    }
  });

  test('JSON that is passed on keeps its text', async (bench) => {
    const [from, to] = [await bench.hub(), await bench.hub()];
    const channel = bench.channel();
    const follower = to.subscribe(channel);
    await follower.ready;
    const text = '{"id":3791411052119578828, "price":1.10,"far":1e400}';
    await from.publish(channel, EncodedMessage.json(text));
    const { value } = await within(follower.next(), 'the message');
    assert(value !== undefined);
    assert.equal(new TextDecoder().decode(encodedMessageOf(value)?.bytes), text);
    assert.deepEqual(value.message, JSON.parse(text));
  });

  test('a large message arrives whole', async (bench) => {
    const [from, to] = [await bench.hub(), await bench.hub()];
    const channel = bench.channel();
    const follower = to.subscribe(channel);
    await follower.ready;
    const text = 'ab'.repeat(Math.min(LARGE_BYTES, abilities.maxMessageBytes * 0.9) / 2);
    await from.publish(channel, text);
    assert((await take(follower, 1))[0] === text, 'it is what was sent');
  });

  test(
    'a message over the limit is an error, and the next one goes through',
    async (bench) => {
      const hub = await bench.hub();
      const channel = bench.channel();
      const follower = hub.subscribe(channel);
      await follower.ready;
      const bytesMax = Math.min(16 * 1024 * 1024, abilities.maxMessageBytes);
      await rejects(hub.publish(channel, new Uint8Array(bytesMax + 1)), 'HUB_MESSAGE_TOO_LARGE');
      await hub.publish(channel, 'small');
      assert.deepEqual(await take(follower, 1), ['small']);
    },
    carries === 'values' ? 'messages are passed by reference and have no size' : undefined,
  );

  test(`${MANY} messages arrive without loss or repeat`, async (bench) => {
    const [from, to] = [await bench.hub(), await bench.hub()];
    const channel = bench.channel();
    const follower = to.subscribe(channel);
    await follower.ready;
    const received = take(follower, MANY);
    received.catch(() => {});
    const published: Promise<void>[] = [];
    for (let at = 0; at < MANY; at++) published.push(from.publish(channel, at));
    await Promise.all(published);
    assert.deepEqual(
      inOrder(await received),
      Array.from({ length: MANY }, (_, at) => at),
    );
    await from.publish(channel, 'end');
    assert.deepEqual(await take(follower, 1), ['end']);
  });

  test('names on the broker are reversible, and different for different channels', async () => {
    const mapped = new Map<string, string>();
    for (const name of [...oddChannelNames, ...oddChannelNames.filter(fits).map(names.toBroker)].filter(fits)) {
      const onBroker = names.toBroker(name);
      assert.equal(names.fromBroker(onBroker), name);
      assert.equal(mapped.get(onBroker) ?? name, name, `${onBroker} stands for one channel only`);
      mapped.set(onBroker, name);
    }
    assert(mapped.size > oddChannelNames.length / 2);
  });

  function fits(name: string): boolean {
    try {
      names.toBroker(name);
      return true;
    } catch (error) {
      assert.equal((error as { code?: unknown }).code, 'HUB_CHANNEL_INVALID');
      assert(Buffer.byteLength(name) > 20, `"${name}" is short enough to be held in some form`);
      return false;
    }
  }

  test('channels of odd names are channels of their own', async (bench) => {
    const [from, to] = [await bench.hub(), await bench.hub()];
    const channels = oddChannelNames.filter(fits);
    const followers = channels.map((channel) => to.subscribe(channel));
    await Promise.all(followers.map((follower) => follower.ready));
    await Promise.all(channels.map((channel) => from.publish(channel, { to: channel })));
    for (const [at, follower] of followers.entries()) {
      const { value } = await within(follower.next(), `a message on ${JSON.stringify(channels[at])}`);
      assert.deepEqual({ ...value }, { ...value, channel: channels[at], message: { to: channels[at] } });
    }
  });

  test(
    'a pattern follows the channels that match it, and no others',
    async (bench) => {
      const [from, to] = [await bench.hub(), await bench.hub()];
      const base = bench.channel();
      const follower = to.subscribe({ pattern: `${base}.*.done` });
      const wide = to.subscribe({ pattern: `${base}*` });
      await Promise.all([follower.ready, wide.ready]);
      const hits = [`${base}.1.done`, `${base}.a/b.c.done`, `${base}..done`];
      for (const channel of [`${base}.1.don`, ...hits, `${base}.done`, `x${base}.1.done`]) {
        await from.publish(channel, channel);
      }
      assert.deepEqual(await take(follower, hits.length), hits);
      assert.deepEqual(await take(wide, 5), [`${base}.1.don`, ...hits, `${base}.done`]);
    },
    abilities.patterns ? undefined : 'the driver declares no patterns',
  );

  test(
    'a subscriber that comes back gets what it missed, once and in order',
    async (bench) => {
      const [from, to] = [await bench.hub(), await bench.hub()];
      const channel = bench.channel();
      const first = to.subscribe(channel);
      await first.ready;
      await from.publish(channel, 'before');
      const { value } = await within(first.next(), 'a message with an id');
      assert(value?.gap === undefined && value?.id !== undefined, 'messages carry ids');
      first.close();
      for (let at = 0; at < 20; at++) await from.publish(channel, at);
      const second: HubSubscription<HubEvent> = to.subscribe(channel, { after: value.id });
      const late = [];
      for (let at = 20; at < 40; at++) late.push(from.publish(channel, at));
      assert.deepEqual(
        await take(second, 40),
        Array.from({ length: 40 }, (_, at) => at),
      );
      await Promise.all(late);
      const stranger: HubSubscription<HubEvent> = to.subscribe(channel, { after: 'no-such-id' });
      const { value: gap } = await within(stranger.next(), 'a gap for an id that is not known');
      assert.equal(gap?.gap?.reason, 'history');
    },
    abilities.replay ? undefined : 'the driver declares no replay',
  );

  test('closing with work in flight settles every publish and ends every subscription', async (bench) => {
    const hub = await bench.hub();
    const channel = bench.channel();
    const follower = hub.subscribe(channel);
    await follower.ready;
    const published = Array.from({ length: 100 }, (_, at) => hub.publish(channel, at));
    const outcomes = Promise.allSettled(published);
    await within(hub.close(), 'the hub to close');
    for (const outcome of await within(outcomes, 'every publish to settle')) {
      if (outcome.status === 'rejected') {
        assert.match(String(outcome.reason.code), /^HUB_(CLOSED|UNAVAILABLE)$/);
      }
    }
    while (!(await within(follower.next(), 'the subscription to end')).done);
    await follower.closed;
    await rejects(hub.publish(channel, 'late'), 'HUB_CLOSED');
    assert.throws(() => hub.subscribe(channel), { code: 'HUB_CLOSED' });
  });

  test(
    'an address where nobody listens is an error in time',
    async () => {
      const bench = new HubBench(unreachable as () => Driver<unknown>);
      await rejects(bench.hub({ connectTimeoutMs: 5_000 }), 'HUB_UNAVAILABLE');
      await bench.end();
    },
    unreachable === undefined ? 'no unreachable driver was given' : undefined,
  );

  test(
    'a hub outlives its broker: publishing is refused meanwhile, then subscriptions stand again and tell of the gap',
    async (bench) => {
      assert(broker !== undefined);
      const [from, to] = [await bench.hub(), await bench.hub()];
      const [channel, other] = [bench.channel(), bench.channel()];
      const follower: HubSubscription<HubEvent> = to.subscribe(channel);
      const second: HubSubscription<HubEvent> = to.subscribe(other);
      await Promise.all([follower.ready, second.ready]);
      await from.publish(channel, 'before');
      assert.deepEqual(await take(follower, 1), ['before']);
      await broker.kill();
      await Promise.all([status(from, 'reconnecting'), status(to, 'reconnecting')]);
      await rejects(from.publish(channel, 'meanwhile'), 'HUB_UNAVAILABLE');
      await broker.restart();
      await Promise.all([status(from, 'connected'), status(to, 'connected')]);
      await Promise.all([from.publish(channel, 'after'), from.publish(other, 'after')]);
      for (const each of [follower, second]) {
        const events: HubEvent[] = [];
        while (events.at(-1)?.message !== 'after') {
          const { value } = await within(each.next(), 'the message published after the restart');
          assert(value !== undefined);
          events.push(value);
        }
        const gaps = events.filter((event) => event.gap !== undefined);
        if (!abilities.atLeastOnce) assert.equal(gaps.length, 1, 'exactly one gap is told');
        for (const { gap } of gaps) assert.equal(gap?.reason, 'reconnected');
      }
      const late = to.subscribe(bench.channel());
      await within(late.ready, 'a new subscription after the restart');
    },
    broker === undefined ? 'there is no broker that could be ended' : undefined,
  );

  test(
    "another program's plain JSON is received, and it reads ours",
    async (bench) => {
      assert(foreign !== undefined);
      const hub = await bench.hub();
      const [inward, outward] = [bench.channel(), bench.channel()];
      const follower = hub.subscribe(inward);
      const reader = await foreign.follow(names.toBroker(outward));
      try {
        await follower.ready;
        await foreign.publish(names.toBroker(inward), '{"from":"elsewhere","n":[1,2]}');
        assert.deepEqual(await take(follower, 1), [{ from: 'elsewhere', n: [1, 2] }]);
        await hub.publish(outward, { to: 'elsewhere', text: 'ünïcödé' });
        assert.equal(
          await within(reader.next(), 'the other program to read it'),
          '{"to":"elsewhere","text":"ünïcödé"}',
        );
      } finally {
        await reader.end();
      }
    },
    foreign === undefined ? 'no other program was given' : undefined,
  );

  test(
    'hubs in two processes each see every message, and a process that closed its hub exits by itself',
    async (bench) => {
      const hub = await bench.hub();
      const [there, back] = [bench.channel(), bench.channel()];
      const answers = hub.subscribe([there, back]);
      await answers.ready;
      const child = bench.child(otherProcess(processModule as string), { SUITE_THERE: there, SUITE_BACK: back });
      assert.equal(await child.line(), 'ready');
      const numbers = Array.from({ length: 50 }, (_, at) => at);
      for (const at of numbers) await hub.publish(there, at);
      assert.deepEqual(inOrder(JSON.parse(await child.line())), numbers);
      assert.deepEqual(inOrder((await take(answers, 51)).filter((message) => typeof message === 'number')), numbers);
      await child.exits();
    },
    processModule === undefined ? 'no module for another process was given' : undefined,
  );

  return cases;
}

/** Subscribes, tells what it saw, publishes an answer, closes its hub, and then has nothing left to do. */
function otherProcess(processModule: string): string {
  return `
    import { createHub } from 'millrace/hub';
    ${processModule}
    const hub = createHub(driver());
    const seen = [];
    const subscription = hub.subscribe(process.env.SUITE_THERE);
    await subscription.ready;
    console.log('ready');
    for await (const { message } of subscription) {
      seen.push(message);
      if (seen.length === 50) break;
    }
    console.log(JSON.stringify(seen));
    await hub.publish(process.env.SUITE_BACK, 'seen');
    hub.subscribe(process.env.SUITE_BACK);
    await hub.close();
  `;
}
