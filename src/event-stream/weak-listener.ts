/** Takes the listener off its signal when the object that it was for is garbage. Made when first needed. */
let abandoned: FinalizationRegistry<() => void> | undefined;

/** What {@link listenWeakly} gives. */
export interface WeakListener<T> {
  /** Keeps the object after all: set it while somebody waits for what only the signal may bring. */
  held: T | undefined;
  /** Listens no more. */
  stop(): void;
}

/**
 * Calls `onAbort` with `target` and the reason when the signal aborts, and keeps `target` no longer than others do, or than
 * it is `held`. `onAbort` must not refer to `target` by itself.
 */
export function listenWeakly<T extends object>(
  signal: AbortSignal,
  target: T,
  onAbort: (target: T, reason: unknown) => void,
): WeakListener<T> {
  const ref = new WeakRef(target);
  // The listener refers to it, so that whoever is held lives as long as the signal.
  const handle: WeakListener<T> = { held: undefined, stop: () => unlisten() };
  const listener = () => {
    const alive = handle.held ?? ref.deref();
    if (alive !== undefined) onAbort(alive, signal.reason);
  };
  signal.addEventListener('abort', listener, { once: true });
  const forget = () => signal.removeEventListener('abort', listener);
  const unlisten = () => {
    handle.held = undefined;
    abandoned?.unregister(forget);
    forget();
  };
  abandoned ??= new FinalizationRegistry((each) => each());
  abandoned.register(target, forget, forget);
  return handle;
}
