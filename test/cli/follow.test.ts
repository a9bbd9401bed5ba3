import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { append, close, openAppend } from '../../src/client/index.js';
import { startStreamServer } from '../client/stream-server.js';
import { millrace, type ServeCommand, serve, stopAll } from './commands.js';

let server: ServeCommand;
beforeEach(async () => {
  server = await serve('--memory');
});
afterEach(stopAll);

describe('millrace follow', () => {
  it('prints all 256 byte values as they are', async () => {
    const bytes = Uint8Array.from({ length: 256 * 1_000 }, (_, i) => i % 256);
    await append(`${server.url}/a.bin`, bytes);
    const command = millrace('follow', `${server.url}/a.bin`);
    expect(await command.exit).toBe(0);
    expect(command.stdout.equals(bytes)).toBe(true);
    expect(command.stderr).toBe('');
  });

  it('stays with --live until the stream is closed for good', async () => {
    await append(`${server.url}/a.txt`, 'one ');
    const command = millrace('follow', '--live', `${server.url}/a.txt`);
    await command.prints('one ');
    await append(`${server.url}/a.txt`, 'two');
    await command.prints('two');
    await close(`${server.url}/a.txt`);
    expect(await command.exit).toBe(0);
    expect(command.stdout.toString()).toBe('one two');
  });

  it('ends with an exit code of its own where the appender was killed, and not where it left', async () => {
    for (const [signal, code] of [
      ['SIGKILL', 10],
      ['SIGINT', 0],
    ] as const) {
      const path = `/${signal}.txt`;
      const appender = millrace('append', server.url + path);
      appender.type('some of it\n');
      const command = millrace('follow', '--wait=60', server.url + path);
      await command.prints('some of it\n');
      appender.kill(signal);
      expect(await command.exit, signal).toBe(code);
      expect(command.stderr).toMatch(code === 0 ? /^$/ : /^millrace: the appender was lost[^\n]*\n$/);
      // Who comes later is told the same.
      expect(await millrace('follow', server.url + path).exit).toBe(code);
    }
  });

  it('waits with --wait for a stream that is not there yet', async () => {
    const command = millrace('follow', '--wait', '--live', `${server.url}/late.txt`);
    const impatient = millrace('follow', '--wait', '0', `${server.url}/none.txt`);
    expect(await impatient.exit).toBe(3);
    await append(`${server.url}/late.txt`, 'there', { closeStream: true });
    expect(await command.exit).toBe(0);
    expect(command.stdout.toString()).toBe('there');
    const wrong = millrace('follow', `${server.url}/a.txt`, '--wait', 'x');
    expect(await wrong.exit).toBe(2);
  });

  it('goes on from the offset that -v printed', async () => {
    await append(`${server.url}/a.txt`, 'one ');
    const first = millrace('follow', '-v', `${server.url}/a.txt`);
    expect(await first.exit).toBe(0);
    const offset = /offset=(\S+)/.exec(first.stderr)?.[1] ?? '';
    await append(`${server.url}/a.txt`, 'two');
    const second = millrace('follow', '--offset', offset, `${server.url}/a.txt`);
    expect(await second.exit).toBe(0);
    expect(second.stdout.toString()).toBe('two');
    const whole = millrace('follow', '--offset', '-1', `${server.url}/a.txt`);
    expect(await whole.exit).toBe(0);
    expect(whole.stdout.toString()).toBe('one two');
  });

  it('says in one line what is wrong', async () => {
    await append(`${server.url}/a.txt`, 'x');
    const cases: [args: string[], code: number, error: string][] = [
      [[`${server.url}/none.txt`], 3, 'STREAM_NOT_FOUND'],
      [['--offset', 'abc', `${server.url}/a.txt`], 2, 'INVALID_OFFSET'],
      [['--offset', '0000000000000002', `${server.url}/a.txt`], 1, 'OFFSET_OUT_OF_RANGE'],
      [[`${server.url}/a%2F..`], 1, 'INVALID_PATH'],
    ];
    for (const [args, code, error] of cases) {
      const command = millrace('follow', ...args);
      expect(await command.exit, args.join(' ')).toBe(code);
      expect(command.stderr).toMatch(new RegExp(`^millrace: [^\\n]*\\[${error}\\]\\n$`));
    }
  });

  it('ends with a code of its own where another stream is at the place, and prints nothing of it', async () => {
    const own = await startStreamServer();
    const { store } = own;
    await store.create('a.txt', { data: Buffer.from('OLD') });
    const command = millrace('follow', '--live', `${own.url}/a.txt`);
    await command.prints('OLD');
    own.cut();
    await Promise.all([store.delete('a.txt'), store.create('a.txt', { data: Buffer.from('NEW and longer') })]);
    expect(await command.exit).toBe(9);
    expect(command.stdout.toString()).toBe('OLD');
    expect(command.stderr).toMatch(/^millrace: [^\n]*\[OFFSET_OF_ANOTHER_STREAM\]\n$/);
    await own.kill();
    await store.close();
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('ends quietly on %s', async (signal) => {
    await append(`${server.url}/a.txt`, 'x');
    const command = millrace('follow', '--live', `${server.url}/a.txt`);
    await command.prints('x');
    command.kill(signal);
    expect(await command.exit).toBe(0);
    expect([command.stdout.toString(), command.stderr]).toEqual(['x', '']);
  });

  it('ends quietly when nobody reads its output any more', async () => {
    const writer = (await openAppend(`${server.url}/a.txt`)).getWriter();
    await writer.write('first line\n');
    const command = millrace('follow', `${server.url}/a.txt`);
    await command.prints('first line\n');
    command.process.stdout?.destroy();
    // It notices with what it writes next.
    for (let ended = false; !ended; ) {
      await writer.write('and more\n');
      ended = await Promise.race([
        command.exit.then(() => true),
        new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 20)),
      ]);
    }
    expect(await command.exit).toBe(0);
    expect(command.stderr).toBe('');
    await writer.close();
  });

  it('holds nobody up while one of many is stopped, and that one gets every byte once it goes on', async () => {
    const writer = (await openAppend(`${server.url}/a.txt`)).getWriter();
    await writer.write('begin\n');
    const followers = Array.from({ length: 4 }, () => millrace('follow', `${server.url}/a.txt`));
    await Promise.all(followers.map((follower) => follower.prints('begin\n')));
    const [stopped, ...others] = followers;
    stopped?.kill('SIGSTOP');
    const megabyte = 'x'.repeat(1023).concat('\n').repeat(1024);
    // More than all buffers between server and follower hold.
    for (let i = 0; i < 24; i++) await writer.write(megabyte);
    await writer.write('end\n');
    await Promise.all(
      others.map((follower) => follower.until(() => follower.stdout.subarray(-4).toString() === 'end\n')),
    );
    await writer.close();
    expect(await Promise.all(others.map(({ exit }) => exit))).toEqual([0, 0, 0]);
    expect(stopped?.process.exitCode).toBeNull();
    stopped?.kill('SIGCONT');
    expect(await stopped?.exit).toBe(0);
    expect(stopped?.stdout.length).toBe('begin\nend\n'.length + 24 * megabyte.length);
  });
});
