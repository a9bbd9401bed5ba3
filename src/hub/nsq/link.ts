import { setTimeout as sleep } from 'node:timers/promises';
import type { ConnectionOptions, NSQDConnection, WriterNSQDConnection } from 'nsqjs';
import { MillraceError } from '../../errors.js';
import { reconnectDelayMs } from '../backoff.js';
import type { NsqNode } from './node.js';

/** What all connections of one hub to NSQ share. */
export interface NsqShared {
  /** The classes of the package `nsqjs`. */
  readonly client: {
    readonly NSQDConnection: typeof NSQDConnection;
    readonly WriterNSQDConnection: typeof WriterNSQDConnection;
  };
  readonly options: ConnectionOptions;
  readonly maxInFlight: number;
  /** Part of the names that this hub makes on nsqd. */
  readonly hubId: string;
  readonly connectTimeoutMs: number;
  /** Tells that something which stood at a node is lost, and that it stands again (or is given up). */
  onLost(what: object, node: NsqNode, cause: unknown): void;
  onRestored(what: object): void;
}

/** A connection to nsqd that has passed its handshake. */
export interface Link<C> {
  readonly connection: C;
  /** Resolves when the connection is over, with what was the cause. */
  readonly lost: Promise<unknown>;
}

/**
 * Connects, and resolves once nsqd has accepted the connection (and its subscription, for a reader). Rejects with
 * `HUB_UNAVAILABLE` or `HUB_UNAUTHORIZED`, or the signal's reason; then nothing is left open.
 */
export function openLink<C extends NSQDConnection>(
  connection: C,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Link<C>> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    let cause: unknown;
    let settled = false;
    let over: (cause: unknown) => void;
    const lost = new Promise<unknown>((done) => {
      over = done;
    });
    const hangUp = () => {
      cause ??= signal.aborted ? signal.reason : new Error(`no answer within ${timeoutMs} ms`);
      // The package has its socket only one tick after connect().
      setImmediate(() => {
        connection.clearIdentifyTimeout();
        connection.close();
      });
    };
    const timer = setTimeout(hangUp, timeoutMs);
    signal.addEventListener('abort', hangUp, { once: true });
    const onError = (error: unknown) => {
      cause ??= error;
    };
    connection.on('error', onError);
    connection.on('connection_error', onError);
    connection.once('ready', () => {
      settled = true;
      clearTimeout(timer);
      resolve({ connection, lost });
    });
    connection.once('closed', () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', hangUp);
      connection.clearIdentifyTimeout();
      if (!settled) reject(signal.aborted ? signal.reason : nsqError(cause));
      over(cause ?? new Error('the connection was closed'));
    });
    connection.connect();
  });
}

/**
 * Keeps something open until the signal aborts: opens it, waits until it is lost, and opens it again, with growing
 * pauses between failures. `attempted` is told of every attempt that failed.
 */
export async function keepOpen(
  open: () => Promise<{ readonly lost: Promise<unknown> }>,
  signal: AbortSignal,
  attempted: (error: unknown) => void,
): Promise<void> {
  for (let failures = 0; !signal.aborted; ) {
    try {
      const { lost } = await open();
      failures = 0;
      await lost;
    } catch (error) {
      if (signal.aborted) return;
      attempted(error);
    }
    await sleep(reconnectDelayMs(failures++), undefined, { signal }).catch(() => {});
  }
}

/** What nsqd or the connection to it said, in the hub's terms. `details.refused`: trying again would not help. */
export function nsqError(cause: unknown): MillraceError {
  const text =
    cause instanceof Error ? cause.message : cause === undefined ? 'the connection was closed' : String(cause);
  if (/^E_(?:AUTH|UNAUTHORIZED)/.test(text)) {
    return new MillraceError(
      'HUB_UNAUTHORIZED',
      `nsqd refused the credentials (${text}): check the secret in the URL, or authSecret.`,
      {},
      { cause },
    );
  }
  if (/too big|too large/.test(text)) {
    return new MillraceError(
      'HUB_MESSAGE_TOO_LARGE',
      `nsqd takes smaller messages than the hub was told (${text}): set maxMessageBytes to its --max-msg-size.`,
      {},
      { cause },
    );
  }
  if (/^E_(?:INVALID|BAD_)/.test(text)) {
    return new MillraceError('HUB_UNAVAILABLE', `nsqd refuses this: ${text}.`, { refused: true }, { cause });
  }
  return new MillraceError('HUB_UNAVAILABLE', `nsqd is not available: ${text}.`, {}, { cause });
}

/** The two parts of `host:port`; the host may be an IPv6 address in brackets. Throws `INVALID_ARGUMENT`. */
export function hostAndPort(address: string): [host: string, port: number] {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^[\]:/?#@\s]+)):(\d{1,5})$/i.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65_535) {
    throw new MillraceError('INVALID_ARGUMENT', `"${address}" is not an address of the form host:port.`);
  }
  return [match[1] ?? (match[2] as string), port];
}
