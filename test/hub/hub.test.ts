import { describe, expect, expectTypeOf, it } from 'vitest';
import { MillraceError } from '../../src/errors.js';
import { done } from '../../src/event-stream/index.js';
import { memory } from '../../src/hub/drivers/memory.js';
import {
  bytesCodec,
  createHub,
  type Hub,
  type HubEvent,
  type HubStatus,
  type SubscribeOptions,
  textCodec,
} from '../../src/hub/index.js';
import { FakeDriver, ReplayingDriver } from './fake-driver.js';

/** The next `count` events. */
async function take<E>(subscription: AsyncIterator<E>, count: number): Promise<E[]> {
  const events: E[] = [];
  while (events.length < count) {
    const { value, done } = await subscription.next();
    if (done) break;
    events.push(value);
  }
  return events;
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('createHub', () => {
  it('does nothing until it is used', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    expect(hub.status).toBe('idle');
    await settled();
    expect(driver.connects).toBe(0);
    await hub.close();
    expect(driver.connects).toBe(0);
  });

  it('lists the schemes that it knows when a URL has another', () => {
    expect(() => createHub('carrier-pigeon://loft')).toThrow(
      expect.objectContaining({
        code: 'HUB_UNKNOWN_SCHEME',
        message: expect.stringMatching(/redis.*nats.*nsq.*kafka/),
      }),
    );
    expect(() => createHub('no url')).toThrow(expect.objectContaining({ code: 'HUB_UNKNOWN_SCHEME' }));
    expect(() => createHub('__proto__:x')).toThrow(expect.objectContaining({ code: 'HUB_UNKNOWN_SCHEME' }));
  });

  it('refuses limits that cannot be right, and a URL beside a driver', () => {
    for (const maxLag of [0, -1, 1.5, Number.NaN]) {
      expect(() => createHub({ maxLag })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    }
    expect(() => createHub({ url: 'memory:', driver: new FakeDriver() })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  it('takes only what is a message of all channels that are named', async () => {
    const hub = createHub<{ chat: { text: string }; news: { title: string }; 'job/*': number; 'job/admin': string }>();
    await Promise.all([
      hub.publish(['chat', 'news'], { text: 'hi', title: 'both' }),
      hub.publish(['job/7', 'job/8'], 5),
      // @ts-expect-error: not a message of news
      hub.publish(['chat', 'news'], { text: 'hi' }),
      // @ts-expect-error: not a message of chat
      hub.publish(['chat', 'job/7'], 5),
      // @ts-expect-error: this one has another type than the others of its kind
      hub.publish(['job/7', 'job/admin'], 5),
    ]);
    const flags = createHub<{ on: boolean | null }>();
    await flags.publish('on', Math.random() > 0.5);
    await hub.close();
    await flags.close();
  });

  it('knows the types of typed channels', async () => {
    const hub: Hub<{ chat: { text: string }; 'job/*': number }> = createHub();
    const subscription = hub.subscribe('chat', { onGap: () => {} });
    const jobs = hub.subscribe({ pattern: 'job/*' }, { onGap: () => {} });
    hub.publish('chat', { text: 'hi' });
    hub.publish('job/7', 70);
    // @ts-expect-error: no such channel
    hub.publish('caht', { text: 'hi' }).catch(() => {});
    // @ts-expect-error: not a message of this channel
    hub.publish('job/8', 'eighty');
    for await (const { channel, message } of subscription) {
      expectTypeOf(channel).toEqualTypeOf<'chat'>();
      expectTypeOf(message).toEqualTypeOf<{ text: string }>();
      expect(message.text).toBe('hi');
      break;
    }
    for await (const { channel, message } of jobs) {
      expectTypeOf(channel).toEqualTypeOf<`job/${string}`>();
      expectTypeOf(message).toEqualTypeOf<number>();
      expect(message).toBe(70);
      break;
    }
    await hub.close();
  });
});

describe('connecting', () => {
  it('happens once for all who ask at the same time', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    await Promise.all([hub.connect(), hub.connect(), hub.publish('a', 1)]);
    await hub.connect();
    expect(driver.connects).toBe(1);
    await hub.close();
  });

  it('reports what the client says as HUB_UNAVAILABLE, and tries anew at the next use', async () => {
    const driver = new FakeDriver();
    driver.onConnect = async () => {
      throw new Error('ECONNREFUSED');
    };
    const hub = createHub(driver);
    await expect(hub.publish('a', 1)).rejects.toMatchObject({ code: 'HUB_UNAVAILABLE', cause: expect.any(Error) });
    expect(hub.status).toBe('idle');
    driver.onConnect = async () => {};
    await hub.publish('a', 2);
    expect(driver.published).toEqual([['a', '2']]);
    await hub.close();
  });

  it('gives up when the broker does not answer in time, and tells the driver', async () => {
    const driver = new FakeDriver();
    driver.onConnect = () => new Promise(() => {});
    const hub = createHub({ driver, connectTimeoutMs: 20 });
    await expect(hub.connect()).rejects.toMatchObject({ code: 'HUB_UNAVAILABLE' });
    expect(driver.context?.signal.aborted).toBe(true);
    await hub.close();
  });

  it('tells of every change of its status', async () => {
    const driver = new FakeDriver();
    const statuses: HubStatus[] = [];
    const hub = createHub({ driver, onStatus: (status) => statuses.push(status) });
    await hub.connect();
    driver.context?.onStatus('reconnecting');
    driver.context?.onStatus('reconnecting');
    driver.context?.onStatus('connected');
    await hub.close();
    expect(statuses).toEqual(['connecting', 'connected', 'reconnecting', 'connected', 'closed']);
  });
});

describe('publish', () => {
  it('rejects names that cannot be channels', async () => {
    const hub = createHub();
    for (const name of ['', 'x'.repeat(1025), '\ud800', undefined, null, 7, {}]) {
      await expect(hub.publish(name as string, 1)).rejects.toMatchObject({ code: 'HUB_CHANNEL_INVALID' });
    }
    await expect(hub.publish(['fine', ''], 1)).rejects.toMatchObject({ code: 'HUB_CHANNEL_INVALID' });
    await hub.publish('é'.repeat(512), 1);
    await hub.close();
  });

  it('rejects what has no JSON form, and keeps the codec error as the cause', async () => {
    const hub = createHub(new FakeDriver());
    await hub.connect();
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    for (const message of [undefined, () => {}, 1n, circle]) {
      await expect(hub.publish('a', message)).rejects.toMatchObject({
        code: 'HUB_MESSAGE_INVALID',
        cause: expect.any(TypeError),
      });
    }
    await hub.close();
  });

  it('rejects a message over the limit of the hub or of the driver', async () => {
    const driver = new FakeDriver();
    const hub = createHub({ driver, messageBytesMax: 10_000 });
    await expect(hub.publish('a', 'x'.repeat(999))).rejects.toMatchObject({
      code: 'HUB_MESSAGE_TOO_LARGE',
      details: { bytes: 1001, bytesMax: 1000 },
    });
    await hub.publish('a', 'x'.repeat(998));
    await hub.close();
    const small = createHub({ driver: new FakeDriver(), messageBytesMax: 10 });
    await expect(small.publish('a', 'x'.repeat(9))).rejects.toMatchObject({ code: 'HUB_MESSAGE_TOO_LARGE' });
    await small.close();
  });

  it('encodes at the time of the call', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    await hub.connect();
    const message = { state: 'first' };
    const subscription = hub.subscribe('other');
    const published = hub.publish('a', message);
    message.state = 'changed';
    await published;
    expect(driver.published).toEqual([['a', '{"state":"first"}']]);
    subscription.close();
    await hub.close();
  });

  it('encodes at the time of the call also before the first connection, and copies bytes', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    const message = { state: 'first' };
    const bytes = Buffer.from('"first"');
    const published = [hub.publish('a', message), hub.publish('a', bytes)];
    message.state = 'changed';
    bytes.fill('x');
    await Promise.all(published);
    const later = Buffer.from('"second"');
    const subscription = hub.subscribe('a');
    published.push(hub.publish('a', later));
    later.fill('x');
    await Promise.all(published);
    expect(driver.published.map(([, text]) => text)).toEqual(['{"state":"first"}', '"first"', '"second"']);
    subscription.close();
    await hub.close();
  });

  it('keeps the order of the calls across the first connection', async () => {
    for (const driver of [new FakeDriver(), memory()]) {
      const connected: Promise<void>[] = [];
      const hub: Hub = createHub({
        driver,
        onStatus: (status) => {
          if (status === 'connected') connected.push(hub.publish('a', 2));
        },
      });
      const seen: unknown[] = [];
      const subscription = hub.subscribe('a');
      void subscription.consume(({ message }) => {
        seen.push(message);
      });
      const connecting = hub.connect();
      const first = hub.publish('a', 1);
      await connecting;
      await hub.publish('a', 3);
      await Promise.all([first, ...connected]);
      await settled();
      if (driver instanceof FakeDriver) expect(driver.published.map(([, text]) => text)).toEqual(['1', '2', '3']);
      else expect(seen).toEqual([1, 2, 3]);
      await hub.close();
    }
  });

  it('connects once when a listener publishes at once', async () => {
    const driver = new FakeDriver();
    const published: Promise<void>[] = [];
    const hub: Hub = createHub({ driver, onStatus: () => published.push(hub.publish('a', hub.status)) });
    await hub.connect();
    await Promise.all(published);
    expect(driver.connects).toBe(1);
    await hub.close();
    await expect(published.at(-1)).rejects.toMatchObject({ code: 'HUB_CLOSED' });
  });

  it('counts and times what is held back until the broker is there, and does not send it when it is too late', async () => {
    for (const isConnected of [false, true]) {
      const driver = new FakeDriver();
      let confirm = () => {};
      const waiting = () =>
        new Promise<void>((resolve) => {
          confirm = resolve;
        });
      const hub = createHub({ driver, publishesMax: 2, publishTimeoutMs: 30 });
      if (isConnected) await hub.connect();
      driver.onConnect = waiting;
      driver.onSubscribe = isConnected ? waiting : async () => {};
      hub.subscribe('b');
      const held = [hub.publish('a', 1), hub.publish('a', 2)];
      await expect(hub.publish('a', 3)).rejects.toMatchObject({ code: 'HUB_BUSY' });
      for (const each of held) await expect(each).rejects.toMatchObject({ code: 'HUB_UNAVAILABLE' });
      confirm();
      await settled();
      await hub.publish('a', 4);
      expect(driver.published).toEqual([['a', '4']]);
      await hub.close();
    }
  });

  it('keeps the order of the calls across a subscribe that is under way', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    await hub.connect();
    let confirm = () => {};
    driver.onSubscribe = () =>
      new Promise((resolve) => {
        confirm = resolve;
      });
    const subscription = hub.subscribe('a');
    const published = [hub.publish('a', 1), hub.publish('a', 2)];
    await settled();
    expect(driver.published).toEqual([]);
    confirm();
    subscription.ready.then(() => published.push(hub.publish('a', 3)));
    await subscription.ready;
    await settled();
    await Promise.all(published);
    expect(driver.published.map(([, text]) => text)).toEqual(['1', '2', '3']);
    await hub.close();
  });

  it('rejects when the broker does not answer in time', async () => {
    const driver = new FakeDriver();
    driver.onPublish = () => new Promise(() => {});
    const hub = createHub({ driver, publishTimeoutMs: 30 });
    await hub.connect();
    await expect(Promise.all([hub.publish('a', 1), hub.publish('a', 2)])).rejects.toMatchObject({
      code: 'HUB_UNAVAILABLE',
    });
    await hub.close();
  });

  it('limits how many wait for an answer', async () => {
    const driver = new FakeDriver();
    driver.onPublish = () => new Promise(() => {});
    const hub = createHub({ driver, publishesMax: 2 });
    await hub.connect();
    const waiting = [hub.publish('a', 1), hub.publish('a', 2)];
    await expect(hub.publish('a', 3)).rejects.toMatchObject({ code: 'HUB_BUSY' });
    await hub.close();
    for (const each of waiting) await expect(each).rejects.toMatchObject({ code: 'HUB_CLOSED' });
  });

  it('sends to each of several channels once', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    await hub.publish(['a', 'b', 'a'], 'x');
    expect(driver.published).toEqual([
      ['a', '"x"'],
      ['b', '"x"'],
    ]);
    await hub.close();
  });
});

describe('subscribe', () => {
  it('has one subscription on the broker for all who want the same channel, until the last one leaves', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    const first = hub.subscribe('a');
    const second = hub.subscribe(['a', 'b']);
    const third = hub.subscribe(['b', 'a', 'b']);
    await Promise.all([first.ready, second.ready, third.ready]);
    expect(driver.calls).toEqual(['subscribe a', 'subscribe b']);
    driver.receive('a', '1');
    driver.receive('b', '2');
    expect((await take(second, 2)).map((event) => event.message)).toEqual([1, 2]);
    expect((await take(third, 2)).map((event) => event.message)).toEqual([1, 2]);
    expect((await take(first, 1)).map((event) => event.message)).toEqual([1]);
    first.close();
    second.close();
    expect(driver.calls).toHaveLength(2);
    third.close();
    await settled();
    expect(driver.calls.slice(2).sort()).toEqual(['unsubscribe a', 'unsubscribe b']);
    expect(hub.channelCount).toBe(0);
    await hub.close();
  });

  it('waits for an unsubscribe that is under way before it subscribes again', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    const first = hub.subscribe('a');
    await first.ready;
    let confirm = () => {};
    driver.onUnsubscribe = () =>
      new Promise((resolve) => {
        confirm = resolve;
      });
    first.close();
    const second = hub.subscribe('a');
    await settled();
    expect(driver.calls).toEqual(['subscribe a', 'unsubscribe a']);
    confirm();
    await second.ready;
    expect(driver.calls).toEqual(['subscribe a', 'unsubscribe a', 'subscribe a']);
    await hub.close();
  });

  it('waits for a subscribe that was left before the broker had confirmed it', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    await hub.connect();
    const confirms: (() => void)[] = [];
    driver.onSubscribe = () =>
      new Promise((resolve) => {
        confirms.push(resolve);
      });
    hub.subscribe('a').close();
    await settled();
    hub.subscribe('a').close();
    const last = hub.subscribe('a');
    await settled();
    expect(driver.calls).toEqual(['subscribe a']);
    confirms[0]?.();
    await settled();
    expect(driver.calls).toEqual(['subscribe a', 'unsubscribe a', 'subscribe a']);
    confirms[1]?.();
    await last.ready;
    driver.receive('a', '1');
    expect((await take(last, 1))[0]?.message).toBe(1);
    await hub.close();
  });

  it('does not wait for ever for an unsubscribe that is never answered', async () => {
    const driver = new FakeDriver();
    const hub = createHub({ driver, connectTimeoutMs: 20 });
    const first = hub.subscribe('a');
    await first.ready;
    driver.onUnsubscribe = () => new Promise(() => {});
    first.close();
    const published = hub.publish('b', 1);
    await expect(hub.subscribe('a').ready).rejects.toMatchObject({ code: 'HUB_UNAVAILABLE' });
    await published;
    await hub.publish('b', 2);
    await hub.close();
  });

  it('unsubscribes also when it was left before the broker had confirmed it', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    await hub.connect();
    const subscription = hub.subscribe('a');
    subscription.close();
    await subscription.ready;
    await settled();
    expect(driver.calls).toEqual(['subscribe a', 'unsubscribe a']);
    await hub.close();
  });

  it('fails all who wait when the broker refuses, and the next one tries anew', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    driver.onSubscribe = async () => {
      throw new MillraceError('HUB_UNAUTHORIZED', 'Not you.');
    };
    const first = hub.subscribe('a');
    const second = hub.subscribe(['a', 'b']);
    await expect(first.ready).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
    await expect(first.next()).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
    await expect(second.consume(() => {})).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
    await first.closed;
    expect(hub.channelCount).toBe(0);
    driver.onSubscribe = async () => {};
    const third = hub.subscribe('a');
    await third.ready;
    await hub.close();
  });

  it('does not raise an unhandled rejection when nobody asks how it went', async () => {
    const driver = new FakeDriver();
    driver.onConnect = async () => {
      throw new Error('no broker');
    };
    const hub = createHub(driver);
    hub.subscribe('a');
    hub.subscribe('a', { after: 'x' });
    await settled();
    await hub.close();
  });

  it('waits for a broker that is away, and subscribes when it is back', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    await hub.connect();
    driver.context?.onStatus('reconnecting');
    const subscription = hub.subscribe('a');
    await settled();
    expect(driver.calls).toEqual([]);
    driver.context?.onStatus('connected');
    await subscription.ready;
    expect(driver.calls).toEqual(['subscribe a']);
    await hub.close();
  });

  it('gives up on a broker that stays away', async () => {
    const driver = new FakeDriver();
    const hub = createHub({ driver, connectTimeoutMs: 20 });
    await hub.connect();
    driver.context?.onStatus('reconnecting');
    await expect(hub.subscribe('a').ready).rejects.toMatchObject({ code: 'HUB_UNAVAILABLE' });
    await hub.close();
  });

  it('throws for targets that cannot be', async () => {
    const hub = createHub({ channelsMax: 2 });
    for (const target of ['', [], [''], { pattern: '' }, { pattern: 7 }, {}, null, undefined, ['a', null]]) {
      expect(() => hub.subscribe(target as string)).toThrow(expect.objectContaining({ code: 'HUB_CHANNEL_INVALID' }));
    }
    expect(() => hub.subscribe(['a', 'b', 'c'])).toThrow(expect.objectContaining({ code: 'HUB_BUSY' }));
    hub.subscribe(['a', 'b']);
    hub.subscribe('a');
    expect(() => hub.subscribe('c')).toThrow(expect.objectContaining({ code: 'HUB_BUSY' }));
    await hub.close();
  });

  it('throws for options that cannot be', async () => {
    const hub = createHub();
    const wrong = [
      ...[Number.NaN, 0, -1, 1.5, Number.POSITIVE_INFINITY, '7', null].map((maxLag) => ({ maxLag })),
      { whenLagging: 'explode' },
      { after: 7 },
      { onGap: true },
      { signal: 'stop' },
    ];
    for (const options of wrong) {
      expect(() => hub.subscribe('a', options as SubscribeOptions)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
      );
    }
    expect(hub.channelCount).toBe(0);
    await hub.close();
  });

  it('keeps a pattern apart from a channel of the same text, and drops what does not match', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    const subscription = hub.subscribe([{ pattern: 'job/*' }]);
    const plain = hub.subscribe('job/*');
    await Promise.all([subscription.ready, plain.ready]);
    expect(hub.channelCount).toBe(2);
    plain.close();
    await settled();
    const again = hub.subscribe([{ pattern: 'job/*' }]);
    await again.ready;
    await hub.close();
  });

  it('refuses patterns where the driver has none', async () => {
    const driver = new FakeDriver();
    Object.assign(driver, { abilities: { ...driver.abilities, patterns: false } });
    const hub = createHub(driver);
    expect(() => hub.subscribe({ pattern: 'a*' })).toThrow(
      expect.objectContaining({ code: 'HUB_PATTERNS_UNSUPPORTED' }),
    );
    await hub.close();
  });

  it('ends by its signal, with its reason', async () => {
    const hub = createHub();
    const controller = new AbortController();
    const subscription = hub.subscribe('a', { signal: controller.signal });
    const waiting = subscription.next();
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await subscription.closed;
    expect(hub.channelCount).toBe(0);
    const late = hub.subscribe('a', { signal: controller.signal });
    await expect(late.next()).rejects.toBe(reason);
    expect(hub.channelCount).toBe(0);
    await hub.close();
  });

  it('ends by break, return, close and dispose', async () => {
    const hub = createHub();
    const first = hub.subscribe('a');
    hub.publish('a', 1);
    for await (const _ of first) break;
    const second = hub.subscribe('a');
    await second.return();
    {
      await using third = hub.subscribe('a');
      await third.ready;
      expect(hub.channelCount).toBe(1);
    }
    expect(hub.channelCount).toBe(0);
    expect(await second.next()).toEqual({ done: true, value: undefined });
    await hub.close();
  });

  it('consumes what is ready in one go, awaits promises, and stops at done', async () => {
    const hub = createHub();
    const subscription = hub.subscribe('a');
    await subscription.ready;
    const seen: unknown[] = [];
    let running = 0;
    const consumed = subscription.consume(async ({ message }) => {
      expect(++running).toBe(1);
      await settled();
      running--;
      seen.push(message);
      return message === 3 ? done : undefined;
    });
    for (const message of [1, 2, 3, 4]) hub.publish('a', message);
    await consumed;
    expect(seen).toEqual([1, 2, 3]);
    expect(hub.channelCount).toBe(0);
    await hub.close();
  });

  it('passes on what the consumer throws, and ends', async () => {
    const hub = createHub();
    const subscription = hub.subscribe('a');
    await subscription.ready;
    const consumed = subscription.consume(() => {
      throw new Error('mine');
    });
    hub.publish('a', 1);
    await expect(consumed).rejects.toThrow('mine');
    expect(hub.channelCount).toBe(0);
    await hub.close();
  });
});

describe('gaps', () => {
  const isGap = (event: HubEvent) => event.gap !== undefined;

  it('are yielded among the messages', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    const subscription = hub.subscribe('a');
    await subscription.ready;
    driver.receive('a', '1');
    driver.sinks.get('a')?.gap({ reason: 'reconnected' });
    driver.receive('a', '2');
    expect(await take(subscription, 3)).toEqual([
      { channel: 'a', message: 1 },
      { channel: 'a', gap: { reason: 'reconnected' } },
      { channel: 'a', message: 2 },
    ]);
    await hub.close();
  });

  it('go to onGap where there is one, in their place among the messages', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    const seen: unknown[] = [];
    const subscription = hub.subscribe('a', { onGap: ({ gap }) => seen.push(gap.reason) });
    const other = hub.subscribe('a', { onGap: ({ gap }) => seen.push(gap.reason) });
    await subscription.ready;
    driver.receive('a', '1');
    driver.sinks.get('a')?.gap({ reason: 'reconnected' });
    driver.receive('a', '2');
    for (const { message } of await take(subscription, 2)) seen.push(message);
    expect(seen).toEqual(['reconnected', 1, 2]);
    seen.length = 0;
    await other.consume(({ message }) => (seen.push(message) === 3 ? done : undefined));
    expect(seen).toEqual([1, 'reconnected', 2]);
    await hub.close();
  });

  it('tell of a message that the codec cannot read', async () => {
    const driver = new FakeDriver();
    const hub = createHub({ driver, codec: textCodec });
    const subscription = hub.subscribe('a');
    await subscription.ready;
    driver.sinks.get('a')?.message('a', new Uint8Array([255]));
    driver.receive('a', 'text');
    expect(await take(subscription, 2)).toEqual([
      { channel: 'a', gap: { reason: 'undecodable', missed: 1, detail: expect.any(String) } },
      { channel: 'a', message: 'text' },
    ]);
    await hub.close();
  });

  it('bound a sleeping subscriber: it is told how many it missed and goes on with the newest', async () => {
    const hub = createHub({ maxLag: 8 });
    const sleeper = hub.subscribe('a');
    const reader = hub.subscribe('a');
    await reader.ready;
    const seen: unknown[] = [];
    reader.consume(({ message }) => {
      seen.push(message);
    });
    for (let at = 0; at < 100; at++) {
      hub.publish('a', at);
      await undefined;
      expect(sleeper.lag).toBeLessThanOrEqual(100);
    }
    await settled();
    expect(seen).toEqual(Array.from({ length: 100 }, (_, at) => at));
    const [gap, ...rest] = await take(sleeper, 1 + (sleeper.lag % 9));
    expect(isGap(gap as HubEvent)).toBe(true);
    const missed = gap?.gap?.missed ?? 0;
    expect(missed).toBeGreaterThan(80);
    hub.publish('a', 100);
    const after = await take(sleeper, 100 - missed - rest.length + 1);
    expect([...rest, ...after].map((event) => event.message)).toEqual(
      Array.from({ length: 101 - missed }, (_, at) => missed + at),
    );
    await hub.close();
  });

  it('bound a consumer that awaits too long', async () => {
    const hub = createHub({ maxLag: 8 });
    const subscription = hub.subscribe(['a', 'b']);
    await subscription.ready;
    const seen: unknown[] = [];
    let wake = () => {};
    subscription.consume((event) => {
      seen.push(event.gap?.reason ?? event.message);
      if (event.message !== 0) return undefined;
      return new Promise<void>((resolve) => {
        wake = resolve;
      });
    });
    for (let at = 0; at < 30; at++) {
      hub.publish('a', at);
      await undefined;
    }
    wake();
    await settled();
    hub.publish('b', 'end');
    await settled();
    // Either channel may have lost messages, so each has its gap.
    expect(seen.slice(0, 3)).toEqual([0, 'lagged', 'lagged']);
    expect(seen.at(-1)).toBe('end');
    await hub.close();
  });

  it('end the subscriber instead where the policy is to disconnect', async () => {
    const hub = createHub({ maxLag: 8 });
    const subscription = hub.subscribe('a', { whenLagging: 'disconnect' });
    await subscription.ready;
    for (let at = 0; at < 10; at++) hub.publish('a', at);
    await expect(subscription.next()).rejects.toMatchObject({ code: 'HUB_LAGGED', details: { missed: 9 } });
    expect(hub.channelCount).toBe(0);
    await hub.close();
  });
});

describe('resuming', () => {
  it('goes on in several channels from one id, once and in order', async () => {
    const hub = createHub(memory({ historyMax: 10 }));
    const first = hub.subscribe(['a', 'b=;%']);
    await first.ready;
    hub.publish('a', 1);
    hub.publish('b=;%', 2);
    const [, last] = await take(first, 2);
    first.close();
    hub.publish('a', 3);
    hub.publish('b=;%', 4);
    const second = hub.subscribe(['b=;%', 'a'], { after: last?.id ?? '' });
    hub.publish('a', 5);
    const events = await take(second, 3);
    expect(events.map((event) => [event.channel, event.message]).sort()).toEqual([
      ['a', 3],
      ['a', 5],
      ['b=;%', 4],
    ]);
    const third = hub.subscribe(['a', 'b=;%'], { after: events.at(-1)?.id ?? '' });
    hub.publish('b=;%', 6);
    expect((await take(third, 1)).map((event) => event.message)).toEqual([6]);
    await hub.close();
  });

  it('does not give again what the subscriber had, where the live events begin before it', async () => {
    const hub = createHub(memory({ historyMax: 10 }));
    const other = hub.subscribe('a');
    await other.ready;
    const second = hub.subscribe('a', { after: other.position ?? '' });
    hub.publish('a', 1);
    const [event] = await take(other, 1);
    const third = hub.subscribe('a', { after: event?.id ?? '' });
    hub.publish('a', 2);
    expect((await take(second, 2)).map(({ message }) => message)).toEqual([1, 2]);
    expect((await take(third, 1)).map(({ message }) => message)).toEqual([2]);
    const late = hub.subscribe('a', { after: `${event?.id}` });
    hub.publish('a', 3);
    expect((await take(late, 2)).map(({ message }) => message)).toEqual([2, 3]);
    await hub.close();
  });

  it('gives no message again when the history has nothing that is newer', async () => {
    const driver = new ReplayingDriver();
    const hub = createHub(driver);
    const first = hub.subscribe('a');
    await first.ready;
    // It had message 5 by another server, before this one got it.
    const second = hub.subscribe('a', { after: '5' });
    await second.ready;
    driver.sinks.get('a')?.message('a', Buffer.from('5'), '5');
    driver.sinks.get('a')?.message('a', Buffer.from('6'), '6');
    expect((await take(second, 1)).map(({ message }) => message)).toEqual([6]);
    await hub.close();
  });

  it('has ids that never go back, also where one channel was replayed further than its live events are', async () => {
    const driver = new ReplayingDriver();
    driver.history.b = ['7', '8'];
    const hub = createHub(driver);
    const other = hub.subscribe(['a', 'b']);
    await other.ready;
    driver.sinks.get('a')?.message('a', Buffer.from('"start"'), '1');
    driver.sinks.get('b')?.message('b', Buffer.from('"start"'), '6');
    const [, start] = await take(other, 2);
    const second = hub.subscribe(['a', 'b'], { after: start?.id ?? '' });
    const replayed = await take(second, 2);
    driver.sinks.get('a')?.message('a', Buffer.from('2'), '2');
    driver.sinks.get('b')?.message('b', Buffer.from('7'), '7');
    driver.sinks.get('b')?.message('b', Buffer.from('8'), '8');
    driver.sinks.get('b')?.message('b', Buffer.from('9'), '9');
    const live = await take(second, 2);
    expect([...replayed, ...live].map(({ message }) => message)).toEqual([7, 8, 2, 9]);
    const [a, b] = (start?.id ?? '').split(';').map((part) => part.split('=')[0]);
    expect([...replayed, ...live].map(({ id }) => id)).toEqual([
      `${a}=1;${b}=7`,
      `${a}=1;${b}=8`,
      `${a}=2;${b}=8`,
      `${a}=2;${b}=9`,
    ]);
    await hub.close();
  });

  it('keeps no more of the history than maxLag and the limit of bytes allow, and tells of a gap', async () => {
    const driver = new ReplayingDriver();
    driver.history.a = Array.from({ length: 100 }, (_, at) => String(100 + at));
    const hub = createHub(driver);
    const few = hub.subscribe('a', { after: '0', maxLag: 10 });
    const events = await take(few, 11);
    expect(events.slice(0, 10).map(({ message }) => message)).toEqual(Array.from({ length: 10 }, (_, at) => 100 + at));
    expect(events[10]?.gap?.reason).toBe('history');
    driver.padding = 1024 * 1024;
    const large = hub.subscribe('a', { after: '0' });
    await large.ready;
    while ((await large.next()).value?.gap === undefined) expect(large.lag).toBeLessThan(20);
    await hub.close();
  });

  it('begins where `position` says for a subscriber that read nothing', async () => {
    const hub = createHub(memory({ historyMax: 10 }));
    await hub.publish('a', 0);
    const first = hub.subscribe('a');
    const pair = hub.subscribe(['a', 'b']);
    expect(first.position).toBeUndefined();
    await Promise.all([first.ready, pair.ready]);
    await hub.publish('a', 1);
    const later = hub.subscribe('a');
    await later.ready;
    for (const each of [first, pair, later]) each.close();
    await hub.publish('a', 2);
    const back = hub.subscribe('a', { after: first.position ?? '' });
    const pairBack = hub.subscribe(['b', 'a'], { after: pair.position ?? '' });
    const laterBack = hub.subscribe('a', { after: later.position ?? '' });
    expect((await take(back, 2)).map(({ message }) => message)).toEqual([1, 2]);
    expect((await take(pairBack, 2)).map(({ message }) => message)).toEqual([1, 2]);
    expect((await take(laterBack, 1)).map(({ message }) => message)).toEqual([2]);
    await hub.close();
  });

  it('gives nothing after it was closed while it read the history', async () => {
    const driver = new ReplayingDriver();
    driver.history.a = ['1', '2'];
    const hub = createHub(driver);
    await hub.connect();
    const subscription = hub.subscribe('a', { after: '0' });
    await subscription.ready;
    subscription.close();
    await settled();
    expect(subscription.lag).toBe(0);
    expect(await subscription.next()).toEqual({ done: true, value: undefined });
    await hub.close();
  });

  it('tells of a gap when the history is shorter than what was missed', async () => {
    const hub = createHub(memory({ historyMax: 3 }));
    const first = hub.subscribe('a');
    await first.ready;
    hub.publish('a', 0);
    const [event] = await take(first, 1);
    for (let at = 1; at < 10; at++) hub.publish('a', at);
    const second = hub.subscribe('a', { after: event?.id ?? '' });
    await second.ready;
    hub.publish('a', 'live');
    const [gap, live] = await take(second, 2);
    expect(gap?.gap?.reason).toBe('history');
    expect(live?.message).toBe('live');
    await hub.close();
  });

  it('tells of a gap where nothing is kept, and for an id of another run', async () => {
    for (const hub of [createHub(), createHub('memory:?history=10'), createHub(new FakeDriver())]) {
      const subscription = hub.subscribe('a', { after: 'mk3x-00000000001' });
      expect((await take(subscription, 1))[0]?.gap?.reason).toBe('history');
      await hub.close();
    }
  });

  it('forgets the channel that was longest unused when there are too many', async () => {
    const hub = createHub(memory({ historyMax: 2, historyChannelsMax: 2 }));
    const subscription = hub.subscribe('a');
    await subscription.ready;
    hub.publish('a', 1);
    const [event] = await take(subscription, 1);
    for (const channel of ['b', 'c', 'd']) hub.publish(channel, 1);
    const again = hub.subscribe('a', { after: event?.id ?? '' });
    expect((await take(again, 1))[0]?.gap?.reason).toBe('history');
    await hub.close();
  });
});

describe('close', () => {
  it('lets subscribers read what is there, then ends them', async () => {
    const hub = createHub();
    const subscription = hub.subscribe('a');
    await subscription.ready;
    hub.publish('a', 1);
    await hub.close();
    expect(await take(subscription, 5)).toEqual([{ channel: 'a', message: 1 }]);
    await subscription.closed;
  });

  it('refuses all that comes after it', async () => {
    const hub = createHub();
    const closing = hub.close();
    expect(hub.close()).toBe(closing);
    await expect(hub.publish('a', 1)).rejects.toMatchObject({ code: 'HUB_CLOSED' });
    expect(() => hub.subscribe('a')).toThrow(expect.objectContaining({ code: 'HUB_CLOSED' }));
    await expect(hub.connect()).rejects.toMatchObject({ code: 'HUB_CLOSED' });
    await closing;
    expect(hub.status).toBe('closed');
  });

  it('ends a connection that comes too late', async () => {
    const driver = new FakeDriver();
    let connected = () => {};
    driver.onConnect = () =>
      new Promise((resolve) => {
        connected = resolve;
      });
    const hub = createHub(driver);
    const subscription = hub.subscribe('a');
    const published = hub.publish('a', 1);
    published.catch(() => {});
    await settled();
    await hub.close();
    await expect(published).rejects.toMatchObject({ code: 'HUB_CLOSED' });
    await expect(subscription.ready).rejects.toMatchObject({ code: 'HUB_CLOSED' });
    connected();
    await settled();
    expect(driver.calls).toEqual(['close']);
  });

  it('works with await using', async () => {
    const driver = new FakeDriver();
    {
      await using hub = createHub(driver);
      await hub.connect();
    }
    expect(driver.calls).toEqual(['close']);
  });
});

describe('codecs', () => {
  it('keep bytes as bytes', async () => {
    const driver = new FakeDriver();
    const hub = createHub({ driver, codec: bytesCodec });
    await hub.publish('a', new Uint8Array([49]));
    await expect(hub.publish('a', { json: true })).rejects.toMatchObject({ code: 'HUB_MESSAGE_INVALID' });
    const subscription = hub.subscribe('a');
    await subscription.ready;
    driver.receive('a', '1');
    expect((await take(subscription, 1))[0]?.message).toEqual(new Uint8Array([49]));
    await hub.close();
  });

  it('may be your own', async () => {
    const driver = new FakeDriver();
    const codec = {
      encode: (message: unknown) => Buffer.from(String(message).toUpperCase()),
      decode: (bytes: Uint8Array) => Buffer.from(bytes).toString().toLowerCase(),
    };
    const hub = createHub({ driver, codec });
    const subscription = hub.subscribe('a');
    await subscription.ready;
    await hub.publish('a', 'loud');
    expect(driver.published).toEqual([['a', 'LOUD']]);
    driver.receive('a', 'QUIET');
    expect((await take(subscription, 1))[0]?.message).toBe('quiet');
    await hub.close();
  });

  it('give what is not JSON as bytes', async () => {
    const driver = new FakeDriver();
    const hub = createHub(driver);
    const subscription = hub.subscribe('a');
    await subscription.ready;
    driver.receive('a', 'not json');
    driver.sinks.get('a')?.message('a', Buffer.from([0xff, 0x31]));
    expect((await take(subscription, 2)).map((event) => event.message)).toEqual([
      new Uint8Array(Buffer.from('not json')),
      new Uint8Array([0xff, 0x31]),
    ]);
    await hub.close();
  });
});
