import { MillraceError } from '../../errors.js';
import { codeOf } from './file-system.js';

/** An error of the operating system as one that says what to do. The path stays in `cause`, for the log only. */
export function diskError(error: unknown, what: string): MillraceError {
  if (error instanceof MillraceError) return error;
  const code = codeOf(error) ?? codeOf((error as Error).cause) ?? 'unknown error';
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return new MillraceError(
        'STORE_FULL',
        `${what}: the disk is full (${code}). Free some space, then try again.`,
        {},
        { cause: error },
      );
    case 'EMFILE':
    case 'ENFILE':
      return new MillraceError(
        'STORE_UNAVAILABLE',
        `${what}: too many files are open (${code}). Raise the limit (ulimit -n), or set openFilesMax lower.`,
        {},
        { cause: error },
      );
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new MillraceError(
        'STORE_UNAVAILABLE',
        `${what}: the server may not write there (${code}). Give its user the right to read and write below the root.`,
        {},
        { cause: error },
      );
    default:
      return new MillraceError(
        'STORE_UNAVAILABLE',
        `${what} (${code}). Check the disk, then try again.`,
        {},
        { cause: error },
      );
  }
}
