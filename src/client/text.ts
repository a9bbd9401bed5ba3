import { wholeTextLength } from '../wire/sse.js';

/**
 * Bytes as text, decoded from UTF-8 as they arrive. A character whose bytes come in different chunks is held back
 * until it is whole; bytes that are not UTF-8 become U+FFFD, and a byte order mark is kept.
 */
export class TextPieces {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  /** An unfinished character. */
  #held: Uint8Array = new Uint8Array(0);

  /** How many bytes are held back: they belong to no text yet. */
  get heldBytes(): number {
    return this.#held.length;
  }

  /** The whole characters so far; may be ''. */
  push(chunk: Uint8Array): string {
    const bytes = this.#held.length === 0 ? chunk : joined(this.#held, chunk);
    const wholeBytes = wholeTextLength(bytes);
    this.#held = bytes.slice(wholeBytes);
    return this.#decoder.decode(bytes.subarray(0, wholeBytes));
  }

  /** What is left of a character that was never finished. */
  end(): string {
    return this.#decoder.decode(this.#held);
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first);
  bytes.set(second, first.length);
  return bytes;
}
