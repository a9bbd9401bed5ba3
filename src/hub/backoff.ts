/** The first delay before a driver reconnects. */
const RECONNECT_DELAY_MIN_MS = 50;

/** The longest delay between two attempts to reconnect. */
const RECONNECT_DELAY_MAX_MS = 5_000;

/**
 * How long to wait before attempt number `attempt` (0 for the first) to reconnect: doubling up to the longest, with up
 * to a fifth of jitter taken off so that many hubs do not come back at the same moment.
 */
export function reconnectDelayMs(attempt: number): number {
  const delayMs = Math.min(RECONNECT_DELAY_MAX_MS, RECONNECT_DELAY_MIN_MS * 2 ** Math.min(attempt, 16));
  return Math.round(delayMs * (1 - Math.random() * 0.2));
}
