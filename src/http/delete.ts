import type { StreamHandler } from './context.js';

/** `DELETE`: the stream is gone once the answer is there (Durable Streams, section 5.4). */
export const remove: StreamHandler = async ({ res, route, context, base }) => {
  await context.store.delete(route.stream);
  res.writeHead(204, [...base, 'Cache-Control', 'no-store']).end();
};
