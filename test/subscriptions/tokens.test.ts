import { describe, expect, test } from 'vitest';
import { isMillraceError } from '../../src/errors.js';
import { signToken, TOKEN_TTL_MS, verifyToken } from '../../src/subscriptions/tokens.js';

const secret = Buffer.from('a secret that nobody else has');
const claims = { sub: 'v1/stream/worker', gen: 7 };

function refusal(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return isMillraceError(error) ? error.code : 'other';
  }
}

describe('tokens', () => {
  test('say what was signed', () => {
    expect(verifyToken(secret, signToken(secret, claims, 0), 0)).toEqual(claims);
  });

  test('of another secret, changed, or not tokens at all are refused', () => {
    const token = signToken(secret, claims, 0);
    const [header, , signature] = token.split('.');
    const forged = Buffer.from(JSON.stringify({ ...claims, gen: 8, exp: 4e9 })).toString('base64url');
    const none = Buffer.from('{"alg":"none"}').toString('base64url');
    const wrong = [
      `${header}.${forged}.${signature}`,
      `${none}.${forged}.`,
      `${token}.`,
      token.slice(0, -2),
      '',
      'a.b.c',
    ];
    for (const each of wrong)
      expect(
        refusal(() => verifyToken(secret, each, 0)),
        each,
      ).toBe('TOKEN_INVALID');
    expect(refusal(() => verifyToken(Buffer.from('another'), token, 0))).toBe('TOKEN_INVALID');
  });

  test('expire', () => {
    const token = signToken(secret, claims, 1_000_000);
    expect(refusal(() => verifyToken(secret, token, 1_000_000 + TOKEN_TTL_MS - 2000))).toBeUndefined();
    expect(refusal(() => verifyToken(secret, token, 1_000_000 + TOKEN_TTL_MS))).toBe('TOKEN_EXPIRED');
  });
});
