import { existsSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { millrace, serve, stopAll, temporaryDirectory } from './commands.js';

afterEach(stopAll);

/** A root whose server was killed, with a few streams that only the journal has for sure. */
async function killedRoot(): Promise<string> {
  const root = await temporaryDirectory();
  const { url, command } = await serve('--root', root);
  for (const path of ['a.txt', 'b.txt', 'a.txt', 'b.txt']) {
    await fetch(`${url}/${path}?verb=append`, { method: 'PUT', body: `${path};` });
  }
  command.kill('SIGKILL');
  await command.exit;
  return root;
}

/** One bit in the payload of the second append to a.txt. */
async function damage(root: string): Promise<void> {
  const file = join(root, '.millrace/journal/0000.journal');
  const at = (await readFile(file)).lastIndexOf('a.txt;');
  const handle = await open(file, 'r+');
  await handle.write(Buffer.from('A'), 0, 1, at);
  await handle.close();
}

describe('millrace check', () => {
  it('says that a root is sound', async () => {
    const root = await killedRoot();
    const command = millrace('check', root);
    expect(await command.exit).toBe(0);
    expect(command.stdout.toString()).toBe(`${root} is sound.\n`);
    expect(command.stderr).toBe('');
  });

  it('says where a root is damaged, and whose streams are touched; puts them aside; all others are served again', async () => {
    const root = await killedRoot();
    await damage(root);
    const refused = millrace('serve', '--root', root, '--port', '0');
    expect(await refused.exit).toBe(7);
    expect(refused.stderr).toMatch(/^millrace: .*millrace check.*\[JOURNAL_CORRUPT\]\n$/);
    const command = millrace('check', root);
    expect(await command.exit).toBe(8);
    expect(command.stdout.toString()).toMatch(/0000\.journal, byte \d+: record \d+ cannot be read\ntouched: a\.txt \(/);
    expect(command.stdout.toString()).toContain(`millrace check --set-aside ${root}\n`);
    expect(command.stderr).toMatch(/^millrace: .*\[JOURNAL_CORRUPT\]\n$/);
    const aside = millrace('check', '--set-aside', '--json', root);
    expect(await aside.exit).toBe(0);
    const report = JSON.parse(aside.stdout.toString());
    expect(report).toMatchObject({ touched: [{ path: 'a.txt' }], unnamed: 0 });
    expect(existsSync(join(report.setAside, 'report.json'))).toBe(true);
    expect(await millrace('check', root).exit).toBe(0);
    const again = await serve('--root', root);
    expect(await (await fetch(`${again.url}/b.txt`)).text()).toBe('b.txt;b.txt;');
    expect((await fetch(`${again.url}/a.txt`)).status).toBe(404);
  });

  it('says what it cannot look through', async () => {
    const root = await temporaryDirectory();
    await serve('--root', root);
    const served = millrace('check', root);
    expect(await served.exit).toBe(7);
    expect(served.stderr).toMatch(/^millrace: .*\[STORE_LOCKED\]\n$/);
    const missing = millrace('check', join(root, 'missing'));
    expect(await missing.exit).toBe(7);
    expect(missing.stderr).toMatch(/^millrace: .*\[STORE_UNAVAILABLE\]\n$/);
    expect(await millrace('check').exit).toBe(2);
  });
});
