import type { MillraceHandler } from './context.js';
import { requireMethod, sendJson } from './respond.js';

/**
 * `GET /-/health`: 200 while the store takes writes and the server is not going down, else 503. A broker that is away is
 * told of and no more: the streams do not need it, and the hub comes back by itself. `losses` is there where acknowledged
 * bytes were taken out of streams' files and are kept for an operator.
 */
export const health: MillraceHandler = (exchange) => {
  requireMethod(exchange, 'GET', 'HEAD');
  const { store, hub, draining } = exchange.context;
  const status = store.failure !== undefined ? 'failed' : draining ? 'draining' : 'ok';
  sendJson(exchange, status === 'ok' ? 200 : 503, { status, hub: hub?.status, losses: store.losses || undefined });
};
