import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { millrace, type ServeCommand, SilentServer, serve, stopAll } from './commands.js';

let server: ServeCommand;
beforeEach(async () => {
  server = await serve('--memory');
});
afterEach(stopAll);

async function contentOf(path: string): Promise<string> {
  return (await fetch(`${server.url}${path}`)).text();
}

/** Resolves once the stream holds so many bytes. */
async function holds(path: string, bytes: number): Promise<void> {
  for (;;) {
    const head = await fetch(`${server.url}${path}`, { method: 'HEAD' });
    if (Number.parseInt(head.headers.get('stream-next-offset') ?? '', 10) >= bytes) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe('millrace append', () => {
  it('appends its standard input and prints nothing', async () => {
    const command = millrace('append', `${server.url}/a.txt`);
    command.endInput('from a pipe\n');
    expect(await command.exit).toBe(0);
    expect([command.stdout.toString(), command.stderr]).toEqual(['', '']);
    expect(await contentOf('/a.txt')).toBe('from a pipe\n');
  });

  it('takes a URL without its scheme', async () => {
    const command = millrace('append', `127.0.0.1:${server.port}/a.txt`);
    command.endInput('x');
    expect(await command.exit).toBe(0);
    expect(await contentOf('/a.txt')).toBe('x');
  });

  it('names the stream that its URL names', async () => {
    for (const path of ['/a%2Fb', '/a/b', '/.a']) {
      const command = millrace('append', server.url + path);
      command.endInput(path);
      expect(await command.exit, path).toBe(0);
      expect(await contentOf(path)).toBe(path);
      const follow = millrace('follow', server.url + path);
      expect(await follow.exit).toBe(0);
      expect(follow.stdout.toString()).toBe(path);
    }
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('keeps what was typed before %s, and ends with code 0', async (signal) => {
    const command = millrace('append', `${server.url}/a.txt`);
    command.type('typed\n');
    await holds('/a.txt', 6);
    command.type('and more\n');
    await holds('/a.txt', 15);
    command.kill(signal);
    expect(await command.exit).toBe(0);
    expect(command.stderr).toBe('');
    expect(await contentOf('/a.txt')).toBe('typed\nand more\n');
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('ends at once on %s while it connects', async (signal) => {
    const silent = new SilentServer();
    const command = millrace('append', '-v', `http://127.0.0.1:${await silent.start()}/a.txt`);
    command.type('never read');
    await silent.connected();
    command.kill(signal);
    expect(await command.exit).toBe(130);
    expect(command.stderr).toContain('nothing was appended');
    silent.stop();
  });

  it('appends all the same when nobody reads what it says', async () => {
    const command = millrace('append', '-v', `${server.url}/a.txt`);
    // Before it has said anything.
    command.process.stdout?.destroy();
    command.process.stderr?.destroy();
    command.endInput('all of it');
    expect(await command.exit).toBe(0);
    expect(await contentOf('/a.txt')).toBe('all of it');
  });

  it('closes the stream for good with --close', async () => {
    const command = millrace('append', '--close', `${server.url}/a.txt`);
    command.endInput('all');
    expect(await command.exit).toBe(0);
    const head = await fetch(`${server.url}/a.txt`, { method: 'HEAD' });
    expect(head.headers.get('stream-closed')).toBe('true');
    const more = millrace('append', `${server.url}/a.txt`);
    more.endInput('more');
    expect(await more.exit).toBe(1);
    expect(more.stderr).toMatch(/\[STREAM_CLOSED\]\n$/);
  });

  it('appends each line to a JSON stream as a message', async () => {
    const command = millrace('append', '--content-type', 'application/json', `${server.url}/a`);
    command.type('{"n":1}\n{"n"');
    command.endInput(':2}\n[3]');
    expect(await command.exit).toBe(0);
    expect(await (await fetch(`${server.url}/a?offset=-1`)).json()).toEqual([{ n: 1 }, { n: 2 }, [3]]);
  });

  it('leaves the stream free at once when it is killed', async () => {
    const killed = millrace('append', `${server.url}/a.txt`);
    killed.type('kept\n');
    await holds('/a.txt', 5);
    killed.kill('SIGKILL');
    await killed.exit;
    const next = millrace('append', `${server.url}/a.txt`);
    next.endInput('next\n');
    expect(await next.exit, next.stderr).toBe(0);
    expect(await contentOf('/a.txt')).toBe('kept\nnext\n');
  });

  it('says in one line that the server is not there', async () => {
    server.command.kill('SIGKILL');
    await server.command.exit;
    const command = millrace('append', `${server.url}/a.txt`);
    expect(await command.exit).toBe(5);
    expect(command.stderr).toMatch(/^millrace: Cannot connect to .*\[CONNECTION_FAILED\]\n$/);
  });

  it('logs as JSON with --json', async () => {
    const command = millrace('append', '-v', '--json', `${server.url}/a.txt`);
    command.endInput('x');
    expect(await command.exit).toBe(0);
    const notes = command.stderr
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { msg: string });
    expect(notes.map(({ msg }) => msg)).toEqual([
      `appending from stdin to ${server.url}/a.txt`,
      `finished appending from stdin to ${server.url}/a.txt`,
    ]);
    const failing = millrace('follow', '--json', `${server.url}/none.txt`);
    expect(await failing.exit).toBe(3);
    expect(JSON.parse(failing.stderr)).toMatchObject({ level: 50, code: 'STREAM_NOT_FOUND' });
  });
});
