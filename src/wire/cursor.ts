/**
 * Cursors for live responses (Durable Streams, section 10.1). They give caches a new key as time goes by, so that a
 * cached empty answer is not asked for again for ever.
 */

/** Length of one interval. */
export const CURSOR_INTERVAL_MS = 20_000;
/** Intervals are counted from here: 2024-10-09T00:00:00Z. */
export const CURSOR_EPOCH_MS = Date.UTC(2024, 9, 9);
/** A cursor that a client has used up is moved on by 1 to this many seconds, at random. */
export const CURSOR_JITTER_SECONDS_MAX = 3600;
/** Longest cursor that a client may echo. */
const CURSOR_DIGITS_MAX = 15;

/**
 * The cursor of an answer. Never equal to or smaller than the one the client sent: where that one has caught up with
 * the clock, the answer is later by a random time. What is not a cursor counts as none.
 */
export function nextCursor(
  echoed: string | undefined,
  nowMs: number = Date.now(),
  random: () => number = Math.random,
): string {
  const current = Math.max(0, Math.floor((nowMs - CURSOR_EPOCH_MS) / CURSOR_INTERVAL_MS));
  if (echoed === undefined || echoed.length > CURSOR_DIGITS_MAX || !/^\d+$/.test(echoed)) return String(current);
  const used = Number(echoed);
  if (used < current) return String(current);
  const jitterSeconds = 1 + Math.floor(random() * CURSOR_JITTER_SECONDS_MAX);
  return String(used + Math.max(1, Math.ceil((jitterSeconds * 1000) / CURSOR_INTERVAL_MS)));
}
