import { MillraceError } from '../errors.js';
import { pathSegments } from '../log/index.js';

/** Longest pattern. */
export const PATTERN_LENGTH_MAX = 1024;

/** Whether a stream's path, relative to the stream root, matches: what its segments say, each by itself. */
export type Glob = (segments: readonly string[]) => boolean;

/**
 * A pattern over paths (Durable Streams, section 6.2): `*` stands for one segment, or for any characters inside one;
 * `**` for any number of segments, none included. Everything else is literal; a slash within a segment is `%2F`, as in
 * paths. Matching takes no more than pattern times path, whatever both are. Errors: `INVALID_REQUEST`.
 */
export function compileGlob(pattern: string): Glob {
  const segments = pathSegments(pattern);
  if (pattern.length > PATTERN_LENGTH_MAX || segments.includes('')) {
    throw new MillraceError(
      'INVALID_REQUEST',
      `pattern must be a path of at most ${PATTERN_LENGTH_MAX} characters without empty segments, such as events/*.`,
    );
  }
  const matchers = segments.map((segment) => (segment === '**' ? ANY : compileSegment(segment)));
  return (path) => matches(matchers, path);
}

const ANY = Symbol('any number of items');

type Matcher<T> = typeof ANY | ((item: T) => boolean);

function compileSegment(segment: string): (text: string) => boolean {
  if (segment === '*') return (text) => text !== '';
  if (!segment.includes('*')) return (text) => text === segment;
  const parts = [...segment].map((char): Matcher<string> => (char === '*' ? ANY : (other) => other === char));
  return (text) => matches(parts, [...text]);
}

/** Matches items against matchers, where `ANY` takes any run of items: tries the shortest, and remembers only the last. */
function matches<T>(pattern: readonly Matcher<T>[], items: readonly T[]): boolean {
  let p = 0;
  let i = 0;
  let anyAt = -1;
  let takenTo = 0;
  while (i < items.length) {
    const matcher = pattern[p];
    if (matcher === ANY) {
      anyAt = p++;
      takenTo = i;
    } else if (matcher?.(items[i] as T) === true) {
      p++;
      i++;
    } else if (anyAt >= 0) {
      p = anyAt + 1;
      i = ++takenTo;
    } else return false;
  }
  while (pattern[p] === ANY) p++;
  return p === pattern.length;
}
