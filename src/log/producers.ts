import { MillraceError } from '../errors.js';
import type { ProducerState } from './rules.js';

/** How many producers a stream knows at a time. */
export const PRODUCERS_MAX = 10_000;

/**
 * No producer is forgotten that was used within this time: when it then repeats its first append, it looks exactly like a
 * new one, and what was acknowledged would be appended again.
 */
export const PRODUCER_KEPT_MS = 7 * 24 * 3_600_000;

/** A use that changes nothing (a repeated append) is noted when the last one noted is older than this. */
export const PRODUCER_USE_STEP_MS = 3_600_000;

/** A producer that a stream knows. Never changed once made. */
export interface KnownProducer extends ProducerState {
  /** When it was last heard of, by the store's own time. */
  readonly usedMs: number;
}

/** The state of a producer that nobody comes back with: the stream may forget it. */
export function forgotten(usedMs: number): KnownProducer {
  return { epoch: -1, seq: -1, fence: -1, usedMs };
}

/** The producers of one stream, in the stream's two views: as committed, and with what was accepted since. */
export class Producers {
  /** In the order of their last use. */
  readonly #committed = new Map<string, KnownProducer>();
  readonly #accepted = new Map<string, KnownProducer>();

  /** Those that are committed. */
  get committed(): ReadonlyMap<string, KnownProducer> {
    return this.#committed;
  }

  restore(producers: Iterable<readonly [id: string, state: KnownProducer]>): void {
    for (const [id, state] of producers) this.#committed.set(id, state);
  }

  /** What the next append of this producer is checked against. */
  next(id: string): KnownProducer | undefined {
    const state = this.#accepted.get(id) ?? this.#committed.get(id);
    return state === undefined || isForgotten(state) ? undefined : state;
  }

  /**
   * Makes room for a producer that is not known, at the cost of one that was not used for long. Throws
   * `PRODUCERS_TOO_MANY` where all are too young.
   */
  makeRoom(nowMs: number): void {
    if (this.#committed.size + this.#accepted.size < PRODUCERS_MAX) return;
    let size = this.#committed.size;
    for (const id of this.#accepted.keys()) if (!this.#committed.has(id)) size++;
    for (const [id, { usedMs }] of this.#committed) {
      if (size < PRODUCERS_MAX) return;
      // It is being used.
      if (this.#accepted.has(id)) continue;
      if (nowMs - usedMs < PRODUCER_KEPT_MS) throw tooMany(usedMs + PRODUCER_KEPT_MS - nowMs);
      this.#committed.delete(id);
      size--;
    }
    if (size >= PRODUCERS_MAX) throw tooMany(PRODUCER_KEPT_MS);
  }

  accept(id: string, state: KnownProducer): void {
    this.#accepted.set(id, state);
  }

  commit(id: string, state: KnownProducer): void {
    noteProducer(this.#committed, id, state);
    // What was set since belongs to a later append.
    if (this.#accepted.get(id) === state) this.#accepted.delete(id);
  }

  /** Forgets all that was accepted and will not be committed. */
  rollBack(): void {
    this.#accepted.clear();
  }
}

/** Notes a committed state, in the order of last use. At a replay it makes the room that was made when it was accepted. */
export function noteProducer(producers: Map<string, KnownProducer>, id: string, state: KnownProducer): void {
  producers.delete(id);
  if (isForgotten(state)) return;
  producers.set(id, state);
  if (producers.size <= PRODUCERS_MAX) return;
  for (const oldest of producers.keys()) {
    producers.delete(oldest);
    return;
  }
}

/** A producer that is known has appended, or opened a session. */
function isForgotten({ epoch, fence }: KnownProducer): boolean {
  return epoch < 0 && fence < 0;
}

function tooMany(retryAfterMs: number): MillraceError {
  return new MillraceError(
    'PRODUCERS_TOO_MANY',
    `The stream knows ${PRODUCERS_MAX} producers, all used within ${PRODUCER_KEPT_MS / 86_400_000} days, and can remember no new one. Use a producer that it knows, or append without one.`,
    { producersMax: PRODUCERS_MAX, retryAfterMs: Math.max(1, Math.ceil(retryAfterMs)) },
  );
}
