import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';
import { type Browser, chromium } from 'playwright-core';

/** Where Chromium is, or why there is none. */
export function findChromium(): { readonly path: string } | { readonly missing: string } {
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    try {
      return { path: execFileSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim() };
    } catch {
      // Not this one.
    }
  }
  return { missing: 'Chromium is not installed: run scripts/browser (Debian package chromium).' };
}

/** A headless browser that talks to this machine only. `hosts` are names that it takes for 127.0.0.1. */
export function launchChromium(executablePath: string, hosts: readonly string[] = []): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...(hosts.length === 0
        ? []
        : [`--host-resolver-rules=${hosts.map((host) => `MAP ${host} 127.0.0.1`).join(', ')}`]),
    ],
  });
}

/** Hands the modules to the tests: an `import()` of their own would be rewritten by the test runner. */
const PAGE = `<!doctype html><title>Millrace</title><script type="module">
import * as client from '/client/index.js';
import * as eventStream from '/event-stream/index.js';
globalThis.millrace = { client, eventStream };
</script>`;

/** What the page holds. */
export interface BrowserGlobals {
  readonly millrace: {
    readonly client: typeof import('../../src/client/index.js');
    readonly eventStream: typeof import('../../src/event-stream/index.js');
  };
}

/** Serves the built package as it is, so that a page imports the modules that users get. */
export async function servePackage(): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = createServer((req, res) => {
    const path = normalize(new URL(req.url ?? '/', 'http://page').pathname);
    if (path === '/') {
      res.writeHead(200, { 'content-type': 'text/html' }).end(PAGE);
      return;
    }
    readFile(join('dist', path)).then(
      (body) => res.writeHead(200, { 'content-type': 'text/javascript' }).end(body),
      () => res.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
