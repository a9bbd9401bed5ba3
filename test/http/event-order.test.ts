import { Buffer } from 'node:buffer';
import { expect, it } from 'vitest';
import { MillraceError } from '../../src/errors.js';
import { readOrder } from '../../src/http/event-order.js';

const read = (text: string) => readOrder(Buffer.from(text));
const textOf = (message: { readonly bytes: Uint8Array }) => Buffer.from(message.bytes).toString();

async function published(text: string): Promise<{ readonly bytes: Uint8Array; readonly form: string }> {
  const { order } = await read(text);
  if (order instanceof MillraceError || order.op !== 'publish') throw new Error(`no publish: ${JSON.stringify(order)}`);
  return order.message;
}

it('keeps the text of the message and of the ref', async () => {
  const message = '{ "id":3791411052119578828,\n"far":1e400 }';
  const order = await read(
    `{"ref":12345678901234567890 ,"op":"publish","channels":["a","b"], "message" : ${message} }`,
  );
  expect(order).toMatchObject({ ref: '12345678901234567890', order: { op: 'publish', channels: ['a', 'b'] } });
  expect(textOf((order.order as never as { message: { bytes: Uint8Array } }).message)).toBe(message);
});

it('reads names however they are written, and what is said last', async () => {
  const order = '{"o\\u0070":"publish","channels":["a"],"message":1,"m\\u0065ssage":{"message":2},"other":[{}]}';
  expect(textOf(await published(order))).toBe('{"message":2}');
});

it('keeps no more of a frame than the message', async () => {
  const { bytes } = await published(`{"op":"publish","channels":["a"],"message":7,"pad":"${'x'.repeat(50_000)}"}`);
  expect(bytes.buffer.byteLength).toBe(1);
});

it.each([
  ['', 0],
  ['QQ==', 1],
  ['QQ', 1],
  ['QUI=', 2],
  ['QUJD', 3],
  ['\\/\\/\\/\\/', 3],
  ['////', 3],
  [Buffer.alloc(300_000, 7).toString('base64'), 300_000],
  [Buffer.alloc(300_001, 7).toString('base64'), 300_001],
])('reads base64 (case %#)', async (base64, length) => {
  const message = await published(`{"op":"publish","channels":["a"],"base64":"${base64}"}`);
  expect(message.form).toBe('binary');
  expect(Buffer.from(message.bytes).equals(Buffer.from(base64.replaceAll('\\', ''), 'base64'))).toBe(true);
  expect(message.bytes.length).toBe(length);
});

const long = Buffer.alloc(150_000, 7).toString('base64');

it.each([
  '"?"',
  '"A"',
  '"QQ=A"',
  '"QQ-_"',
  '"QQ QQ"',
  '"QQ\\n"',
  '17',
  'null',
  '["QQ=="]',
  `"${long.slice(0, 100_000)}?${long.slice(100_001)}"`,
])('refuses what is no base64 (case %#)', async (json) => {
  const { order, ref } = await read(`{"op":"publish","channels":["a"],"base64":${json},"ref":1}`);
  expect(order).toMatchObject({ code: 'INVALID_REQUEST', message: 'base64 must be base64.' });
  expect(ref).toBe('1');
});

it('has a limit for everything but the message', async () => {
  const many = `[${'"a",'.repeat(100_000)}"a"]`;
  for (const [name, json] of [
    ['channels', many],
    ['patterns', many],
    ['after', `{"a":"${'x'.repeat(300_000)}"}`],
  ]) {
    const { order } = await read(`{"op":"subscribe","channels":["a"],"${name}":${json}}`);
    expect(order).toMatchObject({ code: 'INVALID_REQUEST', message: expect.stringContaining(`${name} may have`) });
  }
  const { order } = await read(`{"op":"subscribe","channels":["a"],"ref":"${'x'.repeat(2000)}"}`);
  expect(order).toMatchObject({ message: 'ref may have 1024 bytes.' });
});

it('allows a message as many levels as JSON may have, and no more', async () => {
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
  expect((await published(`{"op":"publish","channels":["a"],"message":${nested(1000)}}`)).bytes.length).toBe(2000);
  const { order } = await read(`{"op":"publish","channels":["a"],"message":${nested(1001)}}`);
  expect(order).toMatchObject({ code: 'INVALID_REQUEST' });
});
