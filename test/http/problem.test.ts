import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type ErrorCode, errorCodes, MillraceError } from '../../src/errors.js';
import { statusOf, toProblem } from '../../src/http/problem.js';

const silent = { debug() {}, info() {}, warn() {}, error() {} };

describe('a problem', () => {
  it('has the code, its status, a title, a sentence and the details of the error', () => {
    const error = new MillraceError('OFFSET_OUT_OF_RANGE', 'Read from 7.', { tail: 7 });
    expect(toProblem(error, silent)).toEqual({
      type: 'urn:millrace:error:OFFSET_OUT_OF_RANGE',
      title: 'Offset out of range',
      status: 400,
      code: 'OFFSET_OUT_OF_RANGE',
      detail: 'Read from 7.',
      tail: 7,
    });
  });

  it('cannot be disguised by details', () => {
    const error = new MillraceError('STREAM_NOT_FOUND', 'No.', { status: 200, code: 'OK' });
    expect(toProblem(error, silent)).toMatchObject({ status: 404, code: 'STREAM_NOT_FOUND' });
  });

  it('tells nothing of errors that are not meant for clients', () => {
    for (const error of [
      new Error('at /srv/x'),
      'text',
      undefined,
      new MillraceError('JOURNAL_CORRUPT', 'at /srv/x'),
    ]) {
      const problem = toProblem(error, silent);
      expect(problem).toMatchObject({ status: 500, code: 'INTERNAL' });
      expect(JSON.stringify(problem)).not.toContain('/srv');
    }
  });

  it('is forbidden, not a conflict, for a second appender', () => {
    const error = new MillraceError('APPENDER_ACTIVE', 'Wait.');
    expect(toProblem(error, silent, 'append').status).toBe(403);
    expect(toProblem(error, silent).status).toBe(409);
  });
});

describe('docs/errors.md', () => {
  const sections = new Map(
    readFileSync('docs/errors.md', 'utf8')
      .split(/^## /m)
      .slice(1)
      .map((section) => [section.split('\n', 1)[0] as string, section]),
  );

  it('gives each code the status that clients see', () => {
    const wrong = errorCodes.filter((code: ErrorCode) => {
      const status = statusOf[code];
      const text = sections.get(code);
      if (text === undefined || status === undefined) return false;
      return !new RegExp(`\\*\\*HTTP:\\*\\*[^\\n]*\\b${status}\\b`).test(text);
    });
    expect(wrong).toEqual([]);
  });
});
