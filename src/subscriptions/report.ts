import { MillraceError } from '../errors.js';
import { type OffsetToken, offsetIn } from '../wire/offset.js';
import { keyOf, type Subscription } from './subscription.js';
import { invalidToken, verifyToken } from './tokens.js';

/** Which wake a worker speaks of. */
export interface WakeName {
  readonly wakeId: string;
  readonly generation: number;
}

/** What a worker says about its wake: what it has done, and whether that was all. */
export interface WorkReport extends WakeName {
  readonly acks: readonly { readonly path: string; readonly offset: OffsetToken }[];
  readonly done: boolean;
}

/** Lets only the holder of the present wake pass (section 7.3). Errors: `TOKEN_INVALID`, `TOKEN_EXPIRED`, `FENCED`. */
export function requireWake(
  subscription: Subscription,
  tokenSecret: Uint8Array,
  token: string | undefined,
  name: WakeName,
  nowMs: number,
): void {
  if (token === undefined) throw invalidToken();
  const claims = verifyToken(tokenSecret, token, nowMs);
  if (claims.sub !== keyOf(subscription.key)) throw invalidToken();
  const { wake } = subscription;
  if (
    wake === undefined ||
    claims.gen !== wake.generation ||
    name.generation !== wake.generation ||
    name.wakeId !== wake.id
  ) {
    throw new MillraceError('FENCED', 'This wake is over: its lease ran out, or another one has begun.', {
      generation: subscription.generation,
    });
  }
}

/** The acks of a report, all of them good. Errors: `INVALID_ACK`, `OFFSET_OF_ANOTHER_STREAM`. */
export function checkAcks(subscription: Subscription, acks: WorkReport['acks']): Record<string, number> {
  const checked: Record<string, number> = Object.create(null);
  for (const { path, offset: token } of acks) {
    const link = subscription.links.get(path);
    if (link === undefined) {
      throw new MillraceError('INVALID_ACK', `The subscription has no stream ${path}.`, { stream: path });
    }
    const offset = link.lineage === undefined ? token.offset : offsetIn(token, link.lineage);
    if (offset < link.acked || offset > link.tail) {
      const message = `The ack of ${path} must lie between what is acked already and the stream's tail.`;
      throw new MillraceError('INVALID_ACK', message, { stream: path });
    }
    checked[path] = offset;
  }
  return checked;
}
