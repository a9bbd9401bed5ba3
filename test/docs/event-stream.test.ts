import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it, vi } from 'vitest';

// Every example of docs/event-stream.md is a program that compiles, runs, and prints what its `// =>` lines say.
const guide = readFileSync('docs/event-stream.md', 'utf8');
const examples = [...guide.matchAll(/^## (.+)$|^```ts\n([\s\S]*?)^```$/gm)].reduce<{ title: string; code: string }[]>(
  (found, [, heading, code]) => {
    if (heading !== undefined) found.push({ title: heading, code: '' });
    else if (code !== undefined) (found.at(-1) as { code: string }).code = code;
    return found;
  },
  [],
);
const programs = examples.filter((example) => example.code !== '');

// Inside the checkout, so that the compiler finds the project's types.
mkdirSync('.cache', { recursive: true });
const folder = mkdtempSync('.cache/event-stream-guide-');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const files = programs.map(({ code }, index) => {
  const file = join(folder, `example-${index}.ts`);
  const own = code.replaceAll(/from 'millrace\/(.+)'/g, (_, entry: string) =>
    entry === 'errors' ? "from '../../src/errors.js'" : `from '../../src/${entry}/index.js'`,
  );
  writeFileSync(file, own);
  return file;
});

describe('the guide to EventStream', () => {
  it('has examples', () => {
    expect(programs.length).toBeGreaterThan(3);
  });

  it('compiles', async () => {
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ extends: '../../tsconfig.json', include: ['*.ts'], compilerOptions: { noEmit: true } }),
    );
    const compiler = promisify(execFile)('npx', ['tsc', '-p', folder], { timeout: 60_000 });
    await expect(compiler).resolves.toBeDefined();
  });

  it.each(programs.map((program, index) => ({ ...program, file: files[index] as string })))(
    'prints what it says: $title',
    async ({ code, file }) => {
      const log = vi.spyOn(console, 'log').mockImplementation(() => {});
      try {
        await import(/* @vite-ignore */ resolve(file));
        const printed = log.mock.calls.map((words) => words.join(' '));
        expect(printed).toEqual([...code.matchAll(/^\/\/ => (.+)$/gm)].map((match) => match[1]));
      } finally {
        log.mockRestore();
      }
    },
  );
});
