import { MillraceError } from '../errors.js';

/**
 * A stream is named by segments, each of which may hold any visible character. They are written in three ways, and this
 * file is the only place that turns one into another. Each is a bijection, so no two streams share a name in any of them:
 *
 * - **path**, what stores, listings and subscriptions speak of: the segments divided by `/`. A slash within a segment is
 *   `%2F`. Where the text `%2F` itself is meant, it is `%252F`; for that, `%25252F`; and so on. Nothing else is escaped.
 * - **URL path**, what clients ask for: the segments percent-encoded (RFC 3986), divided by `/`.
 * - **file name** below a root: the path, but a dot that begins a segment is `%2E`, so that Millrace's own directory and
 *   whatever else is hidden is nobody's stream. Where the text `%2E` begins a segment, it is `%252E`; and so on.
 *
 * | segments          | path           | URL path       | file          |
 * | ----------------- | -------------- | -------------- | ------------- |
 * | `builds` `42.txt` | builds/42.txt  | /builds/42.txt | builds/42.txt |
 * | `100%`            | 100%           | /100%25        | 100%          |
 * | `a/b`             | a%2Fb          | /a%2Fb         | a%2Fb         |
 * | `doc` `.index`    | doc/.index     | /doc/.index    | doc/%2Eindex  |
 */

/** Longest path of a stream, in UTF-8 bytes. */
export const PATH_BYTES_MAX = 1024;
/** Longest segment of a path, in UTF-8 bytes of its file name: what common file systems hold as one name. */
export const PATH_SEGMENT_BYTES_MAX = 255;

/**
 * The stream that a URL's path names: `/builds/42.txt` is `builds/42.txt`. Give it the path as it came in the request
 * line, still percent-encoded; it is decoded here exactly once, and checked in no other place.
 * Errors: `INVALID_PATH`.
 */
export function parseStreamPath(urlPathname: string): string {
  if (!urlPathname.startsWith('/')) throw invalid('it must begin with a slash');
  if (!urlPathname.includes('%')) return checkStreamPath(urlPathname.slice(1));
  // Segment by segment, so that an encoded slash is seen as what it is: part of a name.
  return joinSegments(urlPathname.slice(1).split('/').map(percentDecoded));
}

/** The URL path of a stream, percent-encoded and with its leading slash: what {@link parseStreamPath} takes. */
export function streamUrlPath(path: string): string {
  return `/${pathSegments(path).map(encodeURIComponent).join('/')}`;
}

/** What a path's segments say, for whoever decides by them: a slash within one is no border. */
export function pathSegments(path: string): string[] {
  const segments = path.split('/');
  return path.includes('%') ? segments.map(segmentOf) : segments;
}

/** The path of given segments. Errors: `INVALID_PATH`. */
export function joinSegments(segments: readonly string[]): string {
  return checkStreamPath(segments.map(textOf).join('/'));
}

/**
 * Checks a stream's path, without leading slash, and returns it. What may not be part of one: empty segments; `.` or
 * `..` between two slashes, of whichever kind; control characters; backslashes.
 * Errors: `INVALID_PATH`.
 */
export function checkStreamPath(path: string): string {
  if (typeof path !== 'string' || path === '') throw invalid('it is empty');
  // Most paths are plain ASCII and short: one test instead of a loop.
  if (path.length <= PLAIN_LENGTH_MAX && PLAIN.test(path)) return path;
  if (SURROGATE.test(path)) throw invalid('it is not valid Unicode');
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) throw invalid(`it is longer than ${PATH_BYTES_MAX} bytes`);
  if (path.includes('\\')) throw invalid('it holds a backslash');
  if (CONTROL.test(path)) throw invalid('it holds a control character');
  // A proxy may take an escaped slash for one, and then go up.
  if (RELATIVE.test(path)) throw invalid('. and .. are no names');
  for (const name of fileNameOf(path).split('/')) {
    if (name === '') throw invalid('it holds an empty segment');
    if (Buffer.byteLength(name) > PATH_SEGMENT_BYTES_MAX) {
      throw invalid(`a segment is longer than ${PATH_SEGMENT_BYTES_MAX} bytes`);
    }
  }
  return path;
}

/** The name of a stream's file, relative to the root. */
export function fileNameOf(path: string): string {
  return path.replace(LEADING_DOT, (text) => (text === '.' ? '%2E' : `%25${text.slice(1)}`));
}

/**
 * What a name in a directory is as a segment of a path; the inverse of {@link fileNameOf}. Undefined for names that no
 * stream has: those that begin with a dot, and what {@link checkStreamPath} refuses.
 */
export function pathOfFileName(name: string): string | undefined {
  if (name.startsWith('.')) return undefined;
  const path = name.replace(ESCAPED_DOT, (text) => (text === '%2E' ? '.' : `%${text.slice(3)}`));
  try {
    return checkStreamPath(path);
  } catch {
    return undefined;
  }
}

/** A segment as a path has it. */
function textOf(segment: string): string {
  return segment.replace(SLASH, (text) => (text === '/' ? '%2F' : `%25${text.slice(1)}`));
}

/** What a part of a path says. */
function segmentOf(text: string): string {
  return text.replace(ESCAPED_SLASH, (escaped) => (escaped === '%2F' ? '/' : `%${escaped.slice(3)}`));
}

function percentDecoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw invalid('its percent-encoding is not valid UTF-8');
  }
}

function invalid(why: string): MillraceError {
  return new MillraceError(
    'INVALID_PATH',
    `The path cannot name a stream: ${why}. Use segments of letters, digits and other visible characters, divided by single slashes.`,
  );
}

/** So that also the file name is short enough, where a dot becomes three characters. */
const PLAIN_LENGTH_MAX = PATH_SEGMENT_BYTES_MAX - 2;
const PLAIN = /^\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:\/\.?[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$/;
const SURROGATE = /\p{Surrogate}/u;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const RELATIVE = /(?:^|\/|%2F)\.\.?(?:$|\/|%2F)/;
/** What stands for a slash, and what would be taken for it. */
const ESCAPED_SLASH = /%(?:25)*2F/g;
const SLASH = /\/|%(?:25)*2F/g;
/** The same for a dot at the beginning of a segment. */
const ESCAPED_DOT = /^%(?:25)*2E/;
const LEADING_DOT = /(?<=^|\/)(?:\.|%(?:25)*2E)/g;
