import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { serve, stopAll, temporaryDirectory } from '../cli/commands.js';
import { findToolchain, runProgram } from './programs.js';

/** curl that offers HTTP/2 with every request, as an alias or a configuration file makes it. */

const curl = await findToolchain('curl');

afterEach(stopAll);

describe.runIf(curl)('curl --http2', () => {
  const ask = (...args: string[]) => runProgram(curl as string, ['-sS', '--http2', ...args]);
  const STATUS = ['-o', '/dev/null', '-w', '%{http_code}'];

  it('creates, appends, uploads from a pipe, reads and deletes', async () => {
    const folder = await temporaryDirectory();
    const { url } = await serve('--root', join(folder, 'root'));
    const large = join(folder, 'large');
    await writeFile(large, 'x'.repeat(3_000_000));
    const text = ['-H', 'content-type: text/plain'];
    expect(await ask(...STATUS, '-X', 'PUT', ...text, `${url}/a`)).toBe('201');
    expect(await ask(...STATUS, '-X', 'PUT', ...text, '-d', 'first ', `${url}/b`)).toBe('201');
    expect(await ask(...STATUS, ...text, '-d', 'second', `${url}/b`)).toBe('204');
    expect(await ask(`${url}/b`)).toBe('first second');
    expect(await ask(...STATUS, '-T', large, `${url}/c?verb=append`)).toBe('204');
    expect((await ask(`${url}/c`)).length).toBe(3_000_000);
    expect(await ask(...STATUS, ...text, '--data-binary', `@${large}`, `${url}/a`)).toBe('204');
    expect((await ask(`${url}/a`)).length).toBe(3_000_000);
    expect(await ask(...STATUS, '-X', 'DELETE', `${url}/a`)).toBe('204');
  });
});
