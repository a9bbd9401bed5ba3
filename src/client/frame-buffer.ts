const HIGH_SURROGATE_FIRST = 0xd800;
const HIGH_SURROGATE_LAST = 0xdbff;
/** The most bytes that one UTF-16 code unit, or half of a surrogate pair, becomes in UTF-8. */
const UTF8_BYTES_PER_UNIT_MAX = 3;

/** Makes frames of what is written: as many writes as possible in one. */
export interface FrameGatherer {
  /** Bytes that were written, are in no frame yet, and would be sent by {@link flush}. */
  readonly bytes: number;
  write(chunk: Uint8Array | string): void;
  /** Emits what can be sent by now. */
  flush(): void;
  /** Emits the rest: nothing more will be written. */
  end(): void;
}

/**
 * Gathers small writes into frames. What is written is copied at once, so the caller may use its buffer again; no
 * write costs an allocation of its own.
 */
export class FrameBuffer implements FrameGatherer {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #encoder = new TextEncoder();
  readonly #emit: (frame: Uint8Array) => void;
  #used = 0;
  /** The first half of a surrogate pair that ended a string; its other half starts the next one. */
  #surrogate = '';

  /** `emit` is called with each full frame, of exactly `frameMaxBytes` for bytes and up to 3 less for text. */
  constructor(frameMaxBytes: number, emit: (frame: Uint8Array) => void) {
    this.#bytes = new Uint8Array(Math.max(frameMaxBytes, 2 * UTF8_BYTES_PER_UNIT_MAX));
    this.#emit = emit;
  }

  get bytes(): number {
    return this.#used;
  }

  write(chunk: Uint8Array | string): void {
    if (typeof chunk === 'string') this.#writeText(chunk);
    else this.#writeBytes(chunk);
  }

  flush(): void {
    if (this.#used === 0) return;
    const frame = this.#bytes.slice(0, this.#used);
    this.#used = 0;
    this.#emit(frame);
  }

  /** Half a surrogate pair that is left becomes U+FFFD. */
  end(): void {
    this.#writeLoneSurrogate();
    this.flush();
  }

  #writeBytes(chunk: Uint8Array): void {
    this.#writeLoneSurrogate();
    let rest = chunk;
    while (rest.length > 0) {
      const part = rest.subarray(0, this.#bytes.length - this.#used);
      this.#bytes.set(part, this.#used);
      this.#used += part.length;
      rest = rest.subarray(part.length);
      if (this.#used === this.#bytes.length) this.flush();
    }
  }

  #writeText(chunk: string): void {
    if (chunk === '') return;
    let rest = this.#surrogate + chunk;
    this.#surrogate = '';
    const last = rest.charCodeAt(rest.length - 1);
    if (last >= HIGH_SURROGATE_FIRST && last <= HIGH_SURROGATE_LAST) {
      this.#surrogate = rest.slice(-1);
      rest = rest.slice(0, -1);
    }
    this.#encode(rest);
  }

  #writeLoneSurrogate(): void {
    if (this.#surrogate === '') return;
    const lone = this.#surrogate;
    this.#surrogate = '';
    this.#encode(lone);
  }

  #encode(text: string): void {
    let rest = text;
    while (rest !== '') {
      const { read, written } = this.#encoder.encodeInto(rest, this.#bytes.subarray(this.#used));
      this.#used += written;
      rest = read === rest.length ? '' : rest.slice(read);
      // A character that does not fit in what is left starts the next frame.
      if (rest !== '' || this.#used === this.#bytes.length) this.flush();
    }
  }
}
