import { closeSync, openSync } from 'node:fs';
import { tryLock } from 'fs-native-extensions';
import { MillraceError } from '../../errors.js';
import { diskError } from './disk-error.js';

/**
 * Keeps a root to one process, by a lock of the kernel: it ends with the process, however that ends. Returns the way
 * to give it back. Throws `STORE_LOCKED`, `STORE_UNAVAILABLE`.
 */
export function lockRoot(file: string, root: string): () => void {
  let fd: number;
  try {
    fd = openSync(file, 'a+');
  } catch (error) {
    throw diskError(error, `The root ${root} cannot be locked`);
  }
  let locked: boolean;
  try {
    locked = tryLock(fd);
  } catch (error) {
    closeSync(fd);
    throw diskError(error, `The root ${root} cannot be locked`);
  }
  if (!locked) {
    closeSync(fd);
    throw new MillraceError(
      'STORE_LOCKED',
      `The root ${root} is served by another process. Stop that one first, or choose another root.`,
      { root },
    );
  }
  return () => closeSync(fd);
}
