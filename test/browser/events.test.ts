import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sendEvents, sendEventsOverWebSocket } from '../../src/http/index.js';
import { createHub, type Hub } from '../../src/hub/index.js';
import { findChromium, launchChromium } from './chromium.js';

const found = findChromium();
if ('missing' in found) {
  if (process.env.MILLRACE_REQUIRE_BROWSER === '1') throw new Error(found.missing);
  console.warn(`Skipping the browser tests of events. ${found.missing}`);
}

describe.runIf('path' in found)('events in a browser', () => {
  let browser: Browser;
  let page: Page;
  let hub: Hub;
  let server: Server;
  let url: string;

  beforeAll(async () => {
    hub = createHub('memory:?history=100');
    server = createServer((request, response) => {
      if (request.url === '/events') void sendEvents(request, response, hub, ['chat', 'né/ws']);
      else response.end('<!doctype html><title>events</title>');
    });
    server.on('upgrade', (request, socket, head) => void sendEventsOverWebSocket(request, socket, head, hub, 'chat'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    browser = await launchChromium((found as { path: string }).path);
    page = await browser.newPage();
    await page.goto(url);
  });

  afterAll(async () => {
    await browser?.close();
    await hub?.close();
    server?.closeAllConnections();
    server?.close();
  });

  it('an EventSource sees which channel a message came from, and misses nothing when its connection breaks', async () => {
    await page.evaluate(() => {
      const seen: [string, unknown][] = [];
      const source = new EventSource('/events');
      source.onmessage = ({ data, lastEventId }) => {
        seen.push([decodeURIComponent(lastEventId.split('@')[0] ?? ''), JSON.parse(data)]);
      };
      source.addEventListener('gap', ({ data }) => seen.push(['gap', JSON.parse(data)]));
      Object.assign(globalThis, { seen });
      return new Promise((resolve) => {
        source.onopen = resolve;
      });
    });
    const seen = (count: number) =>
      page
        .waitForFunction((count) => (globalThis as unknown as { seen: unknown[] }).seen.length >= count, count)
        .then(() => page.evaluate(() => (globalThis as unknown as { seen: unknown[] }).seen));
    await hub.publish('chat', 1);
    await hub.publish('né/ws', { two: '2\n' });
    await seen(2);
    server.closeAllConnections();
    await hub.publish('né/ws', 3);
    await hub.publish('chat', 4);
    // The browser comes back by itself after a few seconds.
    const all = await seen(4);
    expect(all.slice(0, 2)).toEqual([
      ['chat', 1],
      ['né/ws', { two: '2\n' }],
    ]);
    expect(all.slice(2)).toHaveLength(2);
    expect(all.slice(2)).toEqual(
      expect.arrayContaining([
        ['né/ws', 3],
        ['chat', 4],
      ]),
    );
  });

  it('a WebSocket follows and publishes', async () => {
    const answers = await page.evaluate(
      (address) =>
        new Promise((resolve) => {
          const answers: unknown[] = [];
          const socket = new WebSocket(address);
          socket.onmessage = ({ data }) => {
            const { op, channel, message } = JSON.parse(data);
            answers.push([op, channel ?? null, message ?? null]);
            if (answers.length === 1) {
              socket.send(JSON.stringify({ op: 'publish', channels: ['chat'], message: 'from the page' }));
            }
            if (answers.length === 3) resolve(answers);
          };
        }),
      url.replace('http', 'ws'),
    );
    expect(answers).toEqual(expect.arrayContaining([['message', 'chat', 'from the page']]));
    expect(answers).toEqual(expect.arrayContaining([['ok', null, null]]));
  });
});
