import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { MillraceError } from '../errors.js';
import { requestAuthority } from './request-target.js';

/**
 * Keeps pages of foreign origins out of a server that has no other way to tell who asks. A browser lets any page send
 * requests to any server that it can reach, one on 127.0.0.1 too; it says in `Origin` which page it was.
 */

/** Which pages in browsers may use a server, and by which names it is known. */
export interface OriginCheckOptions {
  /**
   * Origins whose pages may use the server, like `https://app.example`; `*` for every origin. Pages of loopback names
   * (`localhost`, `*.localhost`, 127.0.0.0/8, `[::1]`), on any port, always may, and so may the server's own.
   */
  readonly origins?: readonly string[];
  /** Names under which clients reach the server, without a port, beside loopback names and that of the public URL. */
  readonly hostNames?: readonly string[];
  /**
   * Refuses requests for a host that is neither a loopback name nor among the names above (`HOST_UNKNOWN`): for a server
   * that listens on a loopback address. Any other one there is a name that was made to point here by somebody else (DNS
   * rebinding), which makes pages from there same-origin to the browser. Default: no.
   */
  readonly checkHost?: boolean;
}

/** The check, made once. */
export interface OriginCheck {
  /** Whether every page may use the server. */
  readonly anyOrigin: boolean;
  /** Whether pages of this origin, as the browser names it, may use the server. */
  allows(origin: string, req: IncomingMessage): boolean;
  /** Before anything else is done for a request. Errors: `HOST_UNKNOWN`, `ORIGIN_REFUSED`. */
  check(req: IncomingMessage): void;
}

/** Errors: `INVALID_ARGUMENT` for what is no origin, and no name of a host. */
export function createOriginCheck(options: OriginCheckOptions, publicUrl: string | undefined): OriginCheck {
  const { origins = [], hostNames = [], checkHost = false } = options;
  const allowed = new Set(origins.map(parseOrigin));
  const anyOrigin = allowed.has('*');
  const names = new Set(hostNames.map(parseHostName));
  if (publicUrl !== undefined) {
    if (!URL.canParse(publicUrl)) throw new MillraceError('INVALID_ARGUMENT', `publicUrl is no URL: ${publicUrl}.`);
    const { origin, host } = new URL(publicUrl);
    allowed.add(origin);
    const name = nameOf(host);
    if (name !== undefined) names.add(name);
  }
  /** The last one that was in order: nearly every request has the same as the one before it. */
  let knownAuthority: string | undefined;

  const isKnownName = (authority: string) => {
    const name = nameOf(authority);
    return name !== undefined && (isLoopbackName(name) || names.has(name));
  };

  const allows = (origin: string, req: IncomingMessage) => {
    const written = origin.toLowerCase();
    if (anyOrigin || allowed.has(written)) return true;
    const authority = /^https?:\/\/(.+)$/.exec(written)?.[1];
    const name = authority === undefined ? undefined : nameOf(authority);
    if (name === undefined) return false;
    if (isLoopbackName(name)) return true;
    // A page that this server gave out itself. Under a name that nobody told us it may be a rebound one; an address
    // is always meant.
    return (names.has(name) || isAddress(name)) && authority === requestAuthority(req)?.toLowerCase();
  };

  return {
    anyOrigin,
    allows,
    check(req) {
      if (checkHost) {
        const authority = requestAuthority(req);
        // Those who name no host (HTTP/1.0, probes of load balancers) are no browsers.
        if (authority !== knownAuthority && authority !== undefined) {
          if (!isKnownName(authority)) throw hostUnknown(authority);
          knownAuthority = authority;
        }
      }
      // A preflight asks whether it may ask: that it may not is told by what is not in the answer.
      if (anyOrigin || req.method === 'OPTIONS') return;
      const { origin } = req.headers;
      if (origin === undefined ? isForeignWithoutOrigin(req) : !allows(origin, req)) throw originRefused(origin);
    },
  };
}

/**
 * Browsers leave `Origin` out where a page only makes them load something (an image, a script), or go somewhere, and
 * say the rest in fetch metadata (W3C Fetch Metadata, `Sec-Fetch-Site`). To follow a link, or to type it, is the
 * user's own act; the answer is shown, and no page can look into it.
 */
function isForeignWithoutOrigin({ method, headers }: IncomingMessage): boolean {
  if (headers['sec-fetch-site'] !== 'cross-site') return false;
  return headers['sec-fetch-mode'] !== 'navigate' || (method !== 'GET' && method !== 'HEAD');
}

/** Whether nobody but this machine answers to a name: RFC 6761, section 6.3; RFC 1122, section 3.2.1.3. */
export function isLoopbackName(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost') || /^127(?:\.\d{1,3}){3}$/.test(name) || name === '[::1]';
}

function isAddress(name: string): boolean {
  return isIP(name.startsWith('[') ? name.slice(1, -1) : name) !== 0;
}

/** The host of `host:port` in the way that names are compared: lower case, without the dot of the root. */
function nameOf(authority: string): string | undefined {
  return /^(\[[\da-f:.]+\]|[\w.-]+?)\.?(?::\d*)?$/i.exec(authority)?.[1]?.toLowerCase();
}

/** An origin as browsers write it, or `*`. Errors: `INVALID_ARGUMENT`. */
export function parseOrigin(text: string): string {
  if (text === '*') return text;
  // Only of these does the standard say how they are written; others (of extensions, of apps) are taken as they are.
  if (/^https?:/i.test(text) && URL.canParse(text)) {
    const { origin, href, username, password } = new URL(text);
    if (href === `${origin}/` && username === '' && password === '') return origin;
  } else if (/^[a-z][a-z0-9+.-]*:\/\/[^/?#@\s]+$/i.test(text)) return text.toLowerCase();
  throw new MillraceError(
    'INVALID_ARGUMENT',
    `origins must be a scheme and a host each, like https://app.example, or * for all: ${text} is no such.`,
  );
}

/** A name of a host as they are compared. Errors: `INVALID_ARGUMENT`. */
export function parseHostName(text: string): string {
  const authority = isIP(text) === 6 ? `[${text}]` : text;
  const name = nameOf(authority);
  if (name !== undefined && name === authority.toLowerCase().replace(/\.$/, '')) return name;
  throw new MillraceError(
    'INVALID_ARGUMENT',
    `hostNames must be names alone, like streams.example, without a port: ${text} is no such.`,
  );
}

function originRefused(origin: string | undefined): MillraceError {
  const page = origin === undefined ? 'a page of another site' : `a page of ${origin}`;
  return new MillraceError(
    'ORIGIN_REFUSED',
    `The request comes from ${page}, which may not use this server. Allow its origin with --origin, if it may.`,
  );
}

function hostUnknown(authority: string): MillraceError {
  return new MillraceError(
    'HOST_UNKNOWN',
    `This server is not known as ${authority}. If that is its name, say so with --host-name, or with --public-url.`,
  );
}
