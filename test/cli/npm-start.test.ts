import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { expect, it } from 'vitest';

// As a supervisor does it that was told to run `npm start`: the signal goes to npm.
it('npm start passes SIGTERM on to the server and exits with its code, leaving nothing behind', async () => {
  const npm = spawn('npm', ['--ignore-scripts', 'start', '--', '--memory', '--port', '0'], { detached: true });
  try {
    let output = '';
    npm.stdout.on('data', (data: Buffer) => {
      output += data;
    });
    const listening = async () => {
      while (!output.includes('Try:')) await once(npm.stdout, 'data');
      return /http:\/\/[\d.:]+/.exec(output)?.[0] ?? '';
    };
    const url = await Promise.race([listening(), setTimeout(20_000, '', { ref: false })]);
    expect((await fetch(`${url}/-/health`)).status).toBe(200);
    npm.kill('SIGTERM');
    expect(await once(npm, 'exit')).toEqual([0, null]);
    await expect(fetch(`${url}/-/health`)).rejects.toThrow();
  } finally {
    if (npm.pid !== undefined && npm.exitCode === null) process.kill(-npm.pid, 'SIGKILL');
  }
});
