import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FILE_CHECK_MS } from '../../src/log/file/file-storage.js';
import { createFileStore } from '../../src/log/index.js';
import { ask, problemOf, serve, type TestServer } from './test-server.js';

let root: string;
let server: TestServer;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'millrace-changed-'));
  server = await serve({ store: await createFileStore({ root }) });
});

afterEach(async () => {
  await server.close();
  rmSync(root, { recursive: true, force: true });
});

const TEXT = 'x'.repeat(300_000);

/** What people do to a file by hand, and what a plain GET finds from then on. */
const hands: Record<string, { change: (file: string) => void; status: number; text?: string }> = {
  cut: { change: (file) => truncateSync(file, 10), status: 200, text: 'x'.repeat(10) },
  emptied: { change: (file) => truncateSync(file, 0), status: 200, text: '' },
  removed: { change: (file) => rmSync(file), status: 404 },
  replaced: {
    change: (file) => {
      writeFileSync(`${file}.new`, 'new');
      renameSync(`${file}.new`, file);
    },
    status: 200,
    text: 'new',
  },
  'replaced by a directory': {
    change: (file) => {
      rmSync(file);
      mkdirSync(file);
    },
    status: 404,
  },
  'replaced by a pipe': {
    change: (file) => {
      rmSync(file);
      spawnSync('mkfifo', [file]);
    },
    status: 404,
  },
  'replaced by a link': {
    change: (file) => {
      renameSync(file, `${file}.moved`);
      symlinkSync(`${file}.moved`, file);
    },
    status: 400,
  },
};

const reads: Record<string, string> = {
  'a plain GET': '/a.txt',
  'a read from an offset': '/a.txt?offset=-1',
  'a read of what is new': '/a.txt?offset=now',
  'a follower': '/a.txt?verb=follow',
  'a live read': '/a.txt?offset=-1&live=raw',
  'a live read as events': '/a.txt?offset=-1&live=sse',
  'a long poll': '/a.txt?offset=now&live=long-poll',
};

describe('the file of a stream that others have', () => {
  for (const [what, { change, status, text }] of Object.entries(hands)) {
    for (const [who, path] of Object.entries(reads)) {
      it(`${what}: ${who} is told at once, and the next one finds what is there`, async () => {
        await ask(server, 'PUT', '/a.txt', { body: TEXT });
        change(join(root, 'a.txt'));
        const answer = await ask(server, 'GET', path);
        expect(answer.status).toBe(500);
        expect(problemOf(answer)).toBe('STREAM_FILE_CHANGED');
        const next = await ask(server, 'GET', '/a.txt');
        expect(next.status).toBe(status);
        if (text !== undefined) expect(next.text).toBe(text);
      });
    }

    it(`${what}: a HEAD is told at once, and the next one finds what is there`, async () => {
      await ask(server, 'PUT', '/a.txt', { body: TEXT });
      change(join(root, 'a.txt'));
      // A file in constant use is not looked at for everybody who only asks.
      await new Promise((resolve) => setTimeout(resolve, FILE_CHECK_MS + 20));
      expect((await ask(server, 'HEAD', '/a.txt')).status).toBe(500);
      expect((await ask(server, 'HEAD', '/a.txt')).status).toBe(status);
    });
  }

  it('made longer: a reader gets what he would have got', async () => {
    await ask(server, 'PUT', '/a.txt', { body: '12345' });
    writeFileSync(join(root, 'a.txt'), '67', { flag: 'a' });
    expect((await ask(server, 'GET', '/a.txt')).text).toBe('12345');
  });
});

describe('the list of streams', () => {
  it('is there without the directory of those below other names', async () => {
    await ask(server, 'PUT', '/a', { body: '1' });
    await ask(server, 'PUT', '/a/b', { body: '12' });
    rmSync(join(root, '.millrace/overflow'), { recursive: true });
    const list = await ask(server, 'GET', '/-/streams');
    expect(list.status).toBe(200);
    expect(JSON.parse(list.text).streams.map(({ path }: { path: string }) => path)).toEqual(['a']);
    expect(problemOf(await ask(server, 'GET', '/a/b'))).toBe('STREAM_FILE_CHANGED');
    // It is made again when it is needed.
    expect((await ask(server, 'PUT', '/a/b', { body: '3' })).status).toBe(201);
    expect((await ask(server, 'GET', '/a/b')).text).toBe('3');
  });
});
