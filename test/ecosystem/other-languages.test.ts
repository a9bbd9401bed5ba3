import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { serve, stopAll, temporaryDirectory } from '../cli/commands.js';
import { findToolchain, runProgram } from './programs.js';

/** Programs in other languages, built on the client that their users have, against a server that runs as it comes. */

const PROGRAMS = 'test/ecosystem/programs';
const [go, python, java] = [await findToolchain('go'), await findToolchain('python'), await findToolchain('java')];

afterEach(stopAll);

const startServer = async () => (await serve('--root', join(await temporaryDirectory(), 'root'))).url;

describe.runIf(go)('the official Go client', () => {
  it('creates, appends, reads, follows both ways and deletes', { timeout: 180_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'millrace-go-'));
    try {
      const program = join(folder, 'walk');
      await runProgram(go as string, ['build', '-o', program, '.'], `${PROGRAMS}/go`);
      expect(JSON.parse(await runProgram(program, [await startServer()]))).toEqual({
        sequenceConflict: true,
        existsWithAnotherType: true,
        text: 'one two ',
        longPoll: 'three ',
        sse: 'four ',
        type: 'text/plain',
        headIsAtTheTail: true,
        messages: 12,
        gone: true,
      });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe.runIf(python)('the official Python client', () => {
  it('creates, appends, reads, follows both ways and deletes', { timeout: 180_000 }, async () => {
    const url = await startServer();
    expect(JSON.parse(await runProgram(python as string, [`${PROGRAMS}/python/walk.py`, url]))).toEqual({
      sequenceConflict: true,
      existsWithAnotherType: true,
      text: 'one two ',
      longPoll: 'three ',
      sse: 'four ',
      type: 'text/plain',
      headIsAtTheTail: true,
      messages: [{ n: 1 }, { n: 2 }],
      gone: true,
    });
  });
});

describe.runIf(java)("Java's own HTTP client, which the official Java client is built on", () => {
  it('creates, appends, reads, follows and deletes, also while it offers HTTP/2', { timeout: 180_000 }, async () => {
    const url = await startServer();
    const output = await runProgram(java as string, [`${PROGRAMS}/java/Walk.java`, url]);
    expect(
      Object.fromEntries(
        output
          .trim()
          .split('\n')
          .map((line) => line.split('=')),
      ),
    ).toEqual({
      put: '201',
      post: '204',
      read: 'one two ',
      putEmpty: '201',
      postLarge: '204',
      largeIsTheSame: 'true',
      sse: 'true',
      delete: '204',
      gone: '404',
      version: 'HTTP_1_1',
    });
  });
});
