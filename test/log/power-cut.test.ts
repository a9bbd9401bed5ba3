import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openFileStore } from '../../src/log/file/file-store.js';
import type { Store } from '../../src/log/index.js';
import { PowerCutDisk } from './power-cut-disk.js';

const SEED = Number(process.env.MILLRACE_SEED ?? Math.floor(Math.random() * 1e9));
const RUNS = Number(process.env.MILLRACE_POWER_CUTS ?? 60);

/** The lock is the kernel's, so the root is a real directory; all else is on the disk that loses power. */
const root = mkdtempSync(join(tmpdir(), 'millrace-power-'));
mkdirSync(join(root, '.millrace'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Stands behind the contents of a closed stream. */
const CLOSED = '#closed';
const PATHS = ['a', 'b.txt', 'd/e', 'd/e/f', 'd', 'g/h.log'];

interface Expected {
  /** What it held after each call, oldest first; undefined where there was no stream. */
  readonly states: (string | undefined)[];
  /** The number that its producer had reached with each of them. */
  readonly seqs: number[];
  /** States before this one are over: a later one was acknowledged as durable. */
  least: number;
}

describe('a power cut at any moment', () => {
  it(`leaves all that was acknowledged, and nothing that was not appended (seed ${SEED})`, {
    timeout: 120_000,
  }, async () => {
    const random = mulberry32(SEED);
    const disk = new PowerCutDisk(root);
    const expected = new Map<string, Expected>(
      PATHS.map((path) => [path, { states: [undefined], seqs: [-1], least: 0 }]),
    );
    let acknowledged = 0;
    for (let run = 0; run < RUNS; run++) {
      const store = await openFileStore(
        {
          root,
          journalSegmentBytes: 64 * 1024,
          journalBytesMax: 256 * 1024,
          flushIntervalMs: 1 + Math.floor(random() * 5),
          dirtyStreamsMax: 1 + Math.floor(random() * 4),
          commitBytesMax: 5000,
          openFilesMax: 2,
          streamsInMemoryMax: 3,
        },
        disk.session(),
      );
      for (const [path, each] of expected) {
        const found = await contentsOf(store, path);
        const at = each.states.findIndex((state, index) => index >= each.least && state === found);
        if (at < 0) {
          expect.fail(
            `seed ${SEED}, run ${run}: ${path} is ${shorten(found)}, not one of ${each.states.slice(each.least).map(shorten)}`,
          );
        }
        if (found !== undefined && disk.contents(join(root, path)) !== undefined) {
          expect(disk.contents(join(root, path))?.toString()).toBe(found.replace(CLOSED, ''));
        }
        const seq = each.seqs[at] as number;
        if (found !== undefined && seq >= 0 && !found.endsWith(CLOSED)) {
          const again = { data: Buffer.from('x'), producer: { id: 'p', epoch: 0, seq } };
          const { duplicate } = await store.append(path, again);
          expect(duplicate, `seed ${SEED}, run ${run}: ${path} has forgotten number ${seq}`).toBe(true);
        }
        expected.set(path, { states: [found], seqs: [seq], least: 0 });
      }
      acknowledged += await workUntilTheCut(store, disk, expected, random, run);
      // What it still wants to do fails.
      await store.close().catch(() => {});
    }
    expect(acknowledged).toBeGreaterThan(RUNS);
  });
});

/** Calls on all streams at random, then the power goes while some are under way. */
async function workUntilTheCut(
  store: Store,
  disk: PowerCutDisk,
  expected: ReadonlyMap<string, Expected>,
  random: () => number,
  run: number,
): Promise<number> {
  let acknowledged = 0;
  let off = false;
  const open: Promise<void>[] = [];
  const turns = Math.floor(random() * 60);
  for (let turn = 0; turn < turns; turn++) {
    for (let calls = Math.floor(random() * 6); calls > 0; calls--) {
      const path = PATHS[Math.floor(random() * PATHS.length)] as string;
      const { states, seqs } = expected.get(path) as Expected;
      const now = states[states.length - 1];
      const seq = seqs[seqs.length - 1] as number;
      const text = `<${run}.${turn}.${calls}>`.repeat(1 + Math.floor(random() ** 4 * 2000));
      const durability = random() < 0.3 ? 'written' : 'fsync';
      let call: Promise<unknown>;
      let durable = true;
      if (now === undefined) {
        call = store.create(path, { data: Buffer.from(text) });
        states.push(text);
        seqs.push(-1);
      } else if (random() < 0.1 || now.endsWith(CLOSED)) {
        call = store.delete(path);
        states.push(undefined);
        seqs.push(-1);
      } else {
        const close = random() < 0.05;
        const numbered = random() < 0.5;
        const producer = { id: 'p', epoch: 0, seq: seq + 1 };
        call = store.append(path, {
          data: Buffer.from(text),
          close,
          durability,
          ...(numbered ? { producer } : undefined),
        });
        durable = durability === 'fsync';
        states.push(now + text + (close ? CLOSED : ''));
        seqs.push(numbered ? seq + 1 : seq);
      }
      const index = states.length - 1;
      const settled = call.then(
        () => {
          if (off || !durable) return;
          acknowledged++;
          const each = expected.get(path) as Expected;
          each.least = Math.max(each.least, index);
        },
        (error) => {
          if (!off) throw error;
        },
      );
      settled.catch(() => {});
      open.push(settled);
    }
    await new Promise((resolve) => setImmediate(resolve));
    if (random() < 0.2) await new Promise((resolve) => setTimeout(resolve, random() * 4));
    if (random() < 0.1) await Promise.all(open);
  }
  off = true;
  disk.powerCut(random);
  const results = await Promise.allSettled(open);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return acknowledged;
}

async function contentsOf(store: Store, path: string): Promise<string | undefined> {
  try {
    const { tail, closed } = await store.stat(path);
    const { data } = await store.read(path, 0, { maxBytes: tail + 1 });
    return Buffer.from(data).toString() + (closed ? CLOSED : '');
  } catch (error) {
    if ((error as { code?: string }).code === 'STREAM_NOT_FOUND') return undefined;
    throw error;
  }
}

function shorten(text: string | undefined): string {
  if (text === undefined) return 'nothing';
  return text.length <= 60 ? text : `${text.slice(0, 30)}…${text.slice(-30)} (${text.length})`;
}

function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
