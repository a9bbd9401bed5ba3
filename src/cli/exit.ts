import { isMillraceError } from '../errors.js';

/** The exit codes of `millrace`. Documented in docs/command-line.md; they do not change their meaning. */
export const EXIT = {
  /** All done; also when a signal asked for the end and all was brought to it. */
  ok: 0,
  /** It failed; standard error says why. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** There is no such stream. */
  notFound: 3,
  /** Somebody else appends to this stream. */
  appenderActive: 4,
  /** The server cannot be reached, or was lost and did not come back in time. */
  unreachable: 5,
  /** The server's store failed while it ran: look at the disk before starting again. */
  storeFailed: 6,
  /** The server could not start: port, root directory, lock, journal. Or a root cannot be checked, for the same reasons. */
  cannotStart: 7,
  /** A check found damage. */
  damaged: 8,
  /** The stream was deleted, and another one is at its place. */
  anotherStream: 9,
  /** The stream may be unfinished: its appender was lost, and never said that it was done. */
  appenderLost: 10,
  /** Ended by a signal, unfinished: a second Ctrl-C, or one that came before there was anything to finish. */
  interrupted: 130,
} as const;

/** The exit code for what went wrong with a request to a server. */
export function exitCodeOf(error: unknown): number {
  if (!isMillraceError(error)) return EXIT.failed;
  switch (error.code) {
    case 'INVALID_ARGUMENT':
    case 'INVALID_OFFSET':
    case 'HUB_UNKNOWN_SCHEME':
    case 'HUB_CHANNEL_INVALID':
      return EXIT.usage;
    case 'STREAM_NOT_FOUND':
      return EXIT.notFound;
    case 'APPENDER_ACTIVE':
      return EXIT.appenderActive;
    case 'OFFSET_OF_ANOTHER_STREAM':
      return EXIT.anotherStream;
    case 'CONNECTION_FAILED':
    case 'HUB_UNAVAILABLE':
      return EXIT.unreachable;
    case 'RESUME_FAILED':
      return error.details.retryMs === undefined ? EXIT.failed : EXIT.unreachable;
    default:
      return EXIT.failed;
  }
}

/** Exit with this code instead of the one that the error itself stands for. */
export class CommandFailed extends Error {
  readonly exitCode: number;

  constructor(exitCode: number, cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = 'CommandFailed';
    this.exitCode = exitCode;
  }
}
