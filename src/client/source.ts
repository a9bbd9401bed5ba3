import { MillraceError } from '../errors.js';

/**
 * What can be appended: all at once, or in parts as they come. In a JSON stream a string is one JSON text (a value, or
 * an array whose elements are the messages), and bytes are NDJSON, one message a line, however they are cut.
 */
export type AppendSource =
  | string
  | Uint8Array
  | Iterable<Uint8Array | string>
  | AsyncIterable<Uint8Array | string>
  | ReadableStream<Uint8Array | string>;

/** A source that is being read. */
export interface Source {
  readonly parts: Iterable<Uint8Array | string> | AsyncIterable<Uint8Array | string>;
  /** Closes the source, also while it is silent. */
  leave(reason: unknown): void;
}

/** Errors: `INVALID_ARGUMENT`. */
export function openSource(source: AppendSource): Source {
  if (typeof source === 'string' || source instanceof Uint8Array) return { parts: [source], leave: () => undefined };
  if (typeof source === 'object' && source !== null) {
    if ('getReader' in source) return readerOf(source);
    if (Symbol.asyncIterator in source) {
      const iterator = source[Symbol.asyncIterator]();
      return { parts: { [Symbol.asyncIterator]: () => onlyNext(iterator) }, leave: () => leave(source, iterator) };
    }
    // Other typed arrays can be iterated as well: each of their numbers would be refused, and this says it better.
    if (Symbol.iterator in source && !ArrayBuffer.isView(source)) {
      const iterator = source[Symbol.iterator]();
      return { parts: { [Symbol.iterator]: () => onlyNext(iterator) }, leave: () => leave(source, iterator) };
    }
  }
  throw new MillraceError(
    'INVALID_ARGUMENT',
    'The source must be a string, a Uint8Array, an iterable of them, async or not, or a ReadableStream.',
  );
}

/** A loop over it does not close the source: {@link Source.leave} does, once. */
function onlyNext<Next extends () => unknown>(iterator: { readonly next: Next }): { readonly next: Next } {
  return { next: (() => iterator.next()) as Next };
}

function leave(source: object, iterator: { return?(): unknown }): void {
  try {
    // The iterator of a Node stream returns only behind the part that it waits for.
    const { destroy } = source as { readonly destroy?: unknown };
    const done = typeof destroy === 'function' ? (destroy.call(source) as unknown) : iterator.return?.();
    Promise.resolve(done).catch(() => undefined);
  } catch {
    // What failed first is told.
  }
}

/** Not every browser can iterate a `ReadableStream`. */
function readerOf(stream: ReadableStream<Uint8Array | string>): Source {
  if (stream.locked) throw new MillraceError('INVALID_ARGUMENT', 'The source is read by somebody else: it is locked.');
  const reader = stream.getReader();
  async function* parts(): AsyncGenerator<Uint8Array | string, void, undefined> {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  }
  return { parts: parts(), leave: (reason) => void reader.cancel(reason).catch(() => undefined) };
}
