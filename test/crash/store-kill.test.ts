import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { absent, after, type Call, isSame, type Look, type Modelled } from './store-model.js';

/** How often the process is killed: few for every day, as many as wanted for a night. */
const ROUNDS = Number(process.env.MILLRACE_CRASH_ROUNDS ?? 25);
const SEED = Number(process.env.MILLRACE_CRASH_SEED ?? Math.floor(Math.random() * 1e9));
const TIMEOUT_MS = 30_000 + ROUNDS * 3000;
const WORKERS = 12;
const worker = fileURLToPath(new URL('store-worker.mjs', import.meta.url));
const built = fileURLToPath(new URL('../../dist/log/index.js', import.meta.url));

/** `d` is a stream and the directory of others: one of them lives in the overflow directory. */
const paths = Array.from(
  { length: WORKERS },
  (_, index) => ['d', 'd/e.txt', 'd/e.txt/f', `s${index}.log`][index % 4],
).map((path, index) => (path?.startsWith('s') ? path : `${index >> 2}-${path}`));

interface Line {
  readonly looks?: Look[];
  readonly listed?: string[];
  readonly call?: number;
  readonly done?: number;
  readonly refused?: number;
  readonly forgotten?: string;
  readonly failed?: string;
}

describe('killing the store at any moment', () => {
  it(`loses nothing that was acknowledged and shows nothing that was not appended (seed ${SEED}, ${ROUNDS} rounds)`, {
    timeout: TIMEOUT_MS,
  }, async () => {
    expect(existsSync(built), 'run `npm run build` first').toBe(true);
    const root = await mkdtemp(join(tmpdir(), 'millrace-kill-'));
    const random = mulberry32(SEED);
    const model = new Map<string, Modelled>();
    for (const path of paths.flatMap(withFork)) model.set(path, absent(path));
    let log: Line[] = [];
    let acknowledged = 0;
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const child = start(root, SEED + round);
        const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
        send(child, { paths: [...model.keys()] });
        // Now and then it is killed while it recovers from the time before.
        if (random() < 0.2) {
          await sleep(random() * 150);
          await kill(child);
          continue;
        }
        const opened = await lines.next();
        if (opened.done) throw new Error(`The store did not open (seed ${SEED}, round ${round}): ${child.errors()}`);
        const { looks, listed } = JSON.parse(opened.value) as Line;
        settle(model, log, looks ?? [], `seed ${SEED}, round ${round}`);
        const live = [...model.values()].filter(({ state }) => state === 'live').map(({ path }) => path);
        expect(listed).toEqual(live.sort());

        send(child, {
          workers: paths.map((path) => ({ stream: brief(model, path), fork: brief(model, `${path}-fork`) })),
        });
        await sleep(random() < 0.5 ? random() * 30 : random() * 400);
        await kill(child);
        log = [];
        for (;;) {
          const { done, value } = await lines.next();
          if (done) break;
          if (value.endsWith('}')) log.push(JSON.parse(value) as Line);
        }
        acknowledged += log.filter(({ done }) => done !== undefined).length;
        const odd = log.filter((line) => line.refused ?? line.forgotten ?? line.failed);
        expect(odd, `seed ${SEED}, round ${round}`).toEqual([]);
      }
    } finally {
      await rm(root, { recursive: true, force: true });
    }
    expect(acknowledged).toBeGreaterThan(ROUNDS);
  });
});

/** Checks what is there after a crash, and takes it as the truth from which the next round begins. */
function settle(model: Map<string, Modelled>, log: readonly Line[], looks: readonly Look[], where: string): void {
  const done = new Set(log.map((line) => line.done));
  const calls = log.filter((line) => line.call !== undefined) as unknown as Call[];
  const before = new Map(model);
  // What creates or deletes waits for all that came before, so the streams as they are in the model then are right.
  const replayed = new Map<string, Modelled[]>();
  const current = new Map(model);
  const acknowledged = new Map<string, number>();
  for (const call of calls) {
    const touched = call.frees === undefined ? [call.path] : [call.path, call.frees];
    for (const path of touched) {
      const states = replayed.get(path) ?? [before.get(path) as Modelled];
      replayed.set(path, states);
      const stream = current.get(path) as Modelled;
      const next = path === call.path ? after(stream, call, (other) => current.get(other)) : absent(path);
      current.set(path, next);
      states.push(next);
      // Freed in the background: it may come after the answer.
      if (done.has(call.call) && path === call.path) acknowledged.set(path, states.length - 1);
    }
  }
  for (const look of looks) {
    const states = replayed.get(look.path) ?? [before.get(look.path) as Modelled];
    const least = acknowledged.get(look.path) ?? 0;
    const found = states.findIndex((state, index) => index >= least && isSame(state, look));
    if (found < 0) {
      const possible = states.slice(least).map(({ state, content, closed }) => [state, content.length, closed]);
      expect.fail(
        `${where}: ${look.path} is ${JSON.stringify(look)}, but after ${least} acknowledged calls it may only be one of ${JSON.stringify(possible)}`,
      );
    }
    model.set(look.path, states[found] as Modelled);
  }
}

function brief(model: Map<string, Modelled>, path: string): Omit<Modelled, 'content'> {
  const { content: _, ...rest } = model.get(path) as Modelled;
  return rest;
}

function withFork(path: string): string[] {
  return [path, `${path}-fork`];
}

function start(root: string, seed: number): ChildProcess & { errors(): string } {
  const child = spawn(process.execPath, [worker, root, String(seed)], { stdio: ['pipe', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (data) => {
    errors += data;
  });
  child.stdin.on('error', () => {});
  return Object.assign(child, { errors: () => errors });
}

function send(child: ChildProcess, message: unknown): void {
  child.stdin?.write(`${JSON.stringify(message)}\n`);
}

async function kill(child: ChildProcess): Promise<void> {
  const exited = child.exitCode === null ? once(child, 'exit') : undefined;
  child.kill('SIGKILL');
  await exited;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
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
