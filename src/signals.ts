/** A signal made of others. */
export interface CombinedSignal {
  readonly signal: AbortSignal;
  /** Stops the clock and lets go of the sources: call it when what the signal was for is over. Then it aborts no more. */
  release(): void;
}

/**
 * A signal that aborts with the first of `sources` that does, and with its reason; with `timeoutMs` also when that time is
 * over, with a `TimeoutError` as `AbortSignal.timeout()` has. The clock does not keep a process alive.
 *
 * In place of `AbortSignal.any()` and `AbortSignal.timeout()`: on Node 20 the first holds its sources weakly, so that a
 * time-out which nobody else holds is collected and never comes; and on a source that lives long it leaves something behind
 * for every signal that was ever made of it. Here the sources and the timer hold the signal until it aborts or is released.
 */
export function combineSignals(sources: readonly AbortSignal[], timeoutMs?: number): CombinedSignal {
  const controller = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const release = () => {
    clearTimeout(timer);
    for (const source of sources) source.removeEventListener('abort', onAbort);
  };
  const abort = (reason: unknown) => {
    release();
    controller.abort(reason);
  };
  // The `this` of a listener is the signal that it was added to.
  function onAbort(this: AbortSignal) {
    abort(this.reason);
  }
  const aborted = sources.find((source) => source.aborted);
  if (aborted !== undefined) {
    controller.abort(aborted.reason);
    return { signal: controller.signal, release };
  }
  for (const source of sources) source.addEventListener('abort', onAbort);
  if (timeoutMs !== undefined) {
    timer = setTimeout(() => abort(new DOMException(`not done within ${timeoutMs} ms`, 'TimeoutError')), timeoutMs);
    // A browser's timer is a number, and keeps nothing alive.
    (timer as { unref?: () => void }).unref?.();
  }
  return { signal: controller.signal, release };
}
