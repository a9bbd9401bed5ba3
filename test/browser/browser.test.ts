import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type RunningServer, startServer } from '../../src/server/index.js';
import { type BrowserGlobals, findChromium, launchChromium, servePackage } from './chromium.js';

const found = findChromium();
if ('missing' in found) {
  if (process.env.MILLRACE_REQUIRE_BROWSER === '1') throw new Error(found.missing);
  console.warn(`Skipping the browser tests. ${found.missing}`);
}

describe.runIf('path' in found)('in a browser', () => {
  let browser: Browser;
  let page: Page;
  let server: RunningServer;
  let modules: Awaited<ReturnType<typeof servePackage>>;
  const complaints: string[] = [];

  beforeAll(async () => {
    server = await startServer({ memory: true, port: 0 });
    modules = await servePackage();
    browser = await launchChromium((found as { path: string }).path);
  });

  afterAll(async () => {
    await browser?.close();
    await modules?.close();
    await server?.close({ drainMs: 0 });
  });

  beforeEach(async () => {
    page = await browser.newPage();
    complaints.length = 0;
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto(modules.url);
    await page.waitForFunction(() => 'millrace' in globalThis);
    return () => page.close();
  });

  it('the event stream broadcasts', async () => {
    const seen = await page.evaluate(async () => {
      const { EventStream } = (globalThis as unknown as BrowserGlobals).millrace.eventStream;
      const stream = new EventStream<string>({ bufferSize: 2 });
      const readers = [stream.subscribe(), stream.subscribe()];
      for (const event of ['a', 'b', 'c']) stream.publish(event);
      stream.close();
      const seen: string[][] = [];
      for (const reader of readers) {
        const events: string[] = [];
        for await (const event of reader) events.push(event);
        seen.push(events);
      }
      return seen;
    });
    expect(seen).toEqual([
      ['a', 'b', 'c'],
      ['a', 'b', 'c'],
    ]);
    expect(complaints).toEqual([]);
  });

  it('the client appends, and another one follows it live to the last character', async () => {
    const url = `${server.url}/browser/log.txt`;
    const text = await page.evaluate(async (url) => {
      const { follow, openAppend } = (globalThis as unknown as BrowserGlobals).millrace.client;
      const stream = await openAppend(url);
      const writer = stream.getWriter();
      await writer.write('first ');
      const parts: string[] = [];
      const following = (async () => {
        for await (const part of follow(url).text()) parts.push(part);
      })();
      const euro = new TextEncoder().encode('€ and 𝄞');
      for (const byte of euro) await writer.write(Uint8Array.of(byte));
      await writer.close();
      await following;
      return parts.join('');
    }, url);
    expect(text).toBe('first € and 𝄞');
    expect(await (await fetch(url)).text()).toBe('first € and 𝄞');
    expect(complaints).toEqual([]);
  });

  it('the client tells what went wrong by its code', async () => {
    const code = await page.evaluate(async (url) => {
      const { head } = (globalThis as unknown as BrowserGlobals).millrace.client;
      return head(url).then(
        () => 'none',
        (error: { code: string }) => error.code,
      );
    }, `${server.url}/browser/never-written.txt`);
    expect(code).toBe('STREAM_NOT_FOUND');
  });

  it.each([
    ['text/plain', 'log.txt', ['one\n', 'two €'], ['one\n', 'two €']],
    ['application/json', 'chat', ['{"n":1}', '[2,3]'], ['[\n{"n":1}\n]', '[\n2,\n3\n]']],
    ['image/png', 'a.png', ['PNG', '!'], ['UE5H', 'IQ==']],
  ])(
    'EventSource reads %s once, over responses that end, and stops at its own end',
    async (type, name, pieces, seen) => {
      const hasty = await startServer({ memory: true, port: 0, limits: { sseConnectionMs: 150, sseRetryMs: 20 } });
      try {
        const url = `${hasty.url}/${name}`;
        const headers = { 'content-type': type };
        await fetch(url, { method: 'PUT', headers, body: pieces[0] as string });
        const reading = page.evaluate(
          (url) =>
            new Promise<unknown>((resolve) => {
              const source = new EventSource(`${url}?live=sse`);
              const data: string[] = [];
              let opened = 0;
              source.onopen = () => {
                opened++;
                // Some responses have ended by then.
                if (opened === 4) document.title = 'came back';
              };
              source.addEventListener('data', (event) => data.push((event as MessageEvent).data));
              source.onerror = () => {
                if (source.readyState === EventSource.CLOSED) resolve(data);
              };
            }),
          url,
        );
        await page.waitForFunction(() => document.title === 'came back');
        await fetch(url, {
          method: 'POST',
          headers: { ...headers, 'stream-closed': 'true' },
          body: pieces[1] as string,
        });
        expect(await reading).toEqual(seen);
      } finally {
        await hasty.close({ drainMs: 0 });
      }
    },
  );

  it('EventSource reads a JSON stream from the start, then live', async () => {
    const url = `${server.url}/browser/chat`;
    const post = (body: string) =>
      fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
    await fetch(url, { method: 'PUT', headers: { 'content-type': 'application/json' } });
    await post('{"say":"before"}');
    const messages = page.evaluate(
      (url) =>
        new Promise<unknown[]>((resolve) => {
          const source = new EventSource(`${url}?offset=-1&live=sse`);
          const seen: unknown[] = [];
          source.addEventListener('data', (event) => {
            seen.push(...JSON.parse((event as MessageEvent).data));
            if (seen.length === 1) document.title = 'caught up';
            if (seen.length < 2) return;
            source.close();
            resolve(seen);
          });
        }),
      url,
    );
    await page.waitForFunction(() => document.title === 'caught up');
    await post('{"say":"live"}');
    expect(await messages).toEqual([{ say: 'before' }, { say: 'live' }]);
  });
});
