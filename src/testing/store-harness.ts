import assert from 'node:assert/strict';
import type { Subscription } from '../event-stream/index.js';
import type { Store, StreamEvent, StreamInfo } from '../log/index.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function bytes(text: string): Uint8Array {
  return encoder.encode(text);
}

export function text(data: Uint8Array): string {
  return decoder.decode(data);
}

/** What stays exactly as it was over a restart. (A file's own time, to which a store may come back, is another clock's.) */
export function lasting({ modifiedAtMs: _, ...info }: StreamInfo): StreamInfo {
  return info;
}

/** All that a stream holds. */
export async function contents(store: Store, path: string): Promise<string> {
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (;;) {
    const { data, next, info } = await store.read(path, offset, { maxBytes: 64 * 1024 });
    parts.push(data);
    if (next === info.tail) return text(Buffer.concat(parts));
    assert.notEqual(next, offset, 'a read before the tail must get further');
    offset = next;
  }
}

/** Asserts that a promise is rejected with a code, and returns the error's details. */
export async function rejects(promise: Promise<unknown>, code: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    await promise;
  } catch (error) {
    const { code: found, details } = error as { code?: string; details?: Readonly<Record<string, unknown>> };
    assert.equal(found, code, `expected ${code}, got ${String(error)}`);
    return details ?? {};
  }
  return assert.fail(`expected ${code}, but it went through`);
}

/** Subscribes and reads events one by one. */
export async function follow(store: Store, path: string): Promise<{ tail: number; events: Subscription<StreamEvent> }> {
  const { info, events } = await store.subscribe(path);
  return { tail: info.tail, events: events.subscribe() };
}

/** The next event; fails where the list has ended. */
export async function nextEvent(events: Subscription<StreamEvent>): Promise<StreamEvent> {
  const { done, value } = await events.next();
  if (done) return assert.fail('the events ended');
  return value;
}

/** Asks again until the answer is right; for what may happen in the background. */
export async function eventually(check: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await check())) {
    if (Date.now() > deadline) assert.fail(`still not so: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The code that a promise is rejected with, or undefined. */
export async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
}
