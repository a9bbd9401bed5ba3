import { type ClientRequest, request } from 'node:http';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openAppend } from '../../src/client/append.js';
import { create, read } from '../../src/client/requests.js';
import { isMillraceError } from '../../src/errors.js';
import { type StreamServer, startStreamServer } from './stream-server.js';

const KIB = 1024;

let server: StreamServer;
let hog: ClientRequest;
beforeEach(async () => {
  server = await startStreamServer({ limits: { intakeBytesMax: 512 * KIB, intakeWaitMs: 50 } });
  await create(`${server.url}/hog`, { contentType: 'text/plain' });
  hog = request(`${server.url}/hog`, { method: 'POST', headers: { 'content-type': 'text/plain' } });
  hog.on('error', () => {});
});
afterEach(async () => {
  hog.destroy();
  await server.kill();
  await server.store.close();
});

describe('an append whose message finds no room in the server', () => {
  it('is made anew until there is some, and counts once', async () => {
    const url = `${server.url}/messages`;
    await create(url, { contentType: 'application/json' });
    const refusals: unknown[] = [];
    const onRetry = (error: unknown) => {
      if (!isMillraceError(error, 'INTAKE_BUSY')) return;
      refusals.push(error.code);
      hog.destroy();
    };
    const writer = (await openAppend(url, { retryDelayMinMs: 5, retryDelayMaxMs: 20, onRetry })).getWriter();
    await writer.write('"before"');
    // A body that does not end.
    hog.write(Buffer.alloc(512 * KIB, 'x'));
    await vi.waitFor(() => expect(server.received()).toBeGreaterThan(512 * KIB));
    const large = 'y'.repeat(256 * KIB);
    await writer.write(JSON.stringify(large));
    await writer.close();
    expect(refusals.length).toBeGreaterThan(0);
    expect(JSON.parse(Buffer.from((await read(url)).data).toString())).toEqual(['before', large]);
  });
});
