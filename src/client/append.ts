import { Appender, type AppendOptions, type AppendResult, checkChunk } from './appender.js';
import { type AppendSource, openSource, type Source } from './source.js';

/**
 * Appends everything that `source` gives, as the stream's only appender, and resolves when all of it is durable.
 * Strings are sent as UTF-8. The stream is created if need be. A lost connection is made anew, and what had not
 * arrived is sent again, exactly once. Where `source` fails, what it gave before that is appended, then its error is
 * told. Where anything else fails, `source` is closed: a stream is cancelled or destroyed, an iterator is told to return.
 *
 * Errors: `APPENDER_ACTIVE` while another appender is at it, `STREAM_CLOSED`, `PRODUCER_FENCED` when a newer one took
 * over, `SESSION_ENDED` when the stream was deleted, `PRODUCERS_TOO_MANY`, in a JSON stream `INVALID_JSON`, `APPEND_TOO_LARGE` for
 * a message that no frame can hold, `CONNECTION_FAILED` where the first connection cannot be made,
 * `RESUME_FAILED` when it is lost for good, `UNEXPECTED_RESPONSE`, `STORE_*`, `INVALID_ARGUMENT`; what `source` throws.
 */
export async function append(
  url: string | URL,
  source: AppendSource,
  options: AppendOptions = {},
): Promise<AppendResult> {
  const opened = openSource(source);
  try {
    return await appendFrom(opened, url, options);
  } catch (error) {
    opened.leave(error);
    throw error;
  }
}

async function appendFrom(source: Source, url: string | URL, options: AppendOptions): Promise<AppendResult> {
  const failed: { reject?: (error: unknown) => void } = {};
  const appender = new Appender(url, options, (error) => failed.reject?.(error));
  await appender.open();
  // A source may be silent for hours: a failure is told without waiting for its next part.
  return new Promise((resolve, reject) => {
    failed.reject = reject;
    appendAll(appender, source).then(resolve, (error: unknown) => {
      appender.abort(error);
      reject(error);
    });
  });
}

async function appendAll(appender: Appender, source: Source): Promise<AppendResult> {
  try {
    for await (const chunk of source.parts) {
      const room = appender.write(chunk);
      if (room !== undefined) await room;
    }
  } catch (error) {
    // A model that died, say: the words that it gave are worth keeping.
    await appender.failAfterRest(error);
  }
  return appender.close();
}

/** A `WritableStream` that is an appender session. */
export class AppendStream extends WritableStream<Uint8Array | string> {
  readonly #appender: Appender;

  /** Not for direct use: see {@link openAppend}. */
  constructor(appender: Appender, failed: AbortSignal) {
    super(
      {
        start: (controller) => {
          failed.addEventListener('abort', () => controller.error(failed.reason), { once: true });
        },
        write: (chunk) => appender.write(chunk),
        close: async () => {
          await appender.close();
        },
        abort: (reason) => appender.abort(reason),
      },
      { highWaterMark: QUEUED_BYTES_MAX, size: (chunk) => sizeOf(appender, chunk) },
    );
    this.#appender = appender;
  }

  /** Everything before this offset is durable. */
  get offset(): string {
    return this.#appender.offset;
  }

  /** Who appends: with the same id and a higher epoch another process can carry on. */
  get producer(): { readonly id: string; readonly epoch: number } {
    return { id: this.#appender.producerId, epoch: this.#appender.epoch };
  }
}

/** A stream that is errored here does not tell its sink: the appender is. */
function sizeOf(appender: Appender, chunk: Uint8Array | string): number {
  try {
    checkChunk(chunk);
    return chunk.length;
  } catch (error) {
    appender.abort(error);
    throw error;
  }
}

/** Bytes (of strings: UTF-16 units) in the stream's own queue, before the appender has seen them. */
const QUEUED_BYTES_MAX = 64 * 1024;

/**
 * Becomes a stream's only appender, and resolves once that is certain. Writing waits while too much is
 * unacknowledged; `close()` resolves when everything is durable; `abort()` leaves at once. Errors as {@link append}:
 * those before the first byte reject this promise, later ones error the stream.
 */
export async function openAppend(url: string | URL, options: AppendOptions = {}): Promise<AppendStream> {
  const failed = new AbortController();
  const appender = new Appender(url, options, (error) => failed.abort(error));
  await appender.open();
  return new AppendStream(appender, failed.signal);
}
