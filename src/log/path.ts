import { MillraceError } from '../errors.js';

/** Longest path of a stream, in UTF-8 bytes. */
export const PATH_BYTES_MAX = 1024;
/** Longest segment of a path, in UTF-8 bytes: what common file systems hold as one name. */
export const PATH_SEGMENT_BYTES_MAX = 255;

/**
 * The stream that a URL's path names: `/builds/42.txt` is `builds/42.txt`. Give it the path as it came in the request
 * line, still percent-encoded; it is decoded here exactly once, and checked in no other place.
 * Errors: `INVALID_PATH`.
 */
export function parseStreamPath(urlPathname: string): string {
  if (!urlPathname.startsWith('/')) throw invalid('it must begin with a slash');
  if (!urlPathname.includes('%')) return checkStreamPath(urlPathname.slice(1));
  // Decoded segment by segment, so that an encoded slash is seen as what it is: part of a name.
  const segments = urlPathname.slice(1).split('/').map(decodeSegment);
  return checkStreamPath(segments.join('/'));
}

/**
 * Checks a stream's name, without leading slash, and returns it. What may not be part of one: empty segments, names
 * that begin with a dot (so neither `.`, `..` nor Millrace's own folder), control characters, backslashes.
 * Errors: `INVALID_PATH`.
 */
export function checkStreamPath(path: string): string {
  if (typeof path !== 'string' || path === '') throw invalid('it is empty');
  // Most paths are plain ASCII and short: one test instead of a loop.
  if (path.length <= PATH_SEGMENT_BYTES_MAX && PLAIN.test(path)) return path;
  if (SURROGATE.test(path)) throw invalid('it is not valid Unicode');
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) throw invalid(`it is longer than ${PATH_BYTES_MAX} bytes`);
  if (path.includes('\\')) throw invalid('it holds a backslash');
  if (CONTROL.test(path)) throw invalid('it holds a control character');
  for (const segment of path.split('/')) {
    if (segment === '') throw invalid('it holds an empty segment');
    if (segment.startsWith('.')) throw invalid('a segment begins with a dot');
    if (Buffer.byteLength(segment) > PATH_SEGMENT_BYTES_MAX) {
      throw invalid(`a segment is longer than ${PATH_SEGMENT_BYTES_MAX} bytes`);
    }
  }
  return path;
}

const PLAIN = /^[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:\/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$/;
const SURROGATE = /\p{Surrogate}/u;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

function decodeSegment(segment: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(segment);
  } catch {
    throw invalid('its percent-encoding is not valid UTF-8');
  }
  if (decoded.includes('/')) throw invalid('it holds an encoded slash');
  return decoded;
}

function invalid(why: string): MillraceError {
  return new MillraceError(
    'INVALID_PATH',
    `The path cannot name a stream: ${why}. Use segments of letters, digits and other visible characters, divided by single slashes.`,
  );
}
