import { MillraceError } from '../errors.js';
import type { AcquireOptions, AppendSession, CreateOptions, SessionEnd } from '../log/index.js';
import { PRODUCER_ID_LENGTH_MAX, parseContentType } from '../wire/headers.js';
import type { HttpContext } from './context.js';
import type { StreamRoute } from './route.js';

/**
 * Makes whoever asks the stream's appender; the stream is made where there is none, of the type that the request names
 * (`?contentType=`, or the body's own), else the one its path suggests.
 * Errors: `TOO_MANY_APPENDERS`, `INVALID_REQUEST`, and those of `Store.acquire`.
 */
export async function acquireSession(
  context: HttpContext,
  route: StreamRoute,
  bodyType?: string,
): Promise<AppendSession> {
  const { appendersMax } = context.limits;
  if (context.sessions.size >= appendersMax) {
    throw new MillraceError('TOO_MANY_APPENDERS', 'The server has as many appenders as it may: try again later.', {
      appendersMax,
    });
  }
  const create: { -readonly [K in keyof CreateOptions]: CreateOptions[K] } = {};
  const contentType = parseContentType(route.query.get('contentType') ?? meantType(bodyType));
  if (contentType !== undefined) create.contentType = contentType;
  const options: { -readonly [K in keyof AcquireOptions]: AcquireOptions[K] } = { create };
  const producer = parseProducer(route.query);
  if (producer !== undefined) options.producer = producer;
  const session = await context.store.acquire(route.stream, options);
  context.sessions.add(session);
  void session.ended.then(() => context.sessions.delete(session));
  return session;
}

/** `?close=true`: the stream is closed once its appender has ended properly. */
export function wantsClose(route: StreamRoute): boolean {
  return route.query.get('close')?.toLowerCase() === 'true';
}

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
