/** Takes the listener off its signal when the object that it was for is garbage. Made when first needed. */
let abandoned: FinalizationRegistry<() => void> | undefined;

/**
 * Calls `onAbort` with `target` and the reason when the signal aborts, and keeps `target` no longer than others do.
 * `onAbort` must not refer to `target` by itself. Returns the way to stop.
 */
export function listenWeakly<T extends object>(
  signal: AbortSignal,
  target: T,
  onAbort: (target: T, reason: unknown) => void,
): () => void {
  const ref = new WeakRef(target);
  const listener = () => {
    const alive = ref.deref();
    if (alive !== undefined) onAbort(alive, signal.reason);
  };
  const unlisten = () => signal.removeEventListener('abort', listener);
  signal.addEventListener('abort', listener, { once: true });
  abandoned ??= new FinalizationRegistry((each) => each());
  abandoned.register(target, unlisten, unlisten);
  return () => {
    abandoned?.unregister(unlisten);
    unlisten();
  };
}
