import type { IncomingMessage } from 'node:http';
import { MillraceError } from '../errors.js';
import { appenderActive } from '../log/append.js';
import { checkContentType, streamClosed } from '../log/rules.js';
import type { Append, Appended } from '../log/store.js';
import { parseClosed, parseContentType, parseProducer, parseStreamSeq } from '../wire/headers.js';
import { isJsonType } from '../wire/json.js';
import { formatOffset } from '../wire/offset.js';
import { letGo, readBody } from './body.js';
import type { Exchange, StreamHandler } from './context.js';
import { asksFirst } from './expectation.js';
import type { StreamRoute } from './route.js';
import { jsonLinesOf } from './scan-json.js';

/** `POST`: appends the body, closes the stream, or both in one step (Durable Streams, sections 5.2 and 5.3). */
export const append: StreamHandler = async (exchange) => {
  const { req, res, route, context, base } = exchange;
  const request = parseAppend(req);
  if (asksFirst(req)) await checkBeforeBody(exchange, request);
  const body = await readBody(exchange);
  try {
    // Without a body its type is nobody's concern (section 5.2).
    if (body.length > 0) {
      const contentType = parseContentType(req.headers['content-type']);
      if (contentType === undefined) {
        throw new MillraceError('INVALID_HEADER', "The header Content-Type is missing: send the stream's type.", {
          header: 'Content-Type',
        });
      }
      request.contentType = contentType;
      request.data = body;
      if (isJsonType(contentType)) request.data = await jsonLines(exchange, body);
    }
    const appended = await context.store.append(route.stream, request);
    // With a producer, 204 says that nothing new was appended (section 5.2.1).
    const status = request.producer !== undefined && body.length > 0 && !appended.duplicate ? 200 : 204;
    const fields = appendedFields(base, appended);
    if (status === 200) fields.push('Content-Length', '0');
    res.writeHead(status, fields);
    res.end();
  } finally {
    letGo(exchange, body);
  }
};

type AppendRequest = { -readonly [K in keyof Append]: Append[K] };

function parseAppend(req: IncomingMessage): AppendRequest {
  const headers = req.headers;
  const request: AppendRequest = {};
  if (parseClosed(headers['stream-closed'] as string | undefined)) request.close = true;
  const streamSeq = parseStreamSeq(headers['stream-seq'] as string | undefined);
  if (streamSeq !== undefined) request.streamSeq = streamSeq;
  const producer = parseProducer(headers);
  if (producer !== undefined) request.producer = producer;
  return request;
}

/**
 * What the headers alone lead to, for a client that asks before it sends its body. Of a producer they do not say enough:
 * what it sends may be a repetition, which is never refused.
 * Errors: `STREAM_NOT_FOUND`, `STREAM_GONE`, `STREAM_CLOSED`, `APPENDER_ACTIVE`, `CONTENT_TYPE_MISMATCH`.
 */
async function checkBeforeBody({ req, route, context }: Exchange<StreamRoute>, request: Append): Promise<void> {
  const info = await context.store.stat(route.stream);
  if (request.producer !== undefined) return;
  if (info.closed) throw streamClosed(info);
  if (info.appender) throw appenderActive(info.path);
  const contentType = parseContentType(req.headers['content-type']);
  if (contentType !== undefined) checkContentType(info, contentType);
}

/**
 * The body as a JSON stream keeps it. Other streams get it as it is: one may have this type and still be bytes, where
 * nobody but its path said so. A closed one will refuse it, whatever it is.
 */
async function jsonLines({ route, context }: Parameters<StreamHandler>[0], body: Uint8Array): Promise<Uint8Array> {
  const { json, closed } = await context.store.stat(route.stream);
  if (!json || closed) return body;
  const { data, count } = await jsonLinesOf(body);
  if (count > 0) return data;
  throw new MillraceError('EMPTY_APPEND', 'The array is empty: send at least one message.');
}

function appendedFields(base: readonly string[], appended: Appended): string[] {
  const fields = ['Stream-Next-Offset', formatOffset(appended.offset, appended.streamId), ...base];
  if (appended.closed) fields.push('Stream-Closed', 'true');
  if (appended.producer !== undefined) {
    fields.push('Producer-Epoch', String(appended.producer.epoch), 'Producer-Seq', String(appended.producer.seq));
  }
  return fields;
}
