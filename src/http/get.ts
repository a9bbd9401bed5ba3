import { MillraceError } from '../errors.js';
import type { StreamInfo } from '../log/index.js';
import { formatOffset } from '../wire/offset.js';
import type { Exchange, StreamHandler } from './context.js';
import { drained } from './drained.js';
import { parseRange } from './range.js';
import { read, readTail } from './read.js';
import type { StreamRoute } from './route.js';
import { appenderFields, positionFields, sandboxFields, typeFields } from './stream-fields.js';
import { isNotModified, rangeApplies, validatorFields, validatorsOf } from './validators.js';

/** Plain `GET`: all of a byte stream as it stands now, or a range of it. */
export const get: StreamHandler = async (exchange) => {
  const { route, context } = exchange;
  const info = await readTail(context.store, route.stream);
  // The messages of a JSON stream are read as an array.
  if (info.json) await read(exchange);
  else await sendContent(exchange, info, 0);
};

/**
 * Answers with the bytes from `from` to the tail, whatever their number, in constant memory. From the beginning
 * `Range` counts. Errors: `OFFSET_OUT_OF_RANGE`, `RANGE_NOT_SATISFIABLE`.
 */
export async function sendContent(exchange: Exchange<StreamRoute>, info: StreamInfo, from: number): Promise<void> {
  const { req, res, context, base } = exchange;
  const { tail } = info;
  if (from > tail) {
    throw new MillraceError('OFFSET_OUT_OF_RANGE', `The offset lies beyond the stream's end at ${tail}.`, { tail });
  }
  // The lines of a JSON stream are not the array that others get of it.
  const validators = validatorsOf(info, from, tail, info.json ? ':lines' : '');
  const fields = [...base, ...validatorFields(validators), 'Cache-Control', 'no-cache', ...appenderFields(info)];
  if (isNotModified(req, validators)) {
    const position = positionFields(info.id, { offset: tail, upToDate: true, closed: info.closed });
    res.writeHead(304, [...fields, ...sandboxFields(res, info.contentType), ...position]).end();
    return;
  }
  let start = from;
  let end = tail;
  let status = 200;
  const wanted = from === 0 && rangeApplies(req, validators) ? req.headers.range : undefined;
  const range = wanted === undefined ? undefined : parseRange(wanted, tail);
  if (range === 'unsatisfiable') {
    res.setHeader('Content-Range', `bytes */${tail}`);
    throw new MillraceError('RANGE_NOT_SATISFIABLE', `The range lies outside the stream, which has ${tail} bytes.`, {
      tail,
    });
  }
  if (range !== undefined) {
    ({ start, end } = range);
    status = 206;
    fields.push('Content-Range', `bytes ${start}-${end - 1}/${tail}`);
  }
  fields.push(
    ...(from === 0 ? ['Accept-Ranges', 'bytes'] : []),
    ...typeFields(res, info.json ? 'application/x-ndjson' : info.contentType),
    'Content-Length',
    String(end - start),
    ...(end === tail
      ? positionFields(info.id, { offset: tail, upToDate: true, closed: info.closed })
      : ['Stream-Next-Offset', formatOffset(end, info.id)]),
  );
  if (start === end) {
    res.writeHead(status, fields).end();
    return;
  }
  // Before the headers: whether the bytes are there at all, others may have changed the file.
  const first = await firstBytes(exchange, info, start, end);
  res.writeHead(status, fields);
  if (first.length === end - start) {
    res.end(first);
    return;
  }
  res.write(first);
  const gone = new AbortController();
  res.once('close', () => gone.abort());
  const { path, id } = info;
  try {
    await context.follow.copy(
      { path, id, from: start + first.length, to: end },
      { write: (bytes) => res.write(bytes), drained: () => drained(res) },
      gone.signal,
    );
    res.end();
  } catch (error) {
    if (gone.signal.aborted) return;
    context.log.warn({ err: error, path }, 'a response was cut off in the middle');
    res.destroy();
  }
}

async function firstBytes(
  { context, route }: Exchange<StreamRoute>,
  { id }: StreamInfo,
  start: number,
  end: number,
): Promise<Uint8Array> {
  const { data, info } = await context.store.read(route.stream, start, {
    maxBytes: Math.min(end - start, FIRST_BYTES),
  });
  if (info.id !== id) {
    throw new MillraceError('STREAM_FILE_CHANGED', `Another stream has taken the place of ${info.path}. Ask again.`);
  }
  return data.subarray(0, end - start);
}

/** How much of a content is read before its headers are sent. */
const FIRST_BYTES = 64 * 1024;
