import { type ErrorCode, errorCodes, MillraceError } from '../errors.js';

/** Longest error body that is read; a problem document is far shorter. */
const PROBLEM_BYTES_MAX = 64 * 1024;

/** Statuses that say "not now": a server that restarts or drains, or a proxy in front of one. */
const TEMPORARY_STATUSES: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

/** What every problem document has; the rest are the error's details. */
const PROBLEM_MEMBERS: ReadonlySet<string> = new Set(['type', 'title', 'status', 'code', 'detail', 'instance']);

/** An answer of the server that is not the one hoped for. */
export interface Refusal {
  readonly status: number;
  /** The body, as text. */
  readonly body: string;
}

/** Whether the same request may succeed later on. */
export function isTemporary(status: number): boolean {
  return TEMPORARY_STATUSES.has(status);
}

/**
 * The server's problem document (RFC 9457) as the error it stands for: same code, same sentence, same details.
 * An answer without a code of ours, such as a proxy's, becomes `UNEXPECTED_RESPONSE`.
 */
export function errorFromRefusal(refusal: Refusal, url: string): MillraceError {
  const problem = parseObject(refusal.body);
  const code = problem?.code;
  const details: Record<string, string | number | boolean | null> = {};
  for (const [name, value] of Object.entries(problem ?? {})) {
    if (!PROBLEM_MEMBERS.has(name) && isPlain(value)) details[name] = value;
  }
  details.status = refusal.status;
  if (typeof code === 'string' && isErrorCode(code)) {
    const sentence = problem?.detail ?? problem?.title;
    return new MillraceError(code, typeof sentence === 'string' ? sentence : `The server answered ${code}.`, details);
  }
  return new MillraceError(
    'UNEXPECTED_RESPONSE',
    `${url} answered ${refusal.status}, and not as a Millrace server does: check the address, and what stands between.`,
    details,
  );
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
