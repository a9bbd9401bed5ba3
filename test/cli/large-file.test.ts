import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { MAIN, millrace, serve, stopAll, temporaryDirectory } from './commands.js';

afterEach(stopAll);

/** `MILLRACE_LONG=1` runs the long form. */
const bytes = (process.env.MILLRACE_LONG === '1' ? 1024 : 32) * 1024 * 1024;

describe(`a random file of ${bytes / 1024 / 1024} MiB`, () => {
  it('survives append, live follow, restart and catch-up, by its hash', async () => {
    const directory = await temporaryDirectory();
    const file = join(directory, 'random');
    const expected = await writeRandomFile(file);
    const root = join(directory, 'root');
    let server = await serve('--root', root);

    const appender = millrace('append', `${server.url}/a.bin`);
    const sent = pipeline(createReadStream(file), appender.process.stdin as NodeJS.WritableStream);
    while (!(await fetch(`${server.url}/a.bin`, { method: 'HEAD' })).ok) {}
    const live = hashOf(server.url);
    await sent;
    expect(await appender.exit, appender.stderr).toBe(0);
    expect(await live).toBe(expected);

    server.command.kill('SIGTERM');
    expect(await server.command.exit).toBe(0);
    expect(await hashOfFile(join(root, 'a.bin'))).toBe(expected);
    server = await serve('--root', root);
    expect(await hashOf(server.url)).toBe(expected);
  }, 600_000);
});

async function writeRandomFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'w');
  for (let written = 0; written < bytes; written += 1024 * 1024) {
    const chunk = randomBytes(1024 * 1024);
    hash.update(chunk);
    await file.write(chunk);
  }
  await file.close();
  return hash.digest('hex');
}

/** The hash of what `millrace follow` prints. Its output is not kept: it is larger than memory should be. */
async function hashOf(url: string): Promise<string> {
  const follower = spawn(process.execPath, [MAIN, 'follow', `${url}/a.bin`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const hash = createHash('sha256');
  await pipeline(follower.stdout, hash);
  return hash.digest('hex');
}

async function hashOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
