import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createHandler, type Handler } from '../../src/http/index.js';
import { createMemoryStore, type Store } from '../../src/log/index.js';
import { type RunningServer, startServer } from '../../src/server/index.js';
import { findChromium, launchChromium } from './chromium.js';

const found = findChromium();
if ('missing' in found) {
  if (process.env.MILLRACE_REQUIRE_BROWSER === '1') throw new Error(found.missing);
  console.warn(`Skipping the browser tests of origins. ${found.missing}`);
}

/** Does what its script says, and shows it, wherever a browser runs it. */
const ACTIVE: Readonly<Record<string, readonly [type: string, body: string]>> = {
  'page.html': ['text/html', '<title>idle</title><script>document.title = "ran"</script>'],
  'page.xhtml': [
    'application/xhtml+xml',
    '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>idle</title><script>document.title = "ran"</script></head></html>',
  ],
  'page.xml': [
    'text/xml',
    '<x:html xmlns:x="http://www.w3.org/1999/xhtml"><x:title>idle</x:title><x:script>document.title = "ran"</x:script></x:html>',
  ],
  'image.svg': [
    'image/svg+xml',
    '<svg xmlns="http://www.w3.org/2000/svg"><title>idle</title><script>document.querySelector("title").textContent = "ran"</script></svg>',
  ],
};

describe.runIf('path' in found)('pages of other origins, in a browser', () => {
  let browser: Browser;
  let page: Page;
  /** Gives out a page under every name, and the active documents as any server would. */
  let pages: Server;
  let pagesPort: number;
  let server: RunningServer;

  beforeAll(async () => {
    pages = createServer((req, res) => {
      const [type, body] = ACTIVE[req.url?.slice(1) ?? ''] ?? ['text/html', '<!doctype html>a page'];
      res.writeHead(200, { 'Content-Type': type }).end(body);
    });
    await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve));
    pagesPort = (pages.address() as AddressInfo).port;
    server = await startServer({ memory: true, port: 0, origins: [`http://app.example:${pagesPort}`] });
    browser = await launchChromium((found as { path: string }).path, ['*.example']);
  });

  afterAll(async () => {
    await browser?.close();
    await server?.close({ drainMs: 0 });
    pages?.closeAllConnections();
    pages?.close();
  });

  beforeEach(async () => {
    page = await browser.newPage();
    await put('private.log', 'text/plain', 'secret');
    return async () => {
      await page.close();
      const { streams } = (await (await fetch(`${server.url}/-/streams`)).json()) as { streams: { path: string }[] };
      for (const { path } of streams) await fetch(`${server.url}/${path}`, { method: 'DELETE' });
    };
  });

  const put = (path: string, type: string, body: string) =>
    fetch(`${server.url}/${path}`, { method: 'PUT', headers: { 'Content-Type': type }, body });
  const putActive = (name: string) => put(name, ...(ACTIVE[name] as [type: string, body: string]));
  const visit = (host: string) => page.goto(`http://${host}:${pagesPort}/`);

  /** Everything that a page might try on a server. Each says what it came to. */
  const tryEverything = () =>
    page.evaluate(async (url) => {
      const asked = (path: string, init: RequestInit = {}) =>
        fetch(url + path, init).then(
          async (response) => (response.type === 'opaque' ? 'opaque' : `${response.status} ${await response.text()}`),
          () => 'failed',
        );
      const text = { 'Content-Type': 'text/plain' };
      const opened = (path: string) =>
        new Promise<string>((resolve) => {
          const socket = new WebSocket(url.replace('http', 'ws') + path);
          socket.onopen = () => {
            socket.send(path.includes('append') ? 'forged' : '{}');
            socket.close();
          };
          let isOpen = false;
          socket.addEventListener('open', () => {
            isOpen = true;
          });
          socket.onclose = () => resolve(isOpen ? 'opened' : 'failed');
        });
      const listened = (path: string) =>
        new Promise<string>((resolve) => {
          const source = new EventSource(url + path);
          const end = (outcome: string) => {
            source.close();
            resolve(outcome);
          };
          source.onopen = () => end('opened');
          source.onerror = () => end('failed');
        });
      const loaded = (name: 'script' | 'img', path: string) =>
        new Promise<string>((resolve) => {
          const element = document.createElement(name);
          element.onload = () => resolve('loaded');
          element.onerror = () => resolve('failed');
          element.src = url + path;
          document.body.append(element);
        });
      return {
        list: await asked('/-/streams'),
        read: await asked('/private.log'),
        readOpaque: await asked('/private.log', { mode: 'no-cors' }),
        create: await asked('/forged.txt', { method: 'PUT', headers: text, body: 'forged' }),
        append: await asked('/private.log', { method: 'POST', headers: text, body: 'forged' }),
        appendOpaque: await asked('/private.log', { method: 'POST', mode: 'no-cors', headers: text, body: 'forged' }),
        publish: await asked('/-/publish?channel=a', { method: 'POST', headers: text, body: 'forged' }),
        appendSocket: await opened('/socket.log?verb=append'),
        liveSocket: await opened('/private.log?live=ws'),
        eventSocket: await opened('/-/events?channel=a'),
        stream: await listened('/private.log?offset=-1&live=sse'),
        events: await listened('/-/events?channel=a'),
        image: await loaded('img', '/image.svg'),
        script: await loaded('script', '/script.js'),
        remove: await asked('/private.log', { method: 'DELETE' }),
      };
    }, server.url);

  /** The status of the next answer to a request of this kind, as the server has sent it. */
  const answerTo = (method: string, mode: string) =>
    new Promise<number>((resolve) => {
      const onFinish = (message: unknown) => {
        const { request, response } = message as { request: IncomingMessage; response: ServerResponse };
        if (request.method !== method || request.headers['sec-fetch-mode'] !== mode) return;
        unsubscribe('http.server.response.finish', onFinish);
        resolve(response.statusCode);
      };
      subscribe('http.server.response.finish', onFinish);
    });

  /** What the server answers to a page that sends something, and has no way to look at the answer. */
  const sendBlindly = async () => {
    const beacon = answerTo('POST', 'no-cors');
    const form = answerTo('POST', 'navigate');
    await page.evaluate((url) => {
      navigator.sendBeacon(url, new Blob(['forged'], { type: 'text/plain' }));
      document.body.appendChild(document.createElement('iframe')).name = 'answer';
      const form = document.body.appendChild(document.createElement('form'));
      Object.assign(form, { method: 'post', enctype: 'text/plain', action: url, target: 'answer' });
      Object.assign(form.appendChild(document.createElement('input')), { name: 'forged', value: 'x' });
      form.submit();
    }, `${server.url}/private.log`);
    return { beacon: await beacon, form: await form };
  };

  it.each(['evil.example', 'localhost.evil.example'])('one of %s can do nothing', async (host) => {
    await putActive('image.svg');
    await put('script.js', 'text/javascript', 'globalThis.leaked = 1');
    await visit(host);
    expect(await sendBlindly()).toEqual({ beacon: 403, form: 403 });
    expect(new Set(Object.values(await tryEverything()))).toEqual(new Set(['failed']));
    const listing = await (await fetch(`${server.url}/-/streams`)).json();
    expect((listing as { streams: object[] }).streams).toMatchObject([
      { path: 'image.svg' },
      { path: 'private.log', bytes: 6 },
      { path: 'script.js' },
    ]);
  });

  it.each(['app.example', 'localhost', 'app.localhost', '127.0.0.1'])(
    'one of %s, which may, can do all',
    async (host) => {
      await visit(host);
      expect(await sendBlindly()).toEqual({ beacon: 204, form: 204 });
      expect(await tryEverything()).toMatchObject({
        list: expect.stringContaining('private.log') as string,
        read: expect.stringContaining('200 secret') as string,
        create: '201 ',
        append: '204 ',
        publish: '204 ',
        appendSocket: 'opened',
        liveSocket: 'opened',
        eventSocket: 'opened',
        stream: 'opened',
        events: 'opened',
        remove: '204 ',
      });
    },
  );

  it('one that is allowed sees where it stands, and comes back to it with headers of its own', async () => {
    await visit('app.example');
    const seen = await page.evaluate(async (url) => {
      const headers = { 'If-None-Match': '"none"', 'Last-Event-ID': 'x', traceparent: '00-0-0-00', 'X-Own': '1' };
      const response = await fetch(`${url}/private.log?offset=-1`, { headers });
      return [response.status, response.headers.get('Stream-Up-To-Date'), response.headers.get('ETag') !== null];
    }, server.url);
    expect(seen).toEqual([200, 'true', true]);
  });

  it('one of a name that was made to point here is not of the server', async () => {
    const response = await page.goto(`http://rebound.example:${new URL(server.url).port}/private.log`);
    expect(response?.status()).toBe(421);
    expect(await page.content()).not.toContain('secret');
  });

  it('a link leads to a stream from everywhere', async () => {
    await visit('evil.example');
    await page.evaluate((url) => {
      const link = document.body.appendChild(document.createElement('a'));
      Object.assign(link, { href: `${url}/private.log`, textContent: 'here', id: 'link' });
    }, server.url);
    await Promise.all([page.waitForURL(`${server.url}/private.log`), page.click('#link')]);
    expect(await page.textContent('body')).toBe('secret');
  });

  it.each(Object.keys(ACTIVE))('a stored %s runs no script', async (name) => {
    const title = () => page.evaluate(() => document.querySelector('title')?.textContent);
    await putActive(name);
    // Any other server's does.
    await page.goto(`http://127.0.0.1:${pagesPort}/${name}`);
    expect(await title()).toBe('ran');
    for (const query of ['', '?offset=-1', '?offset=-1&live=long-poll', '?verb=follow']) {
      await page.goto(`${server.url}/${name}${query}`);
      expect(await title()).toBe('idle');
      expect(await page.evaluate(() => globalThis.origin)).toBe('null');
    }
  });

  describe('where the application has decided', () => {
    let store: Store;
    let handler: Handler;
    let app: Server;
    let url: string;

    beforeAll(async () => {
      store = createMemoryStore();
      await store.create('a.txt', { data: Buffer.from('text') });
      handler = createHandler({ store });
      app = createServer((req, res) => {
        // What the middleware `cors` does.
        res.setHeader('Vary', 'Origin');
        if (req.headers.origin === `http://app.example:${pagesPort}`) {
          res.setHeader('Access-Control-Allow-Origin', req.headers.origin);
          res.setHeader('Access-Control-Allow-Credentials', 'true');
        }
        handler.request(req, res);
      });
      await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve));
      url = `http://127.0.0.1:${(app.address() as AddressInfo).port}`;
    });

    afterAll(async () => {
      await handler?.close({ drainMs: 0 });
      app?.closeAllConnections();
      app?.close();
      await store?.close();
    });

    const withCredentials = () =>
      page.evaluate(
        async (url) => ({
          fetched: await fetch(`${url}/a.txt`, { credentials: 'include', headers: { 'X-Own': '1' } }).then(
            (response) => response.text(),
            () => 'failed',
          ),
          heard: await new Promise((resolve) => {
            const source = new EventSource(`${url}/a.txt?offset=-1&live=sse`, { withCredentials: true });
            const end = (outcome: string) => {
              source.close();
              resolve(outcome);
            };
            source.addEventListener('data', ({ data }) => end(data));
            source.onerror = () => end('failed');
          }),
        }),
        url,
      );

    it('fetch and EventSource work with credentials', async () => {
      await visit('app.example');
      expect(await withCredentials()).toEqual({ fetched: 'text', heard: 'text' });
    });

    it('a page that the application did not allow reads nothing', async () => {
      await visit('evil.example');
      expect(await withCredentials()).toEqual({ fetched: 'failed', heard: 'failed' });
      expect(await page.evaluate((url) => fetch(`${url}/a.txt`).catch(() => 'failed'), url)).toBe('failed');
    });
  });
});
