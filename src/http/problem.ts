import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ErrorCode, isMillraceError, type MillraceError } from '../errors.js';
import { formatOffset } from '../wire/offset.js';
import { baseFields } from './base-fields.js';
import { type Log, SILENT } from './context.js';
import type { OriginCheck } from './origin-check.js';
import type { Route, StreamVerb } from './route.js';
import type { Fields } from './stream-fields.js';

/** An error as `application/problem+json` (RFC 9457) with Millrace's stable `code`. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode | 'INTERNAL';
  readonly detail: string;
  /** The error's details, as they are: offsets, limits, the current epoch. */
  readonly [detail: string]: string | number | boolean | null;
}

/**
 * The one map from error to HTTP status. Codes that a request can never cause are not in it: they answer 500 and are
 * logged, as are errors that are not Millrace's.
 */
export const statusOf: Partial<Record<ErrorCode, number>> = {
  INVALID_ARGUMENT: 400,
  INVALID_PATH: 400,
  INVALID_OFFSET: 400,
  INVALID_JSON: 400,
  INVALID_FORK: 400,
  INVALID_HEADER: 400,
  INVALID_HANDSHAKE: 400,
  INVALID_REQUEST: 400,
  ORIGIN_REFUSED: 403,
  HOST_UNKNOWN: 421,
  REQUEST_TIMEOUT: 408,
  APPENDER_STALLED: 408,
  HEADERS_TOO_LARGE: 431,
  UNKNOWN_VERB: 400,
  OFFSET_OUT_OF_RANGE: 400,
  EMPTY_APPEND: 400,
  PRODUCER_EPOCH_START: 400,

  WEBHOOK_URL_REJECTED: 400,
  INVALID_ACK: 400,

  TOKEN_INVALID: 401,
  TOKEN_EXPIRED: 401,
  PRODUCER_FENCED: 403,

  STREAM_NOT_FOUND: 404,
  SUBSCRIPTION_NOT_FOUND: 404,
  FORK_SOURCE_NOT_FOUND: 404,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  UPGRADE_REQUIRED: 426,
  PRODUCERS_TOO_MANY: 429,

  APPENDER_ACTIVE: 409,
  SUBSCRIPTION_EXISTS: 409,
  FENCED: 409,
  ALREADY_CLAIMED: 409,
  NO_PENDING_WORK: 409,
  STREAM_EXISTS: 409,
  STREAM_EXPIRED: 409,
  STREAM_CLOSED: 409,
  STREAM_SEQ_CONFLICT: 409,
  PRODUCER_SEQ_GAP: 409,
  CONTENT_TYPE_MISMATCH: 409,
  FORK_SOURCE_GONE: 409,
  SESSION_ENDED: 409,
  STREAM_GONE: 410,
  OFFSET_OF_ANOTHER_STREAM: 410,

  APPEND_TOO_LARGE: 413,
  BODY_TOO_LARGE: 413,
  URL_TOO_LONG: 414,
  CONTENT_ENCODING_UNSUPPORTED: 415,
  RANGE_NOT_SATISFIABLE: 416,
  EXPECTATION_FAILED: 417,

  HUB_CHANNEL_INVALID: 400,
  HUB_MESSAGE_INVALID: 400,
  HUB_PATTERNS_UNSUPPORTED: 400,
  HUB_MESSAGE_TOO_LARGE: 413,
  HUB_UNAUTHORIZED: 502,
  HUB_BUSY: 503,
  HUB_CLOSED: 503,
  HUB_UNAVAILABLE: 503,

  STORE_BUSY: 503,
  STORE_CLOSED: 503,
  STORE_FAILED: 503,
  STORE_UNAVAILABLE: 503,
  STREAM_FILE_CHANGED: 500,
  STORE_FULL: 507,
  SHUTTING_DOWN: 503,
  INTAKE_BUSY: 503,
  TOO_MANY_FOLLOWERS: 503,
  TOO_MANY_APPENDERS: 503,
  TOO_MANY_SUBSCRIPTIONS: 503,
};

/** Where the seed's verb APPEND differs: a second appender is forbidden, not in conflict. */
const statusOfAppendVerb: Partial<Record<ErrorCode, number>> = { APPENDER_ACTIVE: 403 };

/** An error as the client may see it: never a stack, a file path or the text of a foreign error. */
export function toProblem(error: unknown, log: Log, verb?: StreamVerb): Problem {
  const status = isMillraceError(error)
    ? ((verb === 'append' ? statusOfAppendVerb[error.code] : undefined) ?? statusOf[error.code])
    : undefined;
  if (!isMillraceError(error) || status === undefined) {
    log.error({ err: error }, 'a request failed in a way that nobody foresaw');
    return {
      type: 'urn:millrace:error:INTERNAL',
      title: 'Internal',
      status: 500,
      code: 'INTERNAL',
      detail: 'The server failed. Its log says why; the request may be tried again.',
    };
  }
  if (status >= 500) log.warn({ err: error }, 'a request was refused');
  return {
    ...detailsOf(error),
    type: `urn:millrace:error:${error.code}`,
    title: sentence(error.code),
    status,
    code: error.code,
    detail: error.message,
  };
}

/** An error's details for a client, which knows places by their tokens. */
function detailsOf({ details }: MillraceError): Problem {
  const { streamId, ...rest } = details;
  if (typeof streamId !== 'string' || typeof rest.offset !== 'number') return details as Problem;
  return { ...rest, nextOffset: formatOffset(rest.offset, streamId) } as unknown as Problem;
}

/** Answers with a problem. After the headers are out it can only cut the connection, so that the client notices. */
export function sendProblem(exchange: Exchange, error: unknown, fields: readonly string[] = []): void {
  const { req, res, base } = exchange;
  const problem = toProblem(
    error,
    exchange.context.log,
    exchange.route?.kind === 'stream' ? exchange.route.verb : undefined,
  );
  if (res.headersSent) {
    res.destroy();
    return;
  }
  const body = Buffer.from(`${JSON.stringify(problem)}\n`);
  try {
    res.writeHead(problem.status, [
      ...base,
      ...problemFields(problem),
      ...fields,
      'Content-Length',
      String(body.length),
    ]);
    res.end(body);
  } catch (failure) {
    // There is nobody above who could do anything about it, and one request must not end the process.
    exchange.context.log.error({ err: failure }, 'an error could not be told to a client');
    res.destroy();
    return;
  }
  lingerFor(req);
}

/**
 * Answers a request that no handler can take with the problem that an error is. Nothing is logged. Pages that may not ask
 * are told that alone.
 */
export function refuseRequest(req: IncomingMessage, res: ServerResponse, error: unknown, check?: OriginCheck): void {
  let reason = error;
  try {
    check?.check(req);
  } catch (refusal) {
    reason = refusal;
  }
  sendProblem({ req, res, context: { log: SILENT }, base: baseFields(req, res, check) }, reason);
}

/**
 * The request was refused, and perhaps its client is still sending. Cutting the connection now could destroy the answer
 * on its way, so what comes is read away for a while, and only then the connection is cut.
 */
export function lingerFor(req: IncomingMessage): void {
  if (req.complete || req.method === 'GET') return;
  req.resume();
  const timer = setTimeout(() => req.socket.destroy(), LINGER_MS);
  const stop = () => clearTimeout(timer);
  req.once('end', stop).once('close', stop);
}

/** How long the body of a refused request is read away. */
export const LINGER_MS = 2_000;

/** The header fields of a problem response. */
function problemFields(problem: Problem): Fields {
  const fields = ['Content-Type', 'application/problem+json', 'Cache-Control', 'no-store'];
  const { retryAfterMs } = problem;
  if (typeof retryAfterMs === 'number') fields.push('Retry-After', String(Math.ceil(retryAfterMs / 1000)));
  else if (problem.status === 503) fields.push('Retry-After', '1');
  return fields;
}

/** The part of an exchange that a problem needs: there may be no route yet. */
interface Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly context: { readonly log: Log };
  readonly base: readonly string[];
  readonly route?: Route;
}

function sentence(code: string): string {
  const words = code.toLowerCase().replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}
