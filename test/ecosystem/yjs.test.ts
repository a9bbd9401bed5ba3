import { join } from 'node:path';
import { YjsProvider } from '@durable-streams/y-durable-streams';
import { YjsServer } from '@durable-streams/y-durable-streams/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Awareness } from 'y-protocols/awareness';
import * as Y from 'yjs';
import { serve, stopAll, temporaryDirectory } from '../cli/commands.js';

/** `@durable-streams/y-durable-streams`: documents whose updates, snapshots and presence are streams of a Millrace server. */

const WAIT = { timeout: 20_000 };

let millraceUrl: string;
let yjs: YjsServer;
let baseUrl: string;
const providers: YjsProvider[] = [];

beforeEach(async () => {
  // Its server says of each connection that it was cut, as all of them are at the end of a test.
  vi.spyOn(console, 'error').mockImplementation(() => {});
  millraceUrl = (await serve('--root', join(await temporaryDirectory(), 'root'))).url;
  // A few updates and it writes a snapshot.
  yjs = new YjsServer({ port: 0, dsServerUrl: millraceUrl, compactionThreshold: 1500 });
  await yjs.start();
  baseUrl = `${yjs.url}/v1/yjs/test`;
});

afterEach(async () => {
  for (const provider of providers.splice(0)) await provider.destroy();
  await yjs.stop();
  await stopAll();
  vi.restoreAllMocks();
});

async function open(docId: string, live: 'sse' | 'long-poll' = 'sse') {
  const doc = new Y.Doc();
  const awareness = new Awareness(doc);
  const provider = new YjsProvider({ doc, baseUrl, docId, awareness, liveMode: live });
  providers.push(provider);
  await vi.waitFor(() => expect(provider.synced).toBe(true), WAIT);
  return { doc, text: doc.getText('text'), awareness, provider };
}

describe('y-durable-streams', () => {
  it.each(['sse', 'long-poll'] as const)('brings two editors to the same document, live (%s)', async (live) => {
    await fetch(`${baseUrl}/docs/essay`, { method: 'PUT' });
    const one = await open('essay', live);
    const other = await open('essay', live);
    one.text.insert(0, 'hello ');
    await vi.waitFor(() => expect(other.text.toString()).toBe('hello '), WAIT);
    other.text.insert(6, 'world');
    await vi.waitFor(() => expect(one.text.toString()).toBe('hello world'), WAIT);
  });

  it('tells editors of each other', async () => {
    await fetch(`${baseUrl}/docs/presence`, { method: 'PUT' });
    const one = await open('presence');
    const other = await open('presence');
    await vi.waitFor(() => {
      // Presence is not kept: it is said again until the other one has heard.
      one.awareness.setLocalStateField('user', 'Ada');
      expect(other.awareness.getStates().get(one.doc.clientID)).toEqual({ user: 'Ada' });
    }, WAIT);
  });

  it('writes snapshots, from which a late editor begins', async () => {
    await fetch(`${baseUrl}/docs/long`, { method: 'PUT' });
    const one = await open('long');
    const paragraph = 'a sentence of some length. '.repeat(10);
    for (let i = 0; i < 12; i++) {
      one.text.insert(one.text.length, paragraph);
      await vi.waitFor(() => expect(one.provider.synced).toBe(true), WAIT);
    }
    await vi.waitFor(async () => {
      const answer = await fetch(`${baseUrl}/docs/long?offset=snapshot`, { redirect: 'manual' });
      expect(answer.headers.get('location')).toContain('_snapshot');
    }, WAIT);
    const late = await open('long');
    await vi.waitFor(() => expect(late.text.toString()).toBe(paragraph.repeat(12)), WAIT);
    const names = await (await fetch(`${millraceUrl}/-/streams`)).text();
    for (const folder of ['.updates', '.snapshots']) expect(names).toContain(folder);
  });
});
