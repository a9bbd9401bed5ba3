import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { postWebhook, WEBHOOK_RESPONSE_BYTES_MAX } from '../../src/subscriptions/webhook.js';
import { isLoopbackAddress, isPublicAddress } from '../../src/subscriptions/webhook-url.js';
import { countedSignal } from '../event-stream/readers.js';
import { collectGarbage } from '../garbage-collector.js';

const closing: (() => void)[] = [];

afterEach(() => {
  for (const close of closing.splice(0)) close();
});

async function listen(listener: RequestListener): Promise<number> {
  const server = createServer(listener);
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

const post = (url: string, allows: (address: string) => boolean = isLoopbackAddress, timeoutMs = 5000) =>
  postWebhook({
    target: { url: new URL(url), allows },
    body: '{"a":"é"}',
    headers: { 'Webhook-Signature': 's' },
    timeoutMs,
    signal: new AbortController().signal,
  });

describe('postWebhook', () => {
  test('sends the body and its signature, and gives the answer', async () => {
    let seen: unknown;
    const port = await listen((req, res) => {
      req.on('data', (data: Buffer) => {
        seen = [req.method, req.url, req.headers['webhook-signature'], req.headers['content-type'], data.toString()];
      });
      req.on('end', () => res.writeHead(202).end('ok'));
    });
    expect(await post(`http://127.0.0.1:${port}/hook?x=1`)).toEqual({ status: 202, body: 'ok' });
    expect(seen).toEqual(['POST', '/hook?x=1', 's', 'application/json', '{"a":"é"}']);
  });

  test('does not call a name that resolves to an address it may not call', async () => {
    let called = false;
    const port = await listen((_req, res) => {
      called = true;
      res.end();
    });
    const refusal = expect.objectContaining({ code: 'WEBHOOK_URL_REJECTED' });
    await expect(post(`http://localhost:${port}/`, isPublicAddress)).rejects.toEqual(refusal);
    await expect(post(`http://127.0.0.1:${port}/`, isPublicAddress)).rejects.toEqual(refusal);
    await expect(post(`http://[::1]:${port}/`, isPublicAddress)).rejects.toEqual(refusal);
    expect(called).toBe(false);
    expect((await post(`http://localhost:${port}/`)).status).toBe(200);
  });

  test('does not go where it is redirected', async () => {
    const paths: unknown[] = [];
    const port = await listen((req, res) => {
      paths.push(req.url);
      res.writeHead(307, { Location: '/elsewhere' }).end();
    });
    expect((await post(`http://127.0.0.1:${port}/hook`)).status).toBe(307);
    expect(paths).toEqual(['/hook']);
  });

  test('reads no more of an answer than it needs', async () => {
    const port = await listen((_req, res) => {
      const more = () => {
        while (!res.destroyed && res.write('x'.repeat(10_000)));
      };
      res.on('drain', more);
      more();
    });
    const { status, body } = await post(`http://127.0.0.1:${port}/`);
    expect(status).toBe(200);
    expect(body.length).toBeLessThanOrEqual(WEBHOOK_RESPONSE_BYTES_MAX);
  });

  test('does not wait for ever, before an answer or in it', async () => {
    const silent = await listen(() => {});
    const endless = await listen((_req, res) => res.write('{'));
    await expect(post(`http://127.0.0.1:${silent}/`, isLoopbackAddress, 100)).rejects.toThrow();
    await expect(post(`http://127.0.0.1:${endless}/`, isLoopbackAddress, 100)).rejects.toThrow();
  });

  test('keeps its time limit through a garbage collection, before an answer or in it', async () => {
    const connected: ServerResponse[] = [];
    const silent = await listen((_req, res) => connected.push(res));
    const endless = await listen((_req, res) => {
      res.write('{');
      connected.push(res);
    });
    const posts = [silent, endless].map((port) => post(`http://127.0.0.1:${port}/`, isLoopbackAddress, 1000));
    const outcomes = Promise.allSettled(posts);
    await expect.poll(() => connected.length).toBe(2);
    await collectGarbage();
    const late = { status: 'rejected', reason: expect.objectContaining({ name: 'AbortError' }) };
    expect(await outcomes).toEqual([late, late]);
  });

  test('leaves nothing behind on a signal that outlives it', async () => {
    const { signal, listeners } = countedSignal();
    const port = await listen((_req, res) => res.end());
    const target = { url: new URL(`http://127.0.0.1:${port}/`), allows: isLoopbackAddress };
    await postWebhook({ target, body: '', headers: {}, timeoutMs: 5000, signal });
    expect(listeners()).toBe(0);
  });
});
