import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import type { Driver } from '../../src/hub/index.js';
import { hubDriverSuite } from '../../src/testing/index.js';
import { startBroker, stopBroker } from './acme-broker.js';

// The driver that docs/write-a-driver.md shows compiles as it stands there, and passes the suite.
const guide = readFileSync('docs/write-a-driver.md', 'utf8');
const code = /^```ts\n([\s\S]*?)^```$/m.exec(guide)?.[1] ?? '';

// Inside the checkout, so that the compiler finds the project's types.
mkdirSync('.cache', { recursive: true });
const folder = mkdtempSync('.cache/write-a-driver-');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
writeFileSync(
  join(folder, 'acme.ts'),
  code
    .replace("from 'millrace/hub'", "from '../../src/hub/index.js'")
    .replace("import('acme-broker')", "import('../../test/docs/acme-broker.js')"),
);
const { acme } = (await import(/* @vite-ignore */ resolve(folder, 'acme.ts'))) as {
  acme: (options: { address: string }) => Driver;
};

describe('the driver of docs/write-a-driver.md', () => {
  it('compiles', async () => {
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({
        extends: '../../tsconfig.json',
        include: ['*.ts', '../../src/hub'],
        compilerOptions: { noEmit: true },
      }),
    );
    const compiler = promisify(execFile)('npx', ['tsc', '-p', folder], { timeout: 60_000 });
    await expect(compiler).resolves.toBeDefined();
  });

  startBroker('localhost:4000');
  const cases = hubDriverSuite({
    driver: () => acme({ address: 'localhost:4000' }),
    broker: { kill: async () => stopBroker('localhost:4000'), restart: async () => startBroker('localhost:4000') },
    unreachable: () => acme({ address: 'localhost:1' }),
  });
  for (const { name, skip, timeoutMs, run } of cases) {
    it(skip ? `${name} (not asked: ${skip})` : name, { skip: skip !== undefined, timeout: timeoutMs }, run);
  }
});
