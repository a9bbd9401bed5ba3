import { afterEach, describe, expect, it } from 'vitest';
import { append, type Follower, follow, openAppend } from '../../src/client/index.js';
import { millrace, serve, stopAll, temporaryDirectory } from './commands.js';

afterEach(stopAll);

/** Reads a follower to its end, or to this last line. */
function reading(follower: Follower, last?: string): { begun: Promise<void>; text: Promise<string> } {
  let begin: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const text = (async () => {
    let all = '';
    for await (const part of follower.text()) {
      all += part;
      begin();
      if (last !== undefined && all.endsWith(last)) break;
    }
    return all;
  })();
  return { begun, text };
}

const quick = { retryDelayMinMs: 20, retryDelayMaxMs: 100 };

describe('a server that is killed in the middle', () => {
  it('loses nothing of what clients append and follow: they resume by themselves', async () => {
    const root = await temporaryDirectory();
    let server = await serve('--root', root);
    const url = `${server.url}/a.txt`;
    const lines = Array.from({ length: 30_000 }, (_, i) => `line ${i}\n`);
    const stream = await openAppend(url, { ...quick, frameBytesMax: 256, unacknowledgedBytesMax: 32 * 1024 });
    const writer = stream.getWriter();
    await writer.write('begin\n');
    const untilLeft = reading(follow(url, quick));
    const untilEnd = reading(follow(url, { ...quick, live: true }), 'the end\n');
    await Promise.all([untilLeft.begun, untilEnd.begun]);
    for (const [i, line] of lines.entries()) {
      await writer.write(line);
      if (i % 10_000 !== 5_000) continue;
      server.command.kill('SIGKILL');
      await server.command.exit;
      server = await serve('--root', root, '--port', server.port);
    }
    await writer.write('the end\n');
    await writer.close();
    const expected = `begin\n${lines.join('')}the end\n`;
    expect(await untilEnd.text).toBe(expected);
    expect(await untilLeft.text).toBe(expected);
    expect(await (await fetch(url)).text()).toBe(expected);
    expect(stream.producer.epoch).toBeGreaterThanOrEqual(3);
  }, 60_000);

  it('is waited for by the commands as well', async () => {
    const root = await temporaryDirectory();
    let server = await serve('--root', root);
    const url = `${server.url}/a.txt`;
    await append(url, 'begin\n');
    const appender = millrace('append', '-v', url);
    const follower = millrace('follow', '--live', url);
    await follower.prints('begin\n');
    appender.type('before\n');
    await follower.prints('before\n');
    server.command.kill('SIGKILL');
    await server.command.exit;
    await appender.notes('Trying again in');
    appender.type('while it was away\n');
    server = await serve('--root', root, '--port', server.port);
    await follower.prints('while it was away\n');
    appender.endInput('after\n');
    expect(await appender.exit, appender.stderr).toBe(0);
    await follower.prints('after\n');
    expect(follower.stdout.toString()).toBe('begin\nbefore\nwhile it was away\nafter\n');
    expect(follower.stderr).toBe('');
  }, 60_000);
});
