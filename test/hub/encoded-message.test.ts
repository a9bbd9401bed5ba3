import { expect, expectTypeOf, it } from 'vitest';
import { memory } from '../../src/hub/drivers/memory.js';
import { type AnyHub, bytesCodec, createHub, EncodedMessage, encodedMessageOf } from '../../src/hub/index.js';
import { FakeDriver } from './fake-driver.js';

const TEXT = '{"id":3791411052119578828, "price":1.10,"far":1e400}';
const textOf = (message: EncodedMessage | undefined) => Buffer.from(message?.bytes ?? []).toString();

it('goes to a broker as it is written, and comes from one so', async () => {
  const driver = new FakeDriver();
  const hub = createHub(driver);
  const subscription = hub.subscribe('a');
  await subscription.ready;
  await hub.publish('a', EncodedMessage.json(TEXT));
  expect(driver.published).toEqual([['a', TEXT]]);
  driver.receive('a', TEXT);
  const { value } = await subscription.next();
  expect(textOf(encodedMessageOf(value as never))).toBe(TEXT);
  await hub.close();
});

it('is a message like any other for whoever asks for its value', async () => {
  const driver = new FakeDriver();
  const hub = createHub(driver);
  const [one, two] = [hub.subscribe('a'), hub.subscribe('a')];
  await one.ready;
  driver.receive('a', TEXT);
  const events = [(await one.next()).value, (await two.next()).value];
  expect({ ...events[0] }).toEqual({ channel: 'a', message: JSON.parse(TEXT) });
  expect(JSON.parse(JSON.stringify(events[0]))).toEqual({
    channel: 'a',
    message: JSON.parse(JSON.stringify(JSON.parse(TEXT))),
  });
  expect(structuredClone(events[0])).toEqual({ channel: 'a', message: JSON.parse(TEXT) });
  expect(events[0]?.message).toBe(events[1]?.message);
  await hub.close();
});

it('is not read before somebody asks', async () => {
  const driver = new FakeDriver();
  const hub = createHub(driver);
  const subscription = hub.subscribe(['a', { pattern: 'b*' }]);
  await subscription.ready;
  const { parse } = JSON;
  let parsed = 0;
  JSON.parse = (...args: Parameters<typeof parse>) => {
    parsed++;
    return parse(...args);
  };
  try {
    driver.receive('a', '[1]');
    driver.receive('b1', '[2]', 'b*');
    const first = (await subscription.next()).value;
    const second = (await subscription.next()).value;
    expect(textOf(encodedMessageOf(first as never)) + textOf(encodedMessageOf(second as never))).toBe('[1][2]');
    expect(parsed).toBe(0);
    expect([second?.message, second?.message, second?.pattern]).toEqual([[2], [2], 'b*']);
    expect(parsed).toBe(1);
  } finally {
    JSON.parse = parse;
  }
  await hub.close();
});

it('is in memory the value for programs, and the text for those who pass it on, live and from the history', async () => {
  for (const historyMax of [0, 10]) {
    const hub = createHub<{ chat: { id: number } }>(memory({ historyMax }));
    const subscription = hub.subscribe('chat');
    const byPattern = hub.subscribe({ pattern: 'ch*' });
    await Promise.all([subscription.ready, byPattern.ready]);
    const after = subscription.position;
    await hub.publish('chat', EncodedMessage.json(TEXT));
    const events = [(await subscription.next()).value, (await byPattern.next()).value];
    if (historyMax > 0) events.push((await hub.subscribe('chat', { after: after as string }).next()).value);
    for (const event of events) {
      expect(textOf(encodedMessageOf(event as never))).toBe(TEXT);
      expect(event?.message).toEqual(JSON.parse(TEXT));
    }
    await hub.close();
  }
});

it('bytes that are published as such are never taken for JSON in memory', async () => {
  const hub = createHub(memory({ historyMax: 10 }));
  const subscription = hub.subscribe('a');
  await subscription.ready;
  const after = subscription.position as string;
  const bytes = new Uint8Array([0x31]);
  await hub.publish('a', bytes);
  await hub.publish('a', new EncodedMessage(bytes, 'binary'));
  bytes[0] = 0x32;
  // Live it is the very value; the history has what was published.
  expect((await subscription.next()).value?.message).toBe(bytes);
  const replayed = hub.subscribe('a', { after });
  expect((await replayed.next()).value?.message).toEqual(new Uint8Array([0x31]));
  await hub.close();
});

it('a hub with another codec gets the value, and refuses what the codec refuses', async () => {
  const driver = new FakeDriver();
  const hub = createHub({ driver, codec: bytesCodec });
  await hub.publish('a', new EncodedMessage(Buffer.from('x'), 'binary'));
  expect(driver.published).toEqual([['a', 'x']]);
  await expect(hub.publish('a', EncodedMessage.json('1'))).rejects.toMatchObject({ code: 'HUB_MESSAGE_INVALID' });
  await hub.close();
});

it('counts for the limit of a message', async () => {
  const hub = createHub(new FakeDriver());
  const long = EncodedMessage.json(JSON.stringify('x'.repeat(2000)));
  await expect(hub.publish('a', long)).rejects.toMatchObject({ code: 'HUB_MESSAGE_TOO_LARGE' });
  await hub.close();
});

it.each(['', '{', '01', '{"a":1}x', '\ufeff1'])('is not made of %j, which is no JSON', (text) => {
  expect(() => EncodedMessage.json(text)).toThrow(expect.objectContaining({ code: 'INVALID_JSON' }));
});

it('a message may be published to typed channels as text, and any hub is an AnyHub', async () => {
  const hub = createHub<{ chat: { text: string } }>();
  await hub.publish('chat', EncodedMessage.json('{"text":"hi"}'));
  // @ts-expect-error: not a message of this channel
  await hub.publish('chat', 'hi');
  expectTypeOf(hub).toExtend<AnyHub>();
  expectTypeOf(createHub()).toExtend<AnyHub>();
  await hub.close();
});
