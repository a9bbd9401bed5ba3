import type { IncomingHttpHeaders } from 'node:http';
import { isMillraceError, MillraceError } from '../errors.js';
import type { AcquireOptions, AppendSession, CreateOptions, SessionEnd } from '../log/index.js';
import { PRODUCER_ID_LENGTH_MAX, parseClosed, parseContentType, parseFork, parseLifetime } from '../wire/headers.js';
import type { HttpContext } from './context.js';
import { forkPoint } from './create.js';
import type { StreamRoute } from './route.js';

/**
 * Makes whoever asks the stream's appender; the stream is made where there is none, as the request names it: its type
 * (`?contentType=`, or the body's own; else the one its path suggests), and by the headers of `PUT` its life time and
 * origin. Browsers cannot set headers of a WebSocket, so the life time may also stand in the query.
 * Errors: `TOO_MANY_APPENDERS`, `INVALID_REQUEST`, `INVALID_HEADER`, and those of `Store.acquire`.
 */
export async function acquireSession(
  context: HttpContext,
  route: StreamRoute,
  headers: IncomingHttpHeaders,
  bodyType?: string,
): Promise<AppendSession> {
  const { appendersMax } = context.limits;
  if (context.sessions.size >= appendersMax) {
    throw new MillraceError('TOO_MANY_APPENDERS', 'The server has as many appenders as it may: try again later.', {
      appendersMax,
    });
  }
  refuseOfWholeAppends(headers);
  const create: { -readonly [K in keyof CreateOptions]: CreateOptions[K] } = lifetimeOf(route, headers);
  const contentType = parseContentType(route.query.get('contentType') ?? meantType(bodyType));
  if (contentType !== undefined) create.contentType = contentType;
  const fork = parseFork(headers);
  if (fork !== undefined) create.fork = await forkPoint(fork, context);
  const options: { -readonly [K in keyof AcquireOptions]: AcquireOptions[K] } = { create };
  const producer = parseProducer(route.query);
  if (producer !== undefined) options.producer = producer;
  const session = await context.store.acquire(route.stream, options);
  context.sessions.add(session);
  void session.ended.then(() => context.sessions.delete(session));
  return session;
}

/** `?close=true`, or `Stream-Closed: true`: the stream is closed once its appender has ended properly. */
export function wantsClose(route: StreamRoute, headers: IncomingHttpHeaders): boolean {
  if (route.query.get('close')?.toLowerCase() === 'true') return true;
  return parseClosed(headers['stream-closed'] as string | undefined);
}

function lifetimeOf({ query }: StreamRoute, headers: IncomingHttpHeaders): ReturnType<typeof parseLifetime> {
  const ttl = query.get('ttlSeconds');
  const expiresAt = query.get('expiresAt');
  if (ttl === null && expiresAt === null) return parseLifetime(headers);
  try {
    return parseLifetime({
      ...headers,
      ...(ttl === null ? {} : { 'stream-ttl': ttl }),
      ...(expiresAt === null ? {} : { 'stream-expires-at': expiresAt }),
    });
  } catch (error) {
    if (!isMillraceError(error, 'INVALID_HEADER')) throw error;
    throw new MillraceError(
      'INVALID_REQUEST',
      'Give ttlSeconds, a whole number of seconds, or expiresAt, a timestamp such as 2030-01-01T00:00:00Z; not both.',
    );
  }
}

/** Refuses what only a whole append can have: to leave it out in silence would promise what is not kept. */
function refuseOfWholeAppends(headers: IncomingHttpHeaders): void {
  for (const [header, advice] of OF_WHOLE_APPENDS) {
    if (headers[header.toLowerCase()] === undefined) continue;
    throw new MillraceError('INVALID_HEADER', `The header ${header} has no meaning for an appender: ${advice}.`, {
      header,
    });
  }
}

const OF_WHOLE_APPENDS = [
  ['Stream-Seq', 'leave it out'],
  ['Producer-Id', 'send producerId and producerEpoch in the query'],
  ['Producer-Epoch', 'send producerId and producerEpoch in the query'],
  ['Producer-Seq', 'leave it out; what is sent is numbered by itself'],
] as const;

/** Why an appender cannot go on whose session ended under it. */
export function sessionEnded(end: SessionEnd): MillraceError {
  if (end === 'fenced') {
    return new MillraceError(
      'PRODUCER_FENCED',
      'The same producer has come back with a higher epoch: this session is over.',
    );
  }
  if (end === 'closed') return new MillraceError('STREAM_CLOSED', 'The stream was closed: nothing can be appended.');
  return new MillraceError('SESSION_ENDED', `The appender session is over: the stream was ${end}.`, { reason: end });
}

/** What curl and forms put there without being asked says nothing about the stream. */
function meantType(bodyType: string | undefined): string | undefined {
  return bodyType?.toLowerCase().startsWith('application/x-www-form-urlencoded') === true ? undefined : bodyType;
}

function parseProducer(query: URLSearchParams): AcquireOptions['producer'] {
  const id = query.get('producerId');
  const epoch = query.get('producerEpoch');
  if (id === null && epoch === null) return undefined;
  if (id === null || id === '' || id.length > PRODUCER_ID_LENGTH_MAX) {
    throw new MillraceError('INVALID_REQUEST', `producerId must have 1 to ${PRODUCER_ID_LENGTH_MAX} characters.`);
  }
  if (epoch === null || !/^(0|[1-9]\d{0,15})$/.test(epoch) || !Number.isSafeInteger(Number(epoch))) {
    throw new MillraceError('INVALID_REQUEST', 'producerEpoch must be a whole number, and come with producerId.');
  }
  const once = query.get('producerOnce')?.toLowerCase() === 'true';
  return once ? { id, epoch: Number(epoch), once } : { id, epoch: Number(epoch) };
}
