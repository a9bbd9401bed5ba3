import type { StreamHandler } from './context.js';
import { baseFields } from './stream-fields.js';

/** `DELETE`: the stream is gone once the answer is there (Durable Streams, section 5.4). */
export const remove: StreamHandler = async ({ res, route, context }) => {
  await context.store.delete(route.stream);
  res.writeHead(204, [...baseFields, 'Cache-Control', 'no-store']).end();
};
