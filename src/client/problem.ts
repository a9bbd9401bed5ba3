import { type ErrorCode, errorCodes, isMillraceError, MillraceError } from '../errors.js';

/** Longest error body that is read; a problem document is far shorter. */
const PROBLEM_BYTES_MAX = 64 * 1024;

const CODE_OF_STATUS: ReadonlyMap<number, ErrorCode> = new Map([
  [404, 'STREAM_NOT_FOUND'],
  [410, 'STREAM_GONE'],
]);

/** What every problem document has; the rest are the error's details. */
const PROBLEM_MEMBERS: ReadonlySet<string> = new Set(['type', 'title', 'status', 'code', 'detail', 'instance']);

/** An answer of the server that is not the one hoped for. */
export interface Refusal {
  readonly status: number;
  /** The body, as text. */
  readonly body: string;
}

/**
 * The server's problem document (RFC 9457) as the error it stands for: same code, same sentence, same details.
 * An answer without a code of ours, such as a proxy's, becomes `UNEXPECTED_RESPONSE`.
 */
export function errorFromRefusal(refusal: Refusal, url: URL): MillraceError {
  // An answer to HEAD has no body, and other Durable Streams servers send none either: then the status says it all.
  const code = refusal.body === '' ? CODE_OF_STATUS.get(refusal.status) : undefined;
  if (code !== undefined) {
    return new MillraceError(code, `${url.host} answered ${refusal.status}: there is no such stream.`, {
      status: refusal.status,
    });
  }
  return errorFromProblem(parseObject(refusal.body), refusal.status, url);
}

/** The same for a problem that was parsed already. */
export function errorFromProblem(problem: object | undefined, status: number, url: URL): MillraceError {
  const { code, detail } = (problem ?? {}) as { readonly code?: unknown; readonly detail?: unknown };
  const details: Record<string, string | number | boolean | null> = {};
  for (const [name, value] of Object.entries(problem ?? {})) {
    if (!PROBLEM_MEMBERS.has(name) && isPlain(value)) details[name] = value;
  }
  details.status = status;
  if (typeof code === 'string' && isErrorCode(code)) {
    return new MillraceError(code, typeof detail === 'string' ? detail : `The server answered ${code}.`, details);
  }
  const message =
    typeof code === 'string' && typeof detail === 'string'
      ? `The server answered ${code}: ${detail}`
      : `${url.host} answered ${status}, and not as a Millrace server does: check the address, and what stands between.`;
  return new MillraceError('UNEXPECTED_RESPONSE', message, details);
}

/** The error of a connection that broke, or that the server ended before all was said. */
export function connectionLost(url: URL, code: number, reason: string): MillraceError {
  const why = reason === '' ? `close code ${code}` : `close code ${code}, ${reason}`;
  return new MillraceError('CONNECTION_FAILED', `The connection to ${url.host} was lost (${why}).`, {
    closeCode: code,
  });
}

/** The error of a connection that did not come back. */
export function resumeFailed(url: URL, retryMs: number, cause: unknown): MillraceError {
  const why = cause instanceof Error ? ` ${cause.message}` : '';
  return new MillraceError(
    'RESUME_FAILED',
    `The connection to ${url.host} was lost and did not come back within ${retryMs / 1000} s.${why}`,
    { retryMs },
    { cause },
  );
}

/**
 * What goes away by itself: a server that restarts, drains or is too busy, every broken connection, and one that stood
 * still for so long (a computer that slept) that the server gave it up.
 */
const TRANSIENT_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'APPENDER_STALLED',
  'CONNECTION_FAILED',
  'INTAKE_BUSY',
  'REQUEST_TIMEOUT',
  'SHUTTING_DOWN',
  'STORE_BUSY',
  'STORE_CLOSED',
  'STORE_FAILED',
  'STORE_UNAVAILABLE',
  'TOO_MANY_APPENDERS',
  'TOO_MANY_FOLLOWERS',
]);

/** Statuses that say "not now", from a proxy or from a server that failed in a way it did not foresee. */
const TRANSIENT_STATUSES: ReadonlySet<unknown> = new Set([408, 429, 500, 502, 503, 504]);

/** Whether it makes sense to try the same again. */
export function isTransient(error: unknown): boolean {
  if (!isMillraceError(error)) return false;
  if (error.code === 'UNEXPECTED_RESPONSE') return TRANSIENT_STATUSES.has(error.details.status);
  return TRANSIENT_CODES.has(error.code);
}

/** Reads the body of a response that was not the one hoped for. */
export async function refusalOf(response: Response): Promise<Refusal> {
  return { status: response.status, body: await readText(response.body) };
}

function isErrorCode(code: string): code is ErrorCode {
  return (errorCodes as readonly string[]).includes(code);
}

function isPlain(value: unknown): value is string | number | boolean | null {
  return value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}

function parseObject(body: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

async function readText(body: ReadableStream<Uint8Array> | null): Promise<string> {
  if (body === null) return '';
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  try {
    while (bytes < PROBLEM_BYTES_MAX) {
      const { done, value } = await reader.read();
      if (done) break;
      bytes += value.length;
      text += decoder.decode(value, { stream: true });
    }
  } catch {
    // The connection broke within the error's own body: the status says enough.
  } finally {
    await reader.cancel().catch(() => undefined);
  }
  return text + decoder.decode();
}
