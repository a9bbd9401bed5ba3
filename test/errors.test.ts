import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { errorCodes, isMillraceError, MillraceError } from '../src/errors.js';
import { sourceFiles } from './source-files.js';

const documented = [...readFileSync('docs/errors.md', 'utf8').matchAll(/^#{2,3} `?([A-Z][A-Z0-9_]+)`?$/gm)].map(
  (match) => match[1] as string,
);

describe('error codes', () => {
  it('are each documented once in docs/errors.md', () => {
    expect([...documented].sort()).toEqual([...errorCodes].sort());
  });

  it('are each raised somewhere in the source', () => {
    const sources = sourceFiles('src')
      .filter((file) => !file.path.endsWith('errors.ts'))
      .map((file) => file.text)
      .join('\n');
    expect(errorCodes.filter((code) => !sources.includes(`'${code}'`))).toEqual([]);
  });
});

describe('isMillraceError', () => {
  const error = new MillraceError('STREAM_CLOSED', 'It is closed.', { offset: 3 });

  it('tells Millrace errors from others', () => {
    expect(isMillraceError(error)).toBe(true);
    expect(isMillraceError(new Error('no'))).toBe(false);
    expect(isMillraceError(undefined)).toBe(false);
  });

  it('narrows to a code', () => {
    expect(isMillraceError(error, 'STREAM_CLOSED')).toBe(true);
    expect(isMillraceError(error, 'STREAM_GONE')).toBe(false);
  });
});
