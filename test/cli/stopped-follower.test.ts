import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { openAppend } from '../../src/client/index.js';
import { millrace, serve, stopAll, temporaryDirectory } from './commands.js';

/** How many follow beside the one that is stopped. */
const FOLLOWERS = Number(process.env.MILLRACE_FOLLOWERS ?? 999);
/** Far more than the kernel keeps for a reader that does not read. */
const BEFORE_BYTES = 32 * 1024 * 1024;
const PIECE_BYTES = 10_000;
/** What is appended while it is stopped, 100 pieces a second in the long form. */
const PIECES = Number(process.env.MILLRACE_PIECES ?? 20);
/** How much more the server may use while one is stopped. Holding back for it what it does not take would be 32 MiB. */
const GROWTH_BYTES_MAX = 24 * 1024 * 1024;

afterEach(stopAll);

it(`a follower stopped with SIGSTOP is not noticed by ${FOLLOWERS} others and the server's memory; resumed, it has every byte`, {
  timeout: 60_000 + PIECES * 100,
}, async () => {
  const root = await temporaryDirectory();
  const server = await serve('--root', root);
  const url = `${server.url}/a.bin`;
  const writer = (await openAppend(url)).getWriter();
  const whole = createHash('sha256');
  const append = (bytes: number) => {
    const data = randomBytes(bytes);
    whole.update(data);
    return writer.write(data).then(() => data);
  };
  for (let done = 0; done < BEFORE_BYTES; done += 1024 * 1024) await append(1024 * 1024);

  const script = fileURLToPath(new URL('many-followers.mjs', import.meta.url));
  const args = [script, `${url}?verb=follow&offset=now`, String(FOLLOWERS), String(PIECES * PIECE_BYTES)];
  const others = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    let said = '';
    others.stdout.on('data', (data: Buffer) => {
      said += data;
    });
    const says = async (text: string) => {
      while (!said.includes(text)) await once(others.stdout, 'data');
    };
    await says('open');

    const stopped = millrace('follow', url);
    await stopped.until(() => stopped.stdout.length > 0);
    stopped.kill('SIGSTOP');
    const before = memoryOf(server.command.process.pid);
    const live = createHash('sha256');
    for (let i = 0; i < PIECES; i++) {
      live.update(await append(PIECE_BYTES));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    // All the others have everything, while the one still stands still.
    await says('received');
    expect(said).toContain(`received ${live.digest('hex')}\n`);
    expect(memoryOf(server.command.process.pid) - before).toBeLessThan(GROWTH_BYTES_MAX);
    expect(stopped.stdout.length).toBeLessThan(BEFORE_BYTES);

    stopped.kill('SIGCONT');
    await writer.close();
    await says('ended');
    expect(await stopped.exit).toBe(0);
    const expected = whole.digest('hex');
    expect(createHash('sha256').update(stopped.stdout).digest('hex')).toBe(expected);
    expect(
      createHash('sha256')
        .update(await readFile(join(root, 'a.bin')))
        .digest('hex'),
    ).toBe(expected);
  } finally {
    others.kill('SIGKILL');
  }
});

/** Bytes of memory that a process uses. */
function memoryOf(pid: number | undefined): number {
  return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)]).toString()) * 1024;
}
