import type { EventStream, Subscription } from '../../src/event-stream/index.js';

/** Publishes 0, 1, 2 … below `count`, or from `first` on. */
export function publishNumbers(stream: EventStream<number>, count: number, first = 0): void {
  for (let value = first; value < first + count; value++) stream.publish(value);
}

/** 0, 1, 2 … below `count`, or from `first` on. */
export function numbers(count: number, first = 0): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

/** Everything up to the end of the stream. */
export async function readAll<T>(subscription: Subscription<T>): Promise<T[]> {
  const values: T[] = [];
  for await (const value of subscription) values.push(value);
  return values;
}

/** Lets everything run that does not need the event loop to turn. */
export function microtasks(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Whether a promise is still pending once all microtasks have run. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  let pending = true;
  const settle = () => {
    pending = false;
  };
  promise.then(settle, settle);
  await microtasks();
  return pending;
}

/** An abort signal that knows how many listeners it has. */
export function countedSignal(): { controller: AbortController; signal: AbortSignal; listeners: () => number } {
  const controller = new AbortController();
  const { signal } = controller;
  const listeners = new Set<unknown>();
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners.add(args[1]);
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners.delete(args[1]);
    remove(...args);
  };
  return { controller, signal, listeners: () => listeners.size };
}
