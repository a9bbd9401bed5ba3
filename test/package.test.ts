import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';

interface Manifest {
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>;
}

const { exports } = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest;
const require = createRequire(import.meta.url);

describe('each way into the package', () => {
  for (const [name, target] of Object.entries(exports)) {
    if (typeof target === 'string') continue;
    it(`millrace${name.slice(1)} can be required and has types`, () => {
      expect(Object.keys(require(`millrace${name.slice(1)}`) as object)).not.toEqual([]);
      expect(readFileSync(target.types, 'utf8')).toContain('export');
    });
  }
});
