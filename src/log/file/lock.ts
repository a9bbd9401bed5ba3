import { closeSync, fstatSync, lstatSync, openSync } from 'node:fs';
import { tryLock } from 'fs-native-extensions';
import { MillraceError } from '../../errors.js';
import { diskError } from './disk-error.js';
import { PRIVATE_FILE_MODE } from './file-system.js';

/** A root that belongs to this process. */
export interface RootLock {
  /** Whether others who come to lock the root still find this lock. */
  readonly isInPlace: boolean;
  release(): void;
}

/**
 * Keeps a root to one process, by a lock of the kernel: it ends with the process, however that ends.
 * Throws `STORE_LOCKED`, `STORE_UNAVAILABLE`.
 */
export function lockRoot(file: string, root: string): RootLock {
  let fd: number;
  try {
    fd = openSync(file, 'a+', PRIVATE_FILE_MODE);
  } catch (error) {
    throw diskError(error, `The root ${root} cannot be locked`);
  }
  try {
    // Between the two calls somebody may have removed the file: then it is not the one that others will find.
    if (tryLock(fd) && isNamed(file, fd))
      return {
        release: () => closeSync(fd),
        get isInPlace() {
          return isNamed(file, fd);
        },
      };
  } catch (error) {
    closeSync(fd);
    throw diskError(error, `The root ${root} cannot be locked`);
  }
  closeSync(fd);
  throw new MillraceError(
    'STORE_LOCKED',
    `The root ${root} is served by another process. Stop that one first, or choose another root.`,
    { root },
  );
}

function isNamed(file: string, fd: number): boolean {
  const named = lstatSync(file, { throwIfNoEntry: false });
  const { dev, ino } = fstatSync(fd);
  return named?.ino === ino && named.dev === dev;
}
