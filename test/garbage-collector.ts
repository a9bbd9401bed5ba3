import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** What can be collected is gone after two or three. */
const COLLECTIONS_SURE = 4;

/** More than enough. */
const COLLECTIONS_MAX = 20;

/** Collects all that can be. */
export async function collectGarbage(): Promise<void> {
  for (let times = 0; times < COLLECTIONS_SURE; times++) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
}

/** Whether an object is garbage. Give weak references only: whatever the caller still holds is not. */
export async function isGarbage(ref: WeakRef<object>): Promise<boolean> {
  for (let times = 0; times < COLLECTIONS_MAX; times++) {
    // A weak reference that was asked holds its object until the turn is over.
    await new Promise((resolve) => setImmediate(resolve));
    collect();
    if (ref.deref() === undefined) return true;
  }
  return false;
}
