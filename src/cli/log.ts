import { type DestinationStream, pino } from 'pino';
import { isMillraceError } from '../errors.js';
import type { Log } from '../server/index.js';

/** What every command understands about what it says. */
export interface LogOptions {
  /** Say what happens, not only what goes wrong. */
  readonly verbose?: boolean;
  /** One JSON object a line instead of sentences. */
  readonly json?: boolean;
}

/** Logs to standard error: standard output belongs to the data. */
export function createLog(options: LogOptions, destination: DestinationStream = process.stderr): Log {
  const level = options.verbose === true ? 'info' : 'warn';
  if (options.json === true) return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
  return plainLog(destination, level);
}

/** The same for people: one sentence a line, as the seed's commands print them. */
function plainLog(destination: DestinationStream, level: 'info' | 'warn'): Log {
  const print = (fields: object, message: string) => destination.write(`${message}${describe(fields)}\n`);
  return {
    debug: () => undefined,
    info: level === 'info' ? print : () => undefined,
    warn: print,
    error: print,
  };
}

function describe(fields: object): string {
  return Object.entries(fields)
    .map(([name, value]) => ` ${name}=${value instanceof Error ? value.message : String(value)}`)
    .join('');
}

/** Says in one line why a command failed. */
export function reportError(
  error: unknown,
  options: LogOptions,
  destination: DestinationStream = process.stderr,
): void {
  const cause = error instanceof Error && error.name === 'CommandFailed' ? error.cause : error;
  const message = oneLine(cause instanceof Error ? cause.message : String(cause));
  const code = isMillraceError(cause) ? cause.code : undefined;
  if (options.json === true) createLog(options, destination).error(code === undefined ? {} : { code }, message);
  else destination.write(`millrace: ${message}${code === undefined ? '' : ` [${code}]`}\n`);
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*[\r\n]+\s*/g, ' ');
}
