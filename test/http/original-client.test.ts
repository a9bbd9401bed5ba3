import { Buffer } from 'node:buffer';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { originalText } from '../../src/http/original-client.js';
import { serve, type TestServer, until } from './test-server.js';
import { open } from './test-socket.js';

const ORIGINAL = { headers: { 'X-Verb': 'FOLLOW' } };
/** The read buffer of the original client; what is beyond it when a message is read gets lost. */
const CLIENT_BUFFER_BYTES = 10 * 1024;
/** The smallest buffer that Go's programs read into (`io.ReadAll` begins with it): what it cannot take gets lost, too. */
const CALLER_BUFFER_BYTES = 512;

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

describe('a follower with the original client', () => {
  it('gets everything in small text messages, which never split a character', async () => {
    const text = '€uro and 😀 '.repeat(20_000);
    const session = await server.store.acquire('foo.txt', { create: {} });
    await session.append(Buffer.from(text));
    const follower = await open(server, '/foo.txt', ORIGINAL);
    await follower.has(Buffer.byteLength(text));
    await session.append(Buffer.from('live'));
    await session.release();
    expect((await follower.closed).code).toBe(1000);
    expect(follower.text).toBe(`${text}live`);
    for (const { data, isBinary } of follower.messages) {
      expect(isBinary).toBe(false);
      expect(data.length).toBeLessThanOrEqual(CALLER_BUFFER_BYTES);
      expect(data.toString()).not.toContain('\ufffd');
    }
  });

  it('never has more on its way to it than its buffer holds', async () => {
    const session = await server.store.acquire('foo.txt', { create: {} });
    await session.append(Buffer.alloc(100_000, 'x'));
    const follower = await open(server, '/foo.txt', { ...ORIGINAL, autoPong: false });
    const wire = () => follower.messages.reduce((sum, { data }) => sum + data.length + 4, 0);
    // It goes as far as it goes without an answer.
    for (let before = -1; wire() === 0 || wire() > before; ) {
      before = wire();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(wire()).toBeLessThan(CLIENT_BUFFER_BYTES);
    expect(follower.pings.length).toBe(1);
    // Each answer lets it go on by no more than that.
    while (follower.text.length < 100_000) {
      const read = wire();
      follower.ws.pong(follower.pings.at(-1));
      await until(() => wire() > read || follower.text.length === 100_000);
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(wire() - read).toBeLessThan(CLIENT_BUFFER_BYTES);
    }
    await session.release();
    expect((await follower.closed).code).toBe(1000);
  });

  it('is not ended before it has everything', async () => {
    const session = await server.store.acquire('foo.txt', { create: {} });
    const follower = await open(server, '/foo.txt', ORIGINAL);
    for (let i = 0; i < 50; i++) await session.append(Buffer.alloc(3000, `${i % 10}`));
    await session.release();
    expect((await follower.closed).code).toBe(1000);
    expect(follower.text.length).toBe(150_000);
  });
});

describe('originalText', () => {
  const after = { streamId: 'abcdefghijklmnop', offset: 0, upToDate: true, closed: false };

  it('sends nothing for nothing, and one frame for little', () => {
    expect(originalText.encode(Buffer.alloc(0), after).length).toBe(0);
    expect([...originalText.encode(Buffer.from('hi'), after)]).toEqual([0x81, 2, 0x68, 0x69]);
  });

  it('cuts bytes that are no text as well', () => {
    const data = Buffer.alloc(5000, 0xe2);
    const frames = originalText.encode(data, after);
    let bytes = 0;
    for (let at = 0; at < frames.length; ) {
      expect(frames[at]).toBe(0x81);
      const length = ((frames[at + 2] as number) << 8) | (frames[at + 3] as number);
      bytes += length;
      at += 4 + length;
    }
    expect(bytes).toBe(5000);
  });
});
