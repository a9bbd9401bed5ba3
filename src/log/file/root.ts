import { accessSync, constants, mkdirSync, realpathSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { MillraceError } from '../../errors.js';
import { diskError } from './disk-error.js';
import { codeOf } from './file-system.js';

/** The real path of a root that can be used. Errors: `STORE_UNAVAILABLE`. */
export function prepareRoot(
  given: string,
  { create = false, writable = true }: { readonly create?: boolean; readonly writable?: boolean },
): string {
  const root = resolve(given);
  try {
    if (create) mkdirSync(root, { recursive: true });
    if (!statSync(root).isDirectory()) {
      throw new MillraceError('STORE_UNAVAILABLE', `The root ${root} is not a directory. Choose one that is.`, {
        root,
      });
    }
    const { R_OK, W_OK, X_OK } = constants;
    accessSync(root, writable ? R_OK | W_OK | X_OK : R_OK | X_OK);
    return realpathSync.native(root);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') {
      throw new MillraceError(
        'STORE_UNAVAILABLE',
        `The root ${root} does not exist. Create the directory, or let the server create it.`,
        { root },
        { cause: error },
      );
    }
    throw diskError(error, `The root ${root} cannot be used`);
  }
}
