import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask, begin, problemOf, serve, type TestServer } from './test-server.js';
import { open, tryOpen } from './test-socket.js';

let server: TestServer;
beforeEach(async () => {
  server = await serve({ limits: { longPollTimeoutMs: 50 } });
});
afterEach(() => server.close());

const text = { 'content-type': 'text/plain' };
const put = (path: string, body: string, headers: Record<string, string> = {}) =>
  ask(server, 'PUT', path, { headers: { ...text, ...headers }, body });
const tokenOf = async (path: string) => (await ask(server, 'HEAD', path)).headers['stream-next-offset'] as string;

/** The token of a stream that was deleted; a longer one is at its path now. */
async function oldToken(path: string): Promise<string> {
  const token = (await put(path, 'old')).headers['stream-next-offset'] as string;
  await ask(server, 'DELETE', path);
  await put(path, 'quite another one');
  return token;
}

/** Every way to give a token back, and the code that it is answered with; undefined where it is taken. */
const doors: Readonly<Record<string, (path: string, token: string) => Promise<string | undefined>>> = {
  'offset=': async (path, token) => codeOf(await ask(server, 'GET', `${path}?offset=${token}`)),
  'live=long-poll': async (path, token) => codeOf(await ask(server, 'GET', `${path}?live=long-poll&offset=${token}`)),
  'live=sse': (path, token) => codeOfLive(`${path}?live=sse&offset=${token}`),
  'Last-Event-ID': (path, token) => codeOfLive(`${path}?live=sse`, { 'Last-Event-ID': token }),
  'live=raw': (path, token) => codeOfLive(`${path}?live=raw&offset=${token}`),
  'verb=follow, without an appender': async (path, token) =>
    codeOf(await ask(server, 'GET', `${path}?verb=follow&offset=${token}`)),
  'verb=follow, with an appender': async (path, token) => {
    const session = await server.store.acquire(path.slice(1));
    const code = await codeOfLive(`${path}?verb=follow&offset=${token}`);
    await session.release();
    return code;
  },
  'live=ws': (path, token) => codeOfSocket(`${path}?live=ws&offset=${token}`),
  'verb=follow over WebSocket': (path, token) => codeOfSocket(`${path}?verb=follow&offset=${token}`),
  'live=ws without the upgrade, as browsers ask for the reason': async (path, token) => {
    const code = codeOf(await ask(server, 'GET', `${path}?live=ws&offset=${token}`));
    return code === 'UPGRADE_REQUIRED' ? undefined : code;
  },
  'Stream-Fork-Offset': async (path, token) =>
    codeOf(await put('/fork', '', { 'stream-forked-from': path, 'stream-fork-offset': token })),
  'the acks of a subscription': async (path, token) => {
    const subscription = (action: string, method: string, body: object, bearer?: string) =>
      ask(server, method, `/__ds/subscriptions/s${action}`, {
        headers: { 'content-type': 'application/json', ...(bearer && { authorization: `Bearer ${bearer}` }) },
        body: JSON.stringify(body),
      });
    await put('/wakes', '');
    await subscription('', 'PUT', { type: 'pull-wake', streams: [path.slice(1)], wake_stream: 'wakes' });
    const before = await tokenOf(path);
    await ask(server, 'POST', path, { headers: text, body: '!' });
    let claim = await subscription('/claim', 'POST', { worker: 'w' });
    while (claim.status === 409) claim = await subscription('/claim', 'POST', { worker: 'w' });
    const { wake_id, generation, token: bearer, streams } = JSON.parse(claim.text);
    // What it is told is a token of the stream.
    expect(streams).toMatchObject([{ acked_offset: before, tail_offset: await tokenOf(path) }]);
    // An ack cannot go back, so the token is asked for at the place that is acked already.
    const ack = { stream: path.slice(1), offset: `${before.slice(0, 16)}${token.slice(16)}` };
    const answer = await subscription('/ack', 'POST', { wake_id, generation, acks: [ack] }, bearer);
    return answer.status === 200 ? undefined : (JSON.parse(answer.text).error.code as string);
  },
};

function codeOf(answer: Awaited<ReturnType<typeof ask>>): string | undefined {
  return answer.status < 300 ? undefined : problemOf(answer);
}

/** Of a response that may never end. */
async function codeOfLive(path: string, headers: Record<string, string> = {}): Promise<string | undefined> {
  const res = await begin(server, 'GET', path, headers);
  if (res.statusCode === 200) {
    res.destroy();
    return undefined;
  }
  const pieces: Buffer[] = [];
  for await (const piece of res) pieces.push(piece as Buffer);
  return JSON.parse(Buffer.concat(pieces).toString()).code as string;
}

async function codeOfSocket(path: string): Promise<string | undefined> {
  const outcome = await tryOpen(server, path);
  if ('status' in outcome) return codeOf(outcome);
  outcome.ws.terminate();
  return undefined;
}

describe('a token', () => {
  describe.each(Object.entries(doors))('given back by %s', (_, door) => {
    it('is refused where it is of a stream that was deleted', async () => {
      expect(await door('/a', await oldToken('/a'))).toBe('OFFSET_OF_ANOTHER_STREAM');
    });

    it('is taken where it is of the stream itself', async () => {
      await put('/a', 'abc');
      expect(await door('/a', await tokenOf('/a'))).toBeUndefined();
    });

    it('is taken where it names no stream', async () => {
      await put('/a', 'abc');
      expect(await door('/a', '0000000000000003')).toBeUndefined();
    });

    it('is taken by a fork where it is of its source, before the place where they part', async () => {
      await put('/source', 'abc');
      const shared = await tokenOf('/source');
      await put('/a', '', { 'stream-forked-from': '/source' });
      expect(await door('/a', shared)).toBeUndefined();
    });
  });

  it('of a source is refused by a fork beyond the place where they part', async () => {
    const shared = (await put('/source', 'abc')).headers['stream-next-offset'] as string;
    await put('/fork', 'def', { 'stream-forked-from': '/source' });
    await ask(server, 'POST', '/source', { headers: text, body: 'xyz' });
    const beyond = await tokenOf('/source');
    await ask(server, 'DELETE', '/source');
    expect((await ask(server, 'GET', `/fork?offset=${shared}`)).text).toBe('def');
    expect(problemOf(await ask(server, 'GET', `/fork?offset=${beyond}`))).toBe('OFFSET_OF_ANOTHER_STREAM');
  });

  it('is refused with 410 and a way out, whether the new stream is longer or shorter', async () => {
    const token = await oldToken('/a');
    await put('/b', 'a long stream, long before');
    const longer = await tokenOf('/b');
    for (const other of [token, longer]) {
      const answer = await ask(server, 'GET', `/a?offset=${other}`);
      expect(answer.status).toBe(410);
      expect(JSON.parse(answer.text)).toMatchObject({
        code: 'OFFSET_OF_ANOTHER_STREAM',
        detail: expect.stringContaining('offset=-1'),
      });
    }
  });

  it('is the same whatever way it is got', async () => {
    const token = (await put('/a', 'abc')).headers['stream-next-offset'];
    for (const path of ['/a', '/a?offset=-1', '/a?offset=now', `/a?offset=${token}`]) {
      expect((await ask(server, 'GET', path)).headers['stream-next-offset'], path).toBe(token);
    }
    expect((await ask(server, 'GET', '/a', { headers: { range: 'bytes=0-1' } })).headers['stream-next-offset']).toBe(
      `0000000000000002${token?.slice(16)}`,
    );
    const live = await open(server, '/a?live=ws&offset=now');
    expect(await live.nextJson()).toMatchObject({ streamNextOffset: token });
    live.ws.terminate();
    const appender = await open(server, '/a?verb=append', { protocols: ['millrace.append.v1'] });
    expect(await appender.nextJson()).toMatchObject({ offset: token });
    appender.ws.close();
    await appender.closed;
    const upload = await ask(server, 'PUT', '/a?verb=append', { body: '' });
    expect(upload.headers['stream-next-offset']).toBe(token);
    const closed = await ask(server, 'POST', '/a', { headers: { 'stream-closed': 'true' } });
    expect(closed.headers['stream-next-offset']).toBe(token);
    const refused = await ask(server, 'POST', '/a', { headers: text, body: 'x' });
    expect([refused.headers['stream-next-offset'], JSON.parse(refused.text).nextOffset]).toEqual([token, token]);
    expect((await ask(server, 'GET', `/a?live=long-poll&offset=${token}`)).headers['stream-next-offset']).toBe(token);
    expect((await ask(server, 'GET', '/a?live=sse&offset=-1')).text).toContain(`"streamNextOffset":"${token}"`);
    await put('/wakes', '');
    for (const streams of [{ streams: ['a'] }, { pattern: 'a' }]) {
      const subscription = { type: 'pull-wake', wake_stream: 'wakes', ...streams };
      const path = `/__ds/subscriptions/${Object.keys(streams)}`;
      const headers = { 'content-type': 'application/json' };
      const made = await ask(server, 'PUT', path, { headers, body: JSON.stringify(subscription) });
      expect(JSON.parse(made.text).streams).toMatchObject([{ path: 'a', acked_offset: token }]);
    }
  });
});
