import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { sourceFiles } from './source-files.js';

/** A file longer than this holds more than one idea. */
const LINES_MAX = 500;

const source = sourceFiles('src');
const written = ['src', 'test', 'bench', 'examples', 'scripts'].filter(existsSync).flatMap(sourceFiles);

describe('house style', () => {
  it(`keeps each source file within ${LINES_MAX} lines`, () => {
    const long = source.filter((file) => file.text.split('\n').length > LINES_MAX).map((file) => file.path);
    expect(long).toEqual([]);
  });

  it('leaves nothing for later', () => {
    const marker = new RegExp(`\\b(${['TO', 'DO'].join('')}|${['FIX', 'ME'].join('')}|${'X'.repeat(3)})\\b`);
    expect(written.filter((file) => marker.test(file.text)).map((file) => file.path)).toEqual([]);
  });

  it('has no skipped or focused test without a reason beside it', () => {
    const focused = written.filter((file) => /\b(it|test|describe)\.only\(/.test(file.text)).map((file) => file.path);
    expect(focused).toEqual([]);
    const skipped = written.filter((file) => /\b(it|test|describe)\.skip\(/.test(file.text)).map((file) => file.path);
    expect(skipped).toEqual([]);
  });

  it('says how long generated programs and texts are: by default they are a tenth of their `maxLength`', () => {
    const silent = sourceFiles('test').filter(
      ({ text }) => /from 'fast-check'/.test(text) && /maxLength: \d+(?!\d*,\s*size:)/.test(text),
    );
    expect(silent.map((file) => file.path)).toEqual([]);
  });

  it('has no `any` in public types', () => {
    const loose = source
      .filter((file) =>
        /(:\s*any\b|<any>|\bas any\b|any\[\])/.test(file.text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')),
      )
      .map((file) => file.path);
    expect(loose).toEqual([]);
  });
});

describe('the linter', () => {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-lint-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  const lint = (text: string) => {
    const file = join(folder, 'example.ts');
    writeFileSync(file, text);
    const options = ['lint', '--vcs-enabled=false', `--config-path=${process.cwd()}`, file];
    return spawnSync('node_modules/.bin/biome', options, { encoding: 'utf8' });
  };

  it('refuses signals that may be collected before they abort', () => {
    expect(lint('export const { signal } = new AbortController();\n').status).toBe(0);
    for (const raw of ['AbortSignal.any([])', 'AbortSignal.timeout(1000)']) {
      const { status, stderr } = lint(`export const signal = ${raw};\n`);
      expect(stderr).toContain('combineSignals');
      expect(status).toBe(1);
    }
  });
});

describe('package.json', () => {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as {
    exports: Record<string, string | { types: string; default: string }>;
    files: string[];
  };

  it('exports only what a source file makes', () => {
    for (const [name, entry] of Object.entries(manifest.exports)) {
      if (typeof entry === 'string') continue;
      const file = entry.default.replace('./dist/', 'src/').replace(/\.js$/, '.ts');
      expect(existsSync(file), `${name} -> ${file}`).toBe(true);
      expect(entry.types).toBe(entry.default.replace(/\.js$/, '.d.ts'));
    }
  });

  it('exports every hub driver', () => {
    const drivers = sourceFiles('src/hub/drivers').map((file) => file.path.replace(/.*\/(.+)\.ts$/, '$1'));
    const exported = Object.keys(manifest.exports).filter((name) => name.startsWith('./hub/'));
    expect(exported.sort()).toEqual(drivers.map((name) => `./hub/${name}`).sort());
  });

  it('publishes only files that exist', () => {
    for (const file of manifest.files.filter((name) => name !== 'dist')) expect(existsSync(file), file).toBe(true);
  });
});
