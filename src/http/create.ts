import type { IncomingMessage } from 'node:http';
import { MillraceError } from '../errors.js';
import { parseStreamPath } from '../log/index.js';
import type { CreateOptions, ForkPoint, Store, StreamInfo } from '../log/store.js';
import { type ForkHeaders, parseClosed, parseContentType, parseFork, parseLifetime } from '../wire/headers.js';
import { isJsonType } from '../wire/json.js';
import { type OffsetToken, offsetIn } from '../wire/offset.js';
import { withBody } from './body.js';
import type { HttpContext, StreamHandler } from './context.js';
import { requestOrigin, requestTarget } from './request-target.js';
import { publicStreamPath } from './route.js';
import { jsonLinesOf } from './scan-json.js';
import { positionFields } from './stream-fields.js';

/** `PUT`: makes a stream, or a fork of one (Durable Streams, sections 4.2 and 5.1). */
export const create: StreamHandler = async (exchange) => {
  const { req, res, route, context, base } = exchange;
  const { headers } = req;
  const contentType = parseContentType(headers['content-type']);
  const options: { -readonly [K in keyof CreateOptions]: CreateOptions[K] } = parseLifetime(headers);
  if (contentType !== undefined) options.contentType = contentType;
  if (parseClosed(header(req, 'stream-closed'))) options.closed = true;
  const forkHeaders = parseFork(headers);
  if (forkHeaders !== undefined) options.fork = await forkPoint(forkHeaders, context);
  const { created, info } = await withBody(exchange, async (body) => {
    if (body.length > 0) {
      const json = contentType === undefined ? await forksJson(context, options.fork) : isJsonType(contentType);
      options.data = json ? (await jsonLinesOf(body)).data : body;
    }
    return context.store.create(route.stream, options);
  });
  const fields = [
    ...base,
    'Content-Type',
    info.contentType,
    'Content-Length',
    '0',
    'Cache-Control',
    'no-store',
    ...positionFields(info.id, { offset: info.tail, closed: info.closed }),
  ];
  if (created) fields.push('Location', streamUrl(req, context));
  res.writeHead(created ? 201 : 200, fields).end();
};

/** The stream that a URL path below our prefix names. Errors: `OFFSET_OF_ANOTHER_STREAM`, `INVALID_PATH`. */
export async function forkPoint(fork: ForkHeaders, { prefix, store }: HttpContext): Promise<ForkPoint> {
  if (!fork.from.startsWith(`${prefix}/`)) {
    throw new MillraceError(
      'FORK_SOURCE_NOT_FOUND',
      `Stream-Forked-From must be the URL path of a stream of this server, below ${prefix}/.`,
    );
  }
  const path = publicStreamPath(parseStreamPath(fork.from.slice(prefix.length)));
  return {
    path,
    ...(fork.offset === undefined ? {} : { offset: fork.offset.offset }),
    ...(fork.offset?.owner === undefined ? {} : await forkSource(store, path, fork.offset)),
    ...(fork.subOffset === undefined ? {} : { subOffset: fork.subOffset }),
  };
}

/** The stream that is meant by an offset of it. */
async function forkSource(store: Store, path: string, offset: OffsetToken): Promise<{ readonly id?: string }> {
  let source: StreamInfo;
  try {
    source = await store.stat(path);
  } catch {
    // The store says what is wrong with it.
    return {};
  }
  offsetIn(offset, source);
  return { id: source.id };
}

/** Whether a fork for which the client named no type is of a JSON stream. Only a named type makes a stream JSON. */
async function forksJson(context: HttpContext, fork: ForkPoint | undefined): Promise<boolean> {
  if (fork === undefined) return false;
  try {
    return (await context.store.stat(fork.path)).json;
  } catch {
    // The store says what is wrong with the source; the body is not looked at then.
    return false;
  }
}

/** The stream's own URL, as the client addressed it. */
function streamUrl(req: IncomingMessage, context: HttpContext): string {
  return `${requestOrigin(req, context.publicUrl)}${requestTarget(req).split('?', 1)[0]}`;
}

/** One header's value; a repeated one is joined by Node already. */
function header(req: IncomingMessage, name: string): string | undefined {
  return req.headers[name] as string | undefined;
}
