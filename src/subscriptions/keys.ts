import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto';
import type { Store } from '../log/index.js';

/**
 * The secrets of a server's subscriptions: an Ed25519 key that signs webhooks (Durable Streams, section 6.5) and a
 * secret for tokens. Kept in a stream of the store, so that they survive a restart and are as safe as the data itself.
 */

/** The stream that holds them. Nothing below `__ds/` can be reached over HTTP. */
export const KEYS_PATH = '__ds/keys';

/** The most that is read of {@link KEYS_PATH}. */
const KEYS_BYTES_MAX = 64 * 1024;

interface KeyRecord {
  readonly kid: string;
  readonly privateKey: JsonWebKey;
  readonly tokenSecret: string;
}

/** One public key as others see it (RFC 7517, RFC 8037). */
export interface PublicJwk {
  readonly kty: 'OKP';
  readonly crv: 'Ed25519';
  readonly x: string;
  readonly kid: string;
  readonly use: 'sig';
  readonly alg: 'EdDSA';
}

export interface Keys {
  /** Names the key that signs now. */
  readonly kid: string;
  readonly tokenSecret: Uint8Array;
  readonly publicKeys: readonly PublicJwk[];
  /** The value of `Webhook-Signature` for a body (section 7.1). */
  signWebhook(body: string, nowMs?: number): string;
}

/** Reads the secrets, or makes them where there are none. Errors: `STORE_*`. */
export async function loadKeys(store: Store): Promise<Keys> {
  const data = Buffer.from(`${JSON.stringify(newKey())}\n`);
  // Whoever comes second gets what the first one made.
  await store.create(KEYS_PATH, { contentType: 'application/json', data });
  const read = await store.read(KEYS_PATH, 0, { maxBytes: KEYS_BYTES_MAX });
  const records = Buffer.from(read.data)
    .toString('utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as KeyRecord);
  const newest = records.at(-1) as KeyRecord;
  const privateKey = createPrivateKey({ key: newest.privateKey, format: 'jwk' });
  return {
    kid: newest.kid,
    tokenSecret: Buffer.from(newest.tokenSecret, 'base64url'),
    // Older keys stay published: what they signed may still be on its way.
    publicKeys: records.map(({ kid, privateKey: { x } }) => publicJwk(kid, x as string)),
    signWebhook: (body, nowMs = Date.now()) => signatureHeader(privateKey, newest.kid, body, nowMs),
  };
}

function signatureHeader(key: KeyObject, kid: string, body: string, nowMs: number): string {
  const timestamp = Math.floor(nowMs / 1000);
  const signature = sign(null, Buffer.from(`${timestamp}.${body}`), key).toString('base64url');
  return `t=${timestamp},kid=${kid},ed25519=${signature}`;
}

function newKey(): KeyRecord {
  const privateKey = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  const x = privateKey.x as string;
  // RFC 7638: the thumbprint of the members that make the key, in the order of their names.
  const thumbprint = createHash('sha256').update(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).digest('base64url');
  return { kid: `ds_${thumbprint}`, privateKey, tokenSecret: randomBytes(32).toString('base64url') };
}

function publicJwk(kid: string, x: string): PublicJwk {
  return { kty: 'OKP', crv: 'Ed25519', x, kid, use: 'sig', alg: 'EdDSA' };
}
