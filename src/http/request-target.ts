import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';

/** Where a request goes: the server's name, and the path on it. */

/** A proxy may ask with the whole URL (RFC 9112, section 3.2.2). Group: host and port. */
const WHOLE_URL = /^https?:\/\/([^/?]*)/i;

/** As the server got it: a framework that mounts us may have shortened `req.url`. */
function wholeTarget(req: IncomingMessage): string {
  return (req as IncomingMessage & { originalUrl?: string }).originalUrl ?? req.url ?? '/';
}

/** Path and query. */
export function requestTarget(req: IncomingMessage): string {
  const target = wholeTarget(req);
  return target.startsWith('/') ? target : target.replace(WHOLE_URL, '');
}

/** Whether a request target lies below the prefix (`''` holds everything). */
export function isUnderPrefix(target: string, prefix: string): boolean {
  // Whatever it is, `*` too: without a prefix there is nobody else to answer it.
  if (prefix === '') return true;
  if (!target.startsWith(prefix)) return false;
  const next = target[prefix.length];
  return next === '/' || next === undefined || next === '?';
}

/** Whether a request is for a handler that is mounted at this prefix. */
export function isBelow(req: IncomingMessage, prefix: string): boolean {
  return isUnderPrefix(requestTarget(req), prefix);
}

/** Host and port that the client means: in the whole URL, else in `:authority` or `Host`. Undefined where it names none. */
export function requestAuthority(req: IncomingMessage): string | undefined {
  const target = wholeTarget(req);
  const named = target.startsWith('/') ? undefined : WHOLE_URL.exec(target)?.[1];
  if (named !== undefined) return named;
  // HTTP/2 has its own field for it, which counts where both are there (RFC 9113, section 8.3.1).
  const { ':authority': authority, host } = req.headers;
  return ((authority as string | undefined) ?? host) || undefined;
}

/** `https://host:port` of this server: as configured, or as the client calls it. */
export function requestOrigin(req: IncomingMessage, publicUrl: string | undefined): string {
  if (publicUrl !== undefined) return publicUrl;
  const scheme = (req.socket as Partial<TLSSocket>).encrypted === true ? 'https' : 'http';
  const authority = requestAuthority(req);
  if (authority !== undefined && /^[\w.:[\]-]+$/.test(authority)) return `${scheme}://${authority}`;
  return `${scheme}://localhost:${req.socket.localPort ?? 80}`;
}
