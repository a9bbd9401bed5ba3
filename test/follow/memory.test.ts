import { Buffer } from 'node:buffer';
import { setImmediate } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { createFollowEngine } from '../../src/follow/index.js';
import type { Store } from '../../src/log/index.js';
import { isGarbage } from '../garbage-collector.js';
import { CollectingSink } from './collecting-sink.js';
import { ScriptedStore } from './scripted-store.js';

const raw = { name: 'raw', encode: (data: Uint8Array) => data };
const CHUNKS = 40;
const CHUNK_BYTES = 64 * 1024;

/** Appends to a followed stream by `append`, and says whether the first piece may go once it is out of the window. */
async function firstPieceIsGarbage(store: Store, append: (data: Buffer) => Promise<void>): Promise<boolean> {
  const engine = createFollowEngine({ store, windowBytes: 4 * CHUNK_BYTES });
  const sink = new CollectingSink();
  const stream = await engine.open('s');
  stream.follow({ offset: 0, format: raw, sink });
  let first: WeakRef<ArrayBufferLike> | undefined;
  for (let i = 0; i < CHUNKS; i++) {
    const data = Buffer.alloc(CHUNK_BYTES, i);
    first ??= new WeakRef(data.buffer);
    await append(data);
    await setImmediate();
  }
  await sink.has(CHUNKS * CHUNK_BYTES);
  const garbage = await isGarbage(first as WeakRef<ArrayBufferLike>);
  engine.close();
  return garbage;
}

it('keeps nothing of a followed stream but its window', async () => {
  const scripted = new ScriptedStore();
  const append = async (data: Buffer) => {
    scripted.commit(data);
    scripted.announce();
  };
  expect(await firstPieceIsGarbage(scripted.store, append)).toBe(true);
});
