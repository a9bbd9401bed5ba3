import { describe, expect, it } from 'vitest';
import { errorFromRefusal, isTransient } from '../../src/client/problem.js';
import { MillraceError } from '../../src/errors.js';

const url = new URL('http://127.0.0.1:4437/a.txt?token=secret');

describe('errorFromRefusal', () => {
  it('gives back the server error: code, sentence and details', () => {
    const body = JSON.stringify({
      type: 'urn:millrace:error:PRODUCER_FENCED',
      title: 'Producer fenced',
      status: 403,
      code: 'PRODUCER_FENCED',
      detail: 'A newer instance has taken over.',
      epoch: 7,
    });
    const error = errorFromRefusal({ status: 403, body }, url);
    expect(error.code).toBe('PRODUCER_FENCED');
    expect(error.message).toBe('A newer instance has taken over.');
    expect(error.details).toEqual({ epoch: 7, status: 403 });
  });

  it.each(['', '<html>Bad gateway</html>', '[]', 'null', '{"code":17}', '{"code":"NO_SUCH_CODE"}'])(
    'makes UNEXPECTED_RESPONSE of what is not Millrace: %j',
    (body) => {
      const error = errorFromRefusal({ status: 502, body }, url);
      expect(error.code).toBe('UNEXPECTED_RESPONSE');
      expect(error.details.status).toBe(502);
      expect(error.message).not.toContain('secret');
    },
  );

  it('passes on a sentence whose code this version does not know', () => {
    const body = JSON.stringify({ code: 'INTERNAL', detail: 'The server failed.' });
    expect(errorFromRefusal({ status: 500, body }, url).message).toContain('The server failed.');
  });
});

describe('isTransient', () => {
  it.each([
    [new MillraceError('CONNECTION_FAILED', ''), true],
    [new MillraceError('SHUTTING_DOWN', ''), true],
    [new MillraceError('INTAKE_BUSY', ''), true],
    [new MillraceError('REQUEST_TIMEOUT', ''), true],
    [new MillraceError('APPENDER_STALLED', ''), true],
    [new MillraceError('PRODUCERS_TOO_MANY', ''), false],
    [new MillraceError('UNEXPECTED_RESPONSE', '', { status: 503 }), true],
    [new MillraceError('UNEXPECTED_RESPONSE', '', { status: 401 }), false],
    [new MillraceError('APPENDER_ACTIVE', ''), false],
    [new MillraceError('STREAM_NOT_FOUND', ''), false],
    [new Error('something else'), false],
  ])('%o: %s', (error, transient) => {
    expect(isTransient(error)).toBe(transient);
  });
});
