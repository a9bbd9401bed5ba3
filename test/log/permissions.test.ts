import { spawnSync } from 'node:child_process';
import { chmodSync, readdirSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFileStore } from '../../src/log/index.js';

let root: string;

/** Makes some of everything that a store keeps, in a process that hides nothing by itself. */
const FILL = `
  process.umask(0);
  const { createFileStore } = await import(process.argv[1]);
  const store = await createFileStore({ root: process.argv[2] });
  const data = Buffer.from('x');
  await store.create('a', { data });
  // Lies in the overflow directory: its place is taken.
  await store.create('a/b', { data, ttlSeconds: 1000 });
  await store.create('__ds/keys', { data: Buffer.from('secret') });
  await store.create('__ds/subscriptions/0000000001', { data });
  await store.create('shared/c', { data });
  await store.close();
`;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'millrace-permissions-'));
  const filled = spawnSync(process.execPath, [
    '--input-type=module',
    '-e',
    FILL,
    join(process.cwd(), 'dist/log/index.js'),
    root,
  ]);
  expect(filled.stderr.toString()).toBe('');
});

afterEach(() => rm(root, { recursive: true, force: true }));

const isDirectory = (path: string) => statSync(join(root, path)).isDirectory();
const modeOf = (path: string) => (statSync(join(root, path)).mode & 0o777).toString(8);

/** All that is there below a path, itself included. */
function below(path: string): string[] {
  return [
    path,
    ...(isDirectory(path) ? readdirSync(join(root, path)).flatMap((name) => below(`${path}/${name}`)) : []),
  ];
}

function expectPrivate(paths: readonly string[]): void {
  expect(paths.map((path) => `${modeOf(path)} ${path}`)).toEqual(
    paths.map((path) => `${isDirectory(path) ? 700 : 600} ${path}`),
  );
}

describe("what is the server's own", () => {
  it('is for its user alone: journal, metadata, what has no place of its own, keys', () => {
    const own = below('.millrace');
    for (const part of ['journal', 'meta', 'overflow', 'expiring']) {
      expect(own.some((path) => path.startsWith(`.millrace/${part}`))).toBe(true);
    }
    expectPrivate([...own, ...below('__ds'), '.millrace.lock']);
  });

  it('is so again after it was not: in a root of an earlier version, or a copy', async () => {
    const open = ['.millrace', '.millrace/meta', '.millrace.lock', ...below('.millrace/journal'), ...below('__ds')];
    for (const path of open) chmodSync(join(root, path), isDirectory(path) ? 0o755 : 0o644);
    const store = await createFileStore({ root });
    try {
      expectPrivate(open);
      expect(Buffer.from((await store.read('__ds/keys', 0, { maxBytes: 100 })).data).toString()).toBe('secret');
    } finally {
      await store.close();
    }
  });
});

describe('the streams', () => {
  it('are for whom the umask says', () => {
    expect(['a', 'shared', 'shared/c'].map(modeOf)).toEqual(['666', '777', '666']);
  });
});
