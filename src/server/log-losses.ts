import type { Log } from '../http/index.js';
import { type Loss, lossError } from '../log/index.js';

/** Says in the log what others took out of streams' files, and where it is kept. */
export function logLosses(log: Log | undefined): (loss: Loss) => void {
  return (loss) =>
    log?.error({ err: lossError(loss) }, "acknowledged bytes were taken out of a stream's file, and are kept:");
}
