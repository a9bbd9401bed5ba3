import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { it } from 'vitest';

const run = promisify(execFile);

/**
 * The path of a program that `scripts/toolchains/<name>` finds, or gets. Where it cannot the file is skipped, with what
 * to do; with MILLRACE_REQUIRE_TOOLCHAINS=1, as in CI, it fails.
 */
export async function findToolchain(name: string): Promise<string | undefined> {
  try {
    const { stdout } = await run(`scripts/toolchains/${name}`, { encoding: 'utf8' });
    return stdout.trim();
  } catch (error) {
    const why = String((error as { stderr?: unknown }).stderr ?? error).trim();
    if (process.env.MILLRACE_REQUIRE_TOOLCHAINS === '1') throw new Error(why);
    // Reporters that only count do not show names.
    console.warn(`Skipping the tests that need ${name}. ${why}`);
    it(`${name} (skipped: ${why})`, { skip: true }, () => {});
    return undefined;
  }
}

/** Runs a program to its end, and answers what it printed. Throws with its standard error where it fails. */
export async function runProgram(program: string, args: readonly string[], cwd?: string): Promise<string> {
  const { stdout } = await run(program, [...args], {
    encoding: 'utf8',
    timeout: 120_000,
    maxBuffer: 16 * 1024 * 1024,
    ...(cwd === undefined ? {} : { cwd }),
  });
  return stdout;
}
