import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { millrace, serve, stopAll, temporaryDirectory } from './commands.js';

afterEach(stopAll);

describe('the walk-through of the seed', () => {
  it('works with our commands', async () => {
    const root = join(await temporaryDirectory(), 'streams');
    const server = await serve('--root', root);
    const url = `${server.url}/foo.txt`;

    const appender = millrace('append', '-v', url);
    await appender.notes(`appending from stdin to ${url}`);
    appender.type('foo\n');
    // The stream is there once its appender is: a follower that comes too early is told so.
    let follower = millrace('follow', '-v', url);
    while ((await Promise.race([follower.exit, follower.prints('foo\n').catch(() => 'ended')])) !== undefined) {
      follower = millrace('follow', '-v', url);
    }
    expect(follower.stderr).toContain(`following data at ${url} (ctrl-C to exit)`);

    // What is typed appears at once.
    appender.type('bar\n');
    await follower.prints('foo\nbar\n');

    // Somebody else may not append meanwhile, and is told why.
    const second = millrace('append', url);
    second.endInput('mine\n');
    expect(await second.exit).toBe(4);
    expect(second.stderr).toMatch(/^millrace: .*\[APPENDER_ACTIVE\]\n$/);
    const refused = await fetch(`${url}?verb=append`, { method: 'POST', body: 'mine\n' });
    expect(refused.status).toBe(403);
    expect(await refused.json()).toMatchObject({ code: 'APPENDER_ACTIVE', status: 403 });

    // The appender leaves: so does the follower.
    appender.type('baz\n');
    await follower.prints('foo\nbar\nbaz\n');
    appender.kill('SIGINT');
    expect(await appender.exit).toBe(0);
    expect(await follower.exit).toBe(0);
    expect(follower.stdout.toString()).toBe('foo\nbar\nbaz\n');
    expect(appender.stdout.toString()).toBe('');
    expect(appender.stderr).toContain(`finished appending from stdin to ${url}`);
    expect(follower.stderr).toContain('finished following (read 12 bytes)');

    // Everything is there, as a file too; nothing is anywhere else.
    const all = await fetch(url);
    expect([all.status, await all.text()]).toEqual([200, 'foo\nbar\nbaz\n']);
    expect(await readFile(join(root, 'foo.txt'), 'utf8')).toBe('foo\nbar\nbaz\n');
    expect((await fetch(`${server.url}/bar.txt`)).status).toBe(404);

    // Without an appender a follower gets all of it and ends; and the next one may append.
    const late = millrace('follow', url);
    expect(await late.exit).toBe(0);
    expect(late.stdout.toString()).toBe('foo\nbar\nbaz\n');
    const next = millrace('append', url);
    next.endInput('mine\n');
    expect(await next.exit).toBe(0);
    expect(await (await fetch(url)).text()).toBe('foo\nbar\nbaz\nmine\n');
  });
});
