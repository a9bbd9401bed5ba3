import { describe, vi } from 'vitest';
import { behind, passesOn, passesUploads, passesWebSockets } from './behind-proxy.js';
import { findProxy, startDocumentedHaproxy, startHaproxy, TIMES_DIVIDED_BY } from './proxy.js';

const haproxy = await findProxy('haproxy');
/** Its `timeout client` and `timeout server`, as its packages have them. */
const TIMEOUT_MS = 50_000;

if (TIMES_DIVIDED_BY === 1) vi.setConfig({ testTimeout: 10 * TIMEOUT_MS });

describe.runIf(haproxy !== undefined)('behind HAProxy as it comes', () => {
  const at = behind((port) => startHaproxy(haproxy as string, port));
  passesOn(at, TIMEOUT_MS);
  passesWebSockets(at, TIMEOUT_MS);
  passesUploads(at);
});

describe.runIf(haproxy !== undefined)('behind HAProxy as docs/proxies.md says', () => {
  const at = behind((port) => startDocumentedHaproxy(haproxy as string, port));
  passesWebSockets(at, TIMEOUT_MS);
  passesUploads(at);
});
