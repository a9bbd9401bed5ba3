/**
 * One hub for a whole process, for programs that would otherwise pass it to every function. Nothing happens on import:
 * `init` makes the hub. Libraries should take a hub as an argument instead.
 *
 *     import { cleanup, init, publish, subscribe } from 'millrace/default-hub';
 */
import { isMillraceError, MillraceError } from '../errors.js';
import type { Pattern } from './channels.js';
import { Deadline, orAborted } from './deadline.js';
import { createHub, type Hub, type HubOptions, type SubscribeOptions } from './hub.js';
import type { HubSubscription } from './subscription.js';

/** Options of {@link init}. */
export interface InitOptions extends HubOptions {
  /** How long to go on trying while the broker comes up (default {@link DEFAULT_INIT_TIMEOUT_MS}). */
  readonly initTimeoutMs?: number;
  /** How long to wait between two tries (default {@link DEFAULT_RETRY_DELAY_MS}). */
  readonly retryDelayMs?: number;
  /** Gives up when it aborts. */
  readonly signal?: AbortSignal;
}

/** Default of {@link InitOptions.initTimeoutMs}. */
export const DEFAULT_INIT_TIMEOUT_MS = 60_000;
/** Default of {@link InitOptions.retryDelayMs}. */
export const DEFAULT_RETRY_DELAY_MS = 1_000;

let current: { readonly hub: Hub; readonly ready: Promise<void> } | undefined;

/**
 * Makes the hub of the process and connects it, trying again while the broker is not there yet. Called again with a hub
 * in place it awaits that one. Rejects with the last error when the time is over, and at once with errors that waiting
 * does not mend (credentials, a missing package, a wrong URL); then there is no hub, and `init` may be called again.
 */
export async function init(options: string | InitOptions = {}): Promise<void> {
  if (current === undefined) {
    const settings = typeof options === 'string' ? { url: options } : options;
    const hub = createHub(settings);
    current = { hub, ready: connect(hub, settings) };
  }
  const mine = current;
  try {
    await mine.ready;
  } catch (error) {
    if (current === mine) current = undefined;
    await mine.hub.close();
    throw error;
  }
}

/** See `Hub.publish`. Rejects with `HUB_CLOSED` without a hub. */
export function publish(channels: string | readonly string[], message: unknown): Promise<void> {
  return current === undefined ? Promise.reject(missing()) : current.hub.publish(channels, message);
}

/** See `Hub.subscribe`. Throws `HUB_CLOSED` without a hub. */
export function subscribe(
  channels: string | Pattern | readonly (string | Pattern)[],
  options?: SubscribeOptions,
): HubSubscription {
  if (current === undefined) throw missing();
  return current.hub.subscribe(channels, options) as HubSubscription;
}

/** Closes the hub, if there is one; `init` may then make another. */
export async function cleanup(): Promise<void> {
  const hub = current?.hub;
  current = undefined;
  await hub?.close();
}

async function connect(hub: Hub, options: InitOptions): Promise<void> {
  const { initTimeoutMs = DEFAULT_INIT_TIMEOUT_MS, retryDelayMs = DEFAULT_RETRY_DELAY_MS, signal } = options;
  signal?.throwIfAborted();
  let lastError: Error | undefined;
  const late = () =>
    lastError ??
    new MillraceError('HUB_UNAVAILABLE', `The broker did not answer within ${initTimeoutMs} ms.`, { initTimeoutMs });
  const end = performance.now() + initTimeoutMs;
  // A timer takes no more; nobody waits for that long.
  const deadline = new Deadline(Math.min(initTimeoutMs, 0x7fffffff), late, new Set());
  const onAbort = () => deadline.abort(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    for (;;) {
      try {
        return await orAborted(hub.connect(), deadline.signal);
      } catch (error) {
        if (deadline.signal.aborted || !isMillraceError(error, 'HUB_UNAVAILABLE')) throw error;
        if (performance.now() + retryDelayMs > end) throw error;
        lastError = error;
      }
      await wait(retryDelayMs, deadline.signal);
    }
  } finally {
    deadline.clear();
    signal?.removeEventListener('abort', onAbort);
  }
}

function wait(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, delayMs);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

function missing(): MillraceError {
  return new MillraceError('HUB_CLOSED', 'This process has no hub: await init() first.');
}
