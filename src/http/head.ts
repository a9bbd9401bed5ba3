import type { StreamHandler } from './context.js';
import { positionFields, typeFields } from './stream-fields.js';

/** `HEAD`: what is known of a stream, never from a cache (Durable Streams, section 5.5). */
export const head: StreamHandler = async ({ res, route, context, base }) => {
  const info = await context.store.stat(route.stream);
  const fields = [
    ...base,
    ...typeFields(res, info.contentType),
    'Cache-Control',
    'no-store',
    ...positionFields(info.id, { offset: info.tail, closed: info.closed }),
  ];
  if (info.ttlSeconds !== undefined) fields.push('Stream-TTL', String(info.ttlSeconds));
  if (info.expiresAtMs !== undefined) fields.push('Stream-Expires-At', new Date(info.expiresAtMs).toISOString());
  res.writeHead(200, fields).end();
};
