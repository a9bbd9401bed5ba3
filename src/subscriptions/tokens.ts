import { createHmac, timingSafeEqual } from 'node:crypto';
import { MillraceError } from '../errors.js';

/**
 * Tokens for the holder of a wake: a JWT with HMAC-SHA-256 (RFC 7519, RFC 7515), for this server's own eyes. It says
 * which subscription and generation it is good for (Durable Streams, section 12.9).
 */

/** How long a token is good for. The generation fences it long before; this is for a worker that never lets go. */
export const TOKEN_TTL_MS = 24 * 60 * 60 * 1000;

export interface TokenClaims {
  /** The subscription. */
  readonly sub: string;
  readonly gen: number;
}

const HEADER = encode({ alg: 'HS256', typ: 'JWT' });

export function signToken(secret: Uint8Array, claims: TokenClaims, nowMs: number): string {
  const payload = `${HEADER}.${encode({ ...claims, exp: Math.floor((nowMs + TOKEN_TTL_MS) / 1000) })}`;
  return `${payload}.${signature(secret, payload).toString('base64url')}`;
}

/** The claims of a token of ours. Errors: `TOKEN_INVALID`, `TOKEN_EXPIRED`. */
export function verifyToken(secret: Uint8Array, token: string, nowMs: number): TokenClaims {
  const [header, body, signed, ...more] = token.split('.');
  if (header !== HEADER || body === undefined || signed === undefined || more.length > 0) throw invalidToken();
  const expected = signature(secret, `${header}.${body}`);
  const given = Buffer.from(signed, 'base64url');
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw invalidToken();
  // Signed by us, so it has the shape that `signToken` gave it.
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as TokenClaims & { exp: number };
  if (claims.exp * 1000 <= nowMs)
    throw new MillraceError('TOKEN_EXPIRED', 'The token has expired: claim or wait for the next wake.');
  return { sub: claims.sub, gen: claims.gen };
}

export function invalidToken(): MillraceError {
  return new MillraceError(
    'TOKEN_INVALID',
    'Send the token of this wake: Authorization: Bearer <callback_token or token of the claim>.',
  );
}

function signature(secret: Uint8Array, payload: string): Buffer {
  return createHmac('sha256', secret).update(payload).digest();
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
