import { MillraceError } from '../errors.js';
import type { StreamInfo } from '../log/index.js';
import { OFFSET_NOW, offsetIn } from '../wire/offset.js';
import type { StreamHandler } from './context.js';
import { startOffset } from './read.js';
import type { StreamRoute } from './route.js';
import { appenderFields, type Fields, positionFields, sandboxFields, typeFields } from './stream-fields.js';
import { isNotModified, type Validators, validatorFields, validatorsOf } from './validators.js';

/**
 * `HEAD`: what is known of a stream, never from a cache (Durable Streams, section 5.5), and what a plain `GET` of the
 * same URL would say of its body. It only looks: it is no use of the stream that would put off its expiry.
 */
export const head: StreamHandler = async ({ req, res, route, context, base }) => {
  const info = await context.store.stat(route.stream);
  const position = positionFields(info.id, { offset: info.tail, closed: info.closed });
  const fields = [...base, 'Cache-Control', 'no-store', ...position, ...appenderFields(info)];
  if (info.ttlSeconds !== undefined) fields.push('Stream-TTL', String(info.ttlSeconds));
  if (info.expiresAtMs !== undefined) fields.push('Stream-Expires-At', new Date(info.expiresAtMs).toISOString());
  const body = bodyOf(route, info);
  if (body !== undefined) {
    fields.push(...validatorFields(body.validators));
    if (isNotModified(req, body.validators)) {
      res.writeHead(304, [...fields, ...sandboxFields(res, info.contentType)]).end();
      return;
    }
    fields.push(...body.fields);
  }
  res.writeHead(200, [...fields, ...typeFields(res, info.contentType)]).end();
};

/**
 * What a plain `GET` would answer with; undefined where that is no state of the stream (live, `offset=now`).
 * Errors: `INVALID_OFFSET`, `OFFSET_OF_ANOTHER_STREAM`, `OFFSET_OUT_OF_RANGE`.
 */
function bodyOf(route: StreamRoute, info: StreamInfo): { validators: Validators; fields: Fields } | undefined {
  const asked = startOffset(route.query);
  if (route.live !== undefined || route.verb !== undefined || asked === OFFSET_NOW) return undefined;
  const { tail } = info;
  const start = asked === undefined ? 0 : offsetIn(asked, info);
  if (start > tail) {
    throw new MillraceError('OFFSET_OUT_OF_RANGE', `The offset lies beyond the stream's end at ${tail}.`, { tail });
  }
  const fields: Fields = [];
  // How long the array of a JSON stream is nobody knows before it is made.
  if (!info.json) fields.push('Content-Length', String(tail - start));
  if (!info.json && asked === undefined) fields.push('Accept-Ranges', 'bytes');
  return { validators: validatorsOf(info, start, tail), fields };
}
