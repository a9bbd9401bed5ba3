import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { EXIT, exitCodeOf } from '../../src/cli/exit.js';
import { MillraceError } from '../../src/errors.js';

describe('exit codes', () => {
  it('are all documented, and no others', async () => {
    const document = await readFile(new URL('../../docs/command-line.md', import.meta.url), 'utf8');
    const table = document.slice(document.indexOf('## Exit codes'));
    const documented = [...table.matchAll(/^\| (\d+) +\|/gm)].map(([, code]) => Number(code));
    expect(documented.sort((a, b) => a - b)).toEqual(Object.values(EXIT).sort((a, b) => a - b));
  });

  it.each([
    [new MillraceError('STREAM_NOT_FOUND', ''), EXIT.notFound],
    [new MillraceError('APPENDER_ACTIVE', ''), EXIT.appenderActive],
    [new MillraceError('CONNECTION_FAILED', ''), EXIT.unreachable],
    [new MillraceError('RESUME_FAILED', '', { retryMs: 60_000 }), EXIT.unreachable],
    [new MillraceError('RESUME_FAILED', ''), EXIT.failed],
    [new MillraceError('INVALID_ARGUMENT', ''), EXIT.usage],
    [new MillraceError('INVALID_OFFSET', ''), EXIT.usage],
    [new MillraceError('STREAM_CLOSED', ''), EXIT.failed],
    [new Error('anything else'), EXIT.failed],
  ])('%o is %i', (error, code) => {
    expect(exitCodeOf(error)).toBe(code);
  });
});
