import { MillraceError } from '../errors.js';
import type { Store } from '../log/index.js';
import type { ReadBudget } from './budget.js';

/** Where a range of a stream goes. */
export interface RangeSink {
  /** Takes all of it. `false` asks to wait for {@link drained}. */
  write(bytes: Uint8Array): boolean;
  /** Resolves when it takes more; rejects, or never resolves, when `signal` aborts. */
  drained(): Promise<void>;
}

/** Which bytes of which stream. */
export interface StreamRange {
  readonly path: string;
  /** `StreamInfo.id`: the path may be given to another stream while we copy. */
  readonly id: string;
  readonly from: number;
  /** After the last byte. Must not lie beyond the committed tail. */
  readonly to: number;
}

/** How much is read at first; it doubles with each read. */
const FIRST_READ_BYTES = 64 * 1024;

/**
 * Copies a range that is already committed, a piece at a time, from the same budget that followers catch up with.
 * Errors: those of `Store.read`, `STREAM_GONE` where the stream was replaced meanwhile, the signal's reason.
 */
export async function copyRange(
  store: Store,
  budget: ReadBudget,
  range: StreamRange,
  sink: RangeSink,
  signal: AbortSignal,
): Promise<void> {
  let { from } = range;
  let wanted = FIRST_READ_BYTES;
  while (from < range.to) {
    const granted = budget.grant(Math.min(wanted, range.to - from));
    try {
      const { data, next, info } = await store.read(range.path, from, { maxBytes: granted, signal });
      if (info.id !== range.id || data.length === 0) {
        throw new MillraceError('STREAM_GONE', 'The stream was deleted while it was read.');
      }
      const wants = sink.write(next > range.to ? data.subarray(0, range.to - from) : data);
      from = next;
      // The last piece is the sink's own business: nobody waits for room that nobody needs.
      if (!wants && from < range.to) await sink.drained();
    } finally {
      budget.release(granted);
    }
    wanted *= 2;
  }
}
