import { InvalidArgumentError, Option } from 'commander';
import type { Log } from '../server/index.js';

/** `-v`: as in the seed's commands. */
export function verboseOption(): Option {
  return new Option('-v, --verbose', 'say on standard error what happens');
}

/** `--json`. */
export function jsonOption(): Option {
  return new Option('--json', 'log as JSON, one object a line');
}

/** With `-v` a lost connection is told, and that it is tried again. */
export function notesOfRetries(log: Log): (error: unknown, delayMs: number) => void {
  return (error, delayMs) => {
    const why = error instanceof Error ? error.message : String(error);
    log.info({}, `${why} Trying again in ${Math.ceil(delayMs)} ms.`);
  };
}

/** The longest wait of a timer, in milliseconds; a longer one would end at once. */
export const TIMER_MS_MAX = 0x7fffffff;

/** An option whose value is a whole number of at least `min`. */
export function wholeNumber(min: number, max: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(
      `It must be a whole number ${max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`}.`,
    );
  };
}

/** A stream's URL as people type it: without a scheme, `http://` is meant. */
export function streamUrl(text: string): URL {
  const given = tryUrl(text);
  const isHttp = given?.protocol === 'http:' || given?.protocol === 'https:';
  const url = isHttp || /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? given : tryUrl(`http://${text}`);
  // A server alone is no stream.
  if (url !== null && /^https?:$/.test(url.protocol) && url.pathname !== '/') return url;
  throw new InvalidArgumentError('It must be the URL of a stream, like http://localhost:4437/foo.txt.');
}

function tryUrl(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null;
}

/** Of an option that may be given several times, all values. */
export function repeated(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}
