import { MillraceError } from '../errors.js';
import {
  type CheckedConnection,
  type ConnectionOptions,
  checkConnection,
  checkHeaders,
  parseStreamUrl,
  withCredentials,
  withQuery,
} from './connection-options.js';
import { errorFromRefusal, type Refusal, refusalOf } from './problem.js';
import { connectionFailed } from './socket.js';

/** What the server tells of a stream with every answer. */
export interface StreamPosition {
  /** The token of the place after what was asked for: the tail, or the end of what was read. */
  readonly offset: string;
  /** The stream is closed for good. */
  readonly closed: boolean;
}

/** What {@link head} tells of a stream. */
export interface StreamHead extends StreamPosition {
  readonly contentType: string;
  /** Seconds without use after which it expires. */
  readonly ttlSeconds?: number;
  /** When it expires. */
  readonly expiresAt?: Date;
  /**
   * Whether an appender is at it, or else how the last one ended: it `left` when it was done, or was `lost`, and the stream
   * may be unfinished. Absent where there was none, where the stream is closed, and from servers that do not tell.
   */
  readonly appender?: 'active' | 'left' | 'lost';
}

/** Options of {@link create}. */
export interface CreateOptions extends ConnectionOptions {
  /** MIME type. Default: by the path's extension, else `application/octet-stream`. */
  readonly contentType?: string;
  /** Seconds without a read or write after which it expires. */
  readonly ttlSeconds?: number;
  /** When it expires. */
  readonly expiresAt?: Date;
  /** First content; in a JSON stream a JSON value, or an array of them. */
  readonly data?: string | Uint8Array;
  /** Create it closed: `data` is all there will ever be. */
  readonly closed?: boolean;
}

/** Options of {@link read}. */
export interface ReadOptions extends ConnectionOptions {
  /** Where to begin: a token from before, `-1` for the start (default), `now` for the tail. */
  readonly offset?: string;
}

/** One answer of {@link read}. */
export interface ReadAnswer extends StreamPosition {
  /** The bytes; of a JSON stream a JSON array of messages. May be a part of what there is. */
  readonly data: Uint8Array;
  /** Nothing more was there at the time. */
  readonly upToDate: boolean;
  readonly contentType: string;
}

/**
 * Creates a stream; `created` is false where one of the same kind was there before.
 * Errors: `STREAM_EXISTS` for one of another kind, `STREAM_EXPIRED`, `INVALID_*`, `CONNECTION_FAILED`, `UNEXPECTED_RESPONSE`.
 */
export async function create(
  url: string | URL,
  options: CreateOptions = {},
): Promise<StreamHead & { readonly created: boolean }> {
  const { contentType, ttlSeconds, expiresAt, data, closed } = options;
  return request(
    parseStreamUrl(url),
    {
      method: 'PUT',
      headers: definedOnly({
        'Content-Type': contentType,
        'Stream-TTL': ttlSeconds?.toString(),
        'Stream-Expires-At': expiresAt === undefined ? undefined : isoTime(expiresAt),
        'Stream-Closed': closed === true ? 'true' : undefined,
      }),
      // Bytes without a type of their own: `fetch` would name one for a string, and the path's would not count.
      body: typeof data === 'string' ? new TextEncoder().encode(data) : ((data as Uint8Array<ArrayBuffer>) ?? null),
    },
    checkConnection(options),
    (response) => ({ ...readHead(response), created: response.status === 201 }),
  );
}

/** What is known of a stream. Errors: `STREAM_NOT_FOUND`, `STREAM_GONE`, `CONNECTION_FAILED`, `UNEXPECTED_RESPONSE`. */
export async function head(url: string | URL, options: ConnectionOptions = {}): Promise<StreamHead> {
  return headOf(parseStreamUrl(url), checkConnection(options));
}

/** The same, with options that were checked already. */
export function headOf(url: URL, options: CheckedConnection): Promise<StreamHead> {
  return request(url, { method: 'HEAD' }, options, readHead);
}

/**
 * Reads one piece of what a stream holds; go on with the answer's `offset` until `upToDate`.
 * Errors: `STREAM_NOT_FOUND`, `STREAM_GONE`, `INVALID_OFFSET`, `OFFSET_OUT_OF_RANGE`, `OFFSET_OF_ANOTHER_STREAM`, `CONNECTION_FAILED`,
 * `UNEXPECTED_RESPONSE`.
 */
export async function read(url: string | URL, options: ReadOptions = {}): Promise<ReadAnswer> {
  const target = withQuery(parseStreamUrl(url), { offset: options.offset ?? '-1' });
  return request(target, { method: 'GET' }, checkConnection(options), async (response) => {
    const { offset, closed, contentType } = readHead(response);
    const data = new Uint8Array(await response.arrayBuffer());
    return { data, offset, closed, contentType, upToDate: response.headers.has('stream-up-to-date') };
  });
}

/** Closes a stream for good. Errors: `STREAM_NOT_FOUND`, `STREAM_GONE`, `APPENDER_ACTIVE`, `CONNECTION_FAILED`, `UNEXPECTED_RESPONSE`. */
export async function close(url: string | URL, options: ConnectionOptions = {}): Promise<StreamPosition> {
  const init = { method: 'POST', headers: { 'Stream-Closed': 'true' } };
  return request(parseStreamUrl(url), init, checkConnection(options), positionOf);
}

/** Deletes a stream. Errors: `STREAM_NOT_FOUND`, `STREAM_GONE`, `CONNECTION_FAILED`, `UNEXPECTED_RESPONSE`. */
export async function remove(url: string | URL, options: ConnectionOptions = {}): Promise<void> {
  await request(parseStreamUrl(url), { method: 'DELETE' }, checkConnection(options), () => undefined);
}

/**
 * Why the server refused an upgrade, on platforms that do not show it: the same request without the upgrade is
 * refused for the same reason.
 */
export async function explainRefusal(url: URL, options: CheckedConnection): Promise<MillraceError> {
  try {
    await request(url, { method: 'GET' }, options, (response) => response.body?.cancel());
  } catch (error) {
    if (error instanceof MillraceError && error.code !== 'UPGRADE_REQUIRED') return error;
  }
  return new MillraceError(
    'CONNECTION_FAILED',
    `${url.host} answers, but a WebSocket to it cannot be opened: check what stands between.`,
    { upgrade: 'refused' },
  );
}

/** Sends a request, and answers what `use` makes of a response that is no error. */
async function request<T>(
  url: URL,
  init: RequestInit,
  options: CheckedConnection,
  use: (response: Response) => T | Promise<T>,
): Promise<T> {
  const { response, release } = await openResponse(url, init, options);
  try {
    return await use(response);
  } catch (error) {
    throw failureOf(error, url, options);
  } finally {
    release();
  }
}

/** A response that is no error, whose body has still to come. */
export interface OpenResponse {
  readonly response: Response;
  /** Call it when the body was read, or is not wanted any more. */
  readonly release: () => void;
}

/**
 * Sends a request and waits for the header of its response, `timeoutMs` at most; from there on only the signal ends it.
 * Errors: `CONNECTION_FAILED`, what the server answers, `UNEXPECTED_RESPONSE`; the signal's reason.
 */
export async function openResponse(
  url: URL,
  init: RequestInit,
  options: CheckedConnection,
  timeoutMs = options.connectTimeoutMs,
): Promise<OpenResponse> {
  options.signal?.throwIfAborted();
  const own = checkHeaders((init.headers ?? {}) as Record<string, string>);
  const target = withCredentials(url, options.headers);
  const controller = new AbortController();
  const abort = () => controller.abort(options.signal?.reason);
  options.signal?.addEventListener('abort', abort, { once: true });
  const timer = setTimeout(() => controller.abort(), timeoutMs);
  const release = () => options.signal?.removeEventListener('abort', abort);
  const send = (method: string | undefined) =>
    fetch(target.url, {
      ...init,
      ...(method === undefined ? {} : { method }),
      headers: { ...target.headers, ...own },
      signal: controller.signal,
      cache: 'no-store',
    });
  try {
    const response = await send(init.method);
    if (response.ok) return { response, release };
    let refusal = await refusalOf(response);
    if (init.method === 'HEAD' && needsReason(refusal)) refusal = await reasonOf(refusal, await send('GET'));
    throw errorFromRefusal(refusal, url);
  } catch (error) {
    release();
    throw failureOf(error, url, options);
  } finally {
    clearTimeout(timer);
  }
}

/** What a request failed with, as our callers know it: `fetch` says only that it failed; its cause knows more. */
export function failureOf(error: unknown, url: URL, options: CheckedConnection): unknown {
  if (options.signal?.aborted) return options.signal.reason;
  if (error instanceof MillraceError) return error;
  return connectionFailed(url, error instanceof Error ? (error.cause ?? error) : error);
}

/** The answer to a HEAD has no body. Where the status does not say it all, a GET is refused for the same reason. */
function needsReason({ status }: Refusal): boolean {
  return status >= 400 && status < 500 && status !== 404 && status !== 410;
}

async function reasonOf(refusal: Refusal, response: Response): Promise<Refusal> {
  if (response.status === refusal.status) return refusalOf(response);
  await response.body?.cancel();
  return refusal;
}

/** Errors: `INVALID_ARGUMENT`. */
function isoTime(date: Date): string {
  try {
    return date.toISOString();
  } catch {
    throw new MillraceError('INVALID_ARGUMENT', 'expiresAt is not a valid date.');
  }
}

function readHead(response: Response): StreamHead {
  const { headers } = response;
  const ttl = headers.get('stream-ttl');
  const expiresAt = headers.get('stream-expires-at');
  const appender = headers.get('stream-appender');
  return {
    ...positionOf(response),
    contentType: headers.get('content-type') ?? 'application/octet-stream',
    ...(ttl === null ? {} : { ttlSeconds: Number(ttl) }),
    ...(expiresAt === null ? {} : { expiresAt: new Date(expiresAt) }),
    ...(appender === 'active' || appender === 'left' || appender === 'lost' ? { appender } : {}),
  };
}

/** Errors: `UNEXPECTED_RESPONSE` for the answer of a server that knows no streams. */
export function positionOf(response: Response): StreamPosition {
  const offset = response.headers.get('stream-next-offset');
  if (offset === null) {
    throw new MillraceError(
      'UNEXPECTED_RESPONSE',
      'The answer has no Stream-Next-Offset: check the address, and what stands between.',
      { status: response.status },
    );
  }
  return { offset, closed: response.headers.get('stream-closed')?.toLowerCase() === 'true' };
}

function definedOnly(headers: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
