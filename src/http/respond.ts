import { MillraceError } from '../errors.js';
import type { Exchange } from './context.js';

/** Refuses other methods with `METHOD_NOT_ALLOWED`, naming those that work in `Allow`. */
export function requireMethod(exchange: Exchange, ...methods: readonly string[]): void {
  if (methods.includes(exchange.route.method)) return;
  exchange.res.setHeader('Allow', [...methods, 'OPTIONS'].join(', '));
  throw new MillraceError(
    'METHOD_NOT_ALLOWED',
    `${exchange.route.method} is not possible here: use ${methods.join(', ')}.`,
  );
}

/** A small JSON answer that must not be cached. */
export function sendJson(exchange: Exchange, status: number, body: object): void {
  sendJsonText(exchange, status, JSON.stringify(body));
}

/** The same, of what is JSON already. */
export function sendJsonText(exchange: Exchange, status: number, json: string): void {
  const bytes = Buffer.from(`${json}\n`);
  exchange.res.writeHead(status, [
    ...exchange.base,
    'Content-Type',
    'application/json',
    'Cache-Control',
    'no-store',
    'Content-Length',
    String(bytes.length),
  ]);
  exchange.res.end(bytes);
}
