import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { ask } from '../http/test-server.js';
import { millrace, millraceWith, SilentServer, serve, stopAll, temporaryDirectory } from './commands.js';

afterEach(stopAll);

describe('millrace serve', () => {
  it('says in one line where it listens, with a command that works', async () => {
    const { command, url } = await serve('--memory');
    const line = command.stdout.toString();
    expect(line).toMatch(/^millrace serves http:\/\/127\.0\.0\.1:\d+ .*\n$/);
    expect(line).toContain(`curl ${url}/hello.txt`);
    const appended = await fetch(`${url}/hello.txt?verb=append`, { method: 'PUT', body: 'hello' });
    expect(appended.ok).toBe(true);
    expect(await (await fetch(`${url}/hello.txt`)).text()).toBe('hello');
  });

  it('says it as JSON with --json', async () => {
    const { command, url } = await serve('--memory', '--json');
    expect(JSON.parse(command.stdout.toString())).toEqual({ msg: 'listening', url, root: null });
  });

  it('keeps its streams in ./data without --root', async () => {
    const directory = await temporaryDirectory();
    const command = millraceWith({ cwd: directory }, 'serve', '--port', '0');
    await command.prints('./data');
    expect(await readdir(directory)).toEqual(['data']);
  });

  it('stops on SIGTERM: appended data is kept, followers are closed properly, exit code 0', async () => {
    const root = await temporaryDirectory();
    const server = await serve('--root', root);
    const appender = millrace('append', `${server.url}/a.txt`);
    appender.type('what was typed\n');
    await holds(`${server.url}/a.txt`, 15);
    const follower = new WebSocket(`${server.url.replace('http', 'ws')}/a.txt?live=ws`);
    const closed = new Promise<number>((resolve) => follower.once('close', resolve));
    await new Promise((resolve) => follower.once('message', resolve));
    server.command.kill('SIGTERM');
    expect(await server.command.exit).toBe(0);
    expect(server.command.stderr).toBe('');
    expect(await closed).toBe(1001);
    expect(await readFile(join(root, 'a.txt'), 'utf8')).toBe('what was typed\n');
  });

  it.each([['sentences'], ['JSON', '--json']])(
    'serves on, and stops properly, when nobody reads its %s any more',
    async (_, ...args) => {
      const root = await temporaryDirectory();
      const server = await serve('--root', root, '-v', ...args);
      const appender = millrace('append', `${server.url}/a.txt`);
      appender.type('what was typed\n');
      await holds(`${server.url}/a.txt`, 15);
      server.command.process.stdout?.destroy();
      server.command.process.stderr?.destroy();
      // It notices with what it says of its end.
      server.command.kill('SIGTERM');
      expect(await server.command.exit).toBe(0);
      expect(await readFile(join(root, 'a.txt'), 'utf8')).toBe('what was typed\n');
    },
  );

  it('does not wait longer than --drain-ms for a client that does not end', async () => {
    const server = await serve('--memory', '--drain-ms', '200');
    // Half a request: the server can neither answer nor end it.
    const client = connect(Number(server.port), '127.0.0.1');
    client.on('error', () => undefined);
    client.write('PUT /a.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf');
    await once(client, 'connect');
    await (await fetch(`${server.url}/-/health`)).text();
    server.command.kill('SIGTERM');
    expect(await server.command.exit).toBe(0);
    client.destroy();
  });

  it('waits for nobody with --drain-ms 0', async () => {
    const server = await serve('--memory', '--drain-ms', '0');
    const client = connect(Number(server.port), '127.0.0.1');
    client.on('error', () => undefined);
    client.write('PUT /a.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf');
    await once(client, 'connect');
    await (await fetch(`${server.url}/-/health`)).text();
    server.command.kill('SIGTERM');
    expect(await server.command.exit).toBe(0);
    client.destroy();
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('ends at once on %s while it waits for its hub', async (signal) => {
    const root = await temporaryDirectory();
    const silent = new SilentServer();
    const hub = `redis://127.0.0.1:${await silent.start()}`;
    const command = millrace('serve', '--root', root, '--port', '0', '--hub', hub, '-v');
    await silent.connected();
    command.kill(signal);
    expect(await command.exit).toBe(0);
    expect(command.stderr).toBe('stopped before it was up\n');
    silent.stop();
  });

  it('ends at once on a second Ctrl-C', async () => {
    const server = await serve('--memory', '-v', '--drain-ms', '600000');
    const client = connect(Number(server.port), '127.0.0.1');
    client.on('error', () => undefined);
    client.write('PUT /a.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf');
    await once(client, 'connect');
    await (await fetch(`${server.url}/-/health`)).text();
    server.command.kill('SIGINT');
    await server.command.notes('stopping');
    server.command.kill('SIGINT');
    expect(await server.command.exit).toBe(130);
    client.destroy();
  });

  it('stops by itself when its store fails, with a code of its own; what was acknowledged is kept', async () => {
    const root = await temporaryDirectory();
    // From a sign on, everything that is flushed to the disk fails.
    const brokenDisk = `
      import fs from 'node:fs';
      import { syncBuiltinESMExports } from 'node:module';
      for (const name of ['fdatasync', 'fsync']) {
        const real = fs[name];
        fs[name] = (fd, done) => (fs.existsSync(${JSON.stringify(join(root, 'break'))})
          ? done(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }))
          : real(fd, done));
      }
      syncBuiltinESMExports();`;
    const nodeOptions = ['--import', `data:text/javascript,${encodeURIComponent(brokenDisk)}`];
    const command = millraceWith({ nodeOptions }, 'serve', '--root', root, '--port', '0');
    await command.prints('\n');
    const url = /http:\/\/[^ ]+/.exec(command.stdout.toString())?.[0] ?? '';
    await fetch(`${url}/a.txt?verb=append`, { method: 'PUT', body: 'acknowledged' });
    await writeFile(join(root, 'break'), '');
    const failed = await fetch(`${url}/a.txt?verb=append`, { method: 'PUT', body: 'lost' }).catch(() => undefined);
    expect(failed?.ok ?? false).toBe(false);
    expect(await command.exit).toBe(6);
    expect(command.stderr).toMatch(/\[STORE_FAILED\]\n$/);
    const again = await serve('--root', root);
    expect(await (await fetch(`${again.url}/a.txt`)).text()).toMatch(/^acknowledged(lost)?$/);
  });

  it('fails when its own directory is taken away, and nobody else may start before', async () => {
    const root = await temporaryDirectory();
    const { url, command } = await serve('--root', root);
    await fetch(`${url}/a.txt?verb=append`, { method: 'PUT', body: '1' });
    await rm(join(root, '.millrace'), { recursive: true });
    const refused = await fetch(`${url}/a.txt?verb=append`, { method: 'PUT', body: '2' }).catch(() => undefined);
    expect(refused?.ok ?? false).toBe(false);
    expect(await command.exit).toBe(6);
    expect(command.stderr).toMatch(/\[STORE_FAILED\]\n$/);
    expect(existsSync(join(root, '.millrace'))).toBe(false);
  });

  it('says in its log what was taken out of a stream’s file, and where it is', async () => {
    const root = await temporaryDirectory();
    const { url, command } = await serve('--root', root);
    await fetch(`${url}/a.txt?verb=append`, { method: 'PUT', body: 'acknowledged' });
    await rm(join(root, 'a.txt'));
    await mkdir(join(root, 'a.txt'));
    await writeFile(join(root, 'a.txt/b'), '');
    await command.kill('SIGTERM');
    expect(await command.exit).toBe(0);
    expect(command.stderr).toMatch(/acknowledged bytes were taken out.*a\.txt.*12 bytes.*\.millrace\/lost/);
  });

  it('serves a root again as it was left, and a second server is told that it is taken', async () => {
    const root = await temporaryDirectory();
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7) % 256));
    const first = await serve('--root', root);
    await fetch(`${first.url}/a.bin?verb=append`, { method: 'PUT', body: bytes });
    const other = millrace('serve', '--root', root, '--port', '0');
    expect(await other.exit).toBe(7);
    expect(other.stderr).toMatch(/^millrace: .*\[STORE_LOCKED\]\n$/);
    first.command.kill('SIGINT');
    expect(await first.command.exit).toBe(0);
    const second = await serve('--root', root);
    const again = Buffer.from(await (await fetch(`${second.url}/a.bin`)).arrayBuffer());
    expect(sha256(again)).toBe(sha256(bytes));
  });

  it('says in one line why it cannot start', async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, 'file'), '');
    await mkdir(join(directory, 'root'));
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    const cases: [args: string[], code: number, message: RegExp][] = [
      [['--root', join(directory, 'root'), '--port', String(port)], 7, /the port is in use.*\[LISTEN_FAILED\]/],
      [['--memory', '--host', '203.0.113.7'], 7, /no such address.*\[LISTEN_FAILED\]/],
      [['--root', join(directory, 'missing', 'root')], 7, /does not exist.*\[STORE_UNAVAILABLE\]/],
      [['--root', join(directory, 'file')], 7, /not a directory.*\[STORE_UNAVAILABLE\]/],
      [['--root', ''], 2, /root must not be empty.*\[INVALID_ARGUMENT\]/],
      [['--memory', '--host', ''], 2, /host must not be empty.*\[INVALID_ARGUMENT\]/],
      [['--memory', '--public-url', 'foo'], 2, /publicUrl must be.*\[INVALID_ARGUMENT\]/],
      [['--memory', '--origin', 'app.example'], 2, /origins must be.*\[INVALID_ARGUMENT\]/],
      [['--memory', '--host-name', 'build.lan:80'], 2, /hostNames must be.*\[INVALID_ARGUMENT\]/],
    ];
    for (const [args, code, message] of cases) {
      const command = millrace('serve', ...(args.includes('--port') ? [] : ['--port', '0']), ...args);
      expect(await command.exit, args.join(' ')).toBe(code);
      expect(command.stderr).toMatch(message);
      expect(command.stderr.trimEnd()).not.toContain('\n');
      expect(command.stdout.toString()).toBe('');
    }
    // The root of the one whose port was taken is free again.
    await serve('--root', join(directory, 'root'));
    taken.close();
  });

  it('lets in the pages, and answers to the names, that it is told', async () => {
    const told = [
      '--origin',
      'https://a.example',
      '--origin',
      'https://b.example',
      '--host-name',
      'one.lan',
      '--host-name',
      'two.lan',
    ];
    const server = await serve('--memory', ...told, '--public-url', 'https://streams.example');
    const status = async (headers: Record<string, string>) =>
      (await ask({ port: Number(server.port) }, 'GET', '/-/streams', { headers })).status;
    for (const site of ['a', 'b', 'streams']) expect(await status({ Origin: `https://${site}.example` })).toBe(200);
    for (const Host of ['one.lan', 'two.lan:80', 'streams.example']) expect(await status({ Host })).toBe(200);
    expect(await status({ Origin: 'https://evil.example' })).toBe(403);
    expect(await status({ Host: 'evil.example' })).toBe(421);
  });

  it.each([
    ['--port', '70000'],
    ['--port', 'abc'],
    ['--drain-ms', '-1'],
    ['--drain-ms', '2147483648'],
    ['--heartbeat-interval-ms', '9999999999'],
    ['--sse-connection-ms', '0'],
    ['--long-poll-timeout-ms', '2147483648'],
    ['--read-bytes-max', '0'],
    ['--followers-max', '0'],
    ['--no-such-option', '1'],
    ['--root', 'x', '--memory'],
    ['unexpected'],
  ])('refuses a wrong command line: %s %s %s', async (...args) => {
    const command = millrace('serve', ...args.filter((arg) => arg !== undefined));
    expect(await command.exit).toBe(2);
    expect(command.stderr).toContain('error:');
  });
});

describe('millrace serve --help', () => {
  it('names the limits that are documented, with the same defaults', async () => {
    const help = millrace('serve', '--help');
    expect(await help.exit).toBe(0);
    const [, limits = ''] = help.stdout.toString().split('Limits:');
    const told = [...limits.matchAll(/^ {2}(--[a-z-]+) <\w+>.*?\(default: (\w+)\)$/gm)].map(([, name, value]) => [
      name,
      value,
    ]);
    const page = await readFile(new URL('../../docs/command-line.md', import.meta.url), 'utf8');
    const rows = [...page.matchAll(/^\| `(--[a-z-]+) N` +\| ([\d,]+)( [KM]iB)? /gm)];
    const scale: Record<string, number> = { ' KiB': 1024, ' MiB': 1024 * 1024 };
    const documented = rows.map(([, name, value = '', unit = '']) => [
      name,
      String(Number(value.replaceAll(',', '')) * (scale[unit] ?? 1)),
    ]);
    expect(told.length).toBeGreaterThan(10);
    expect(told.sort()).toEqual(documented.sort());
  });
});

describe('millrace', () => {
  it('explains itself', async () => {
    const help = millrace('--help');
    expect(await help.exit).toBe(0);
    for (const verb of ['serve', 'append', 'follow']) expect(help.stdout.toString()).toContain(verb);
    const version = millrace('--version');
    expect(await version.exit).toBe(0);
    expect(version.stdout.toString()).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it('refuses what it does not know', async () => {
    for (const args of [
      [],
      ['frobnicate'],
      ['append'],
      ['follow', 'not a url'],
      ['follow', 'http://localhost'],
      ['follow', 'localhost:4437/'],
      ['append', 'ftp://localhost/a'],
    ]) {
      const command = millrace(...args);
      expect(await command.exit, args.join(' ')).toBe(2);
      expect(command.stderr).not.toBe('');
    }
  });
});

/** Resolves once the stream holds so many bytes. */
async function holds(url: string, bytes: number): Promise<void> {
  for (;;) {
    const head = await fetch(url, { method: 'HEAD' });
    if (Number.parseInt(head.headers.get('stream-next-offset') ?? '', 10) >= bytes) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
