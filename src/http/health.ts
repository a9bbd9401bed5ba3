import type { MillraceHandler } from './context.js';
import { requireMethod, sendJson } from './respond.js';

/** `GET /-/health`: 200 while the store takes writes and the server is not going down, else 503. */
export const health: MillraceHandler = (exchange) => {
  requireMethod(exchange, 'GET', 'HEAD');
  const { store, draining } = exchange.context;
  if (store.failure !== undefined) sendJson(exchange, 503, { status: 'failed' });
  else if (draining) sendJson(exchange, 503, { status: 'draining' });
  else sendJson(exchange, 200, { status: 'ok' });
};
