import { MillraceError } from '../errors.js';
import type { StoreTime } from './clock.js';
import type { Medium } from './medium.js';
import type { Stream } from './stream.js';

/** The streams in memory, by path; the others are loaded when somebody asks for them. */
export class Streams {
  readonly #medium: Medium;
  readonly #inMemoryMax: number;
  readonly #byPath = new Map<string, Stream>();
  /** Those in memory that can expire. */
  readonly expiring = new Set<Stream>();

  constructor(medium: Medium, inMemoryMax: number) {
    this.#medium = medium;
    this.#inMemoryMax = inMemoryMax;
  }

  /** The stream at a path in whatever state, loaded if need be. */
  find(path: string): Stream | undefined {
    const known = this.#byPath.get(path);
    if (known !== undefined) {
      known.recentlyUsed = true;
      return known;
    }
    const loaded = this.#medium.load(path);
    if (loaded !== undefined) this.add(loaded);
    return loaded;
  }

  /** As {@link find}, but a stream that is not in memory stays outside. For listings. */
  peek(path: string): Stream | undefined {
    const known = this.#byPath.get(path);
    if (known !== undefined) return known;
    const loaded = this.#medium.load(path);
    // Something of it is not on the disk yet: then it cannot be loaded again.
    if (loaded?.storage.isDirty) this.add(loaded);
    return loaded;
  }

  /** The stream that readers see. Throws `STREAM_NOT_FOUND`, `STREAM_GONE`. */
  visible(path: string, time: StoreTime): Stream {
    const stream = this.find(path);
    if (stream === undefined || !stream.exists || stream.deleted) throw notFound(path);
    if (stream.softDeleted) throw gone(path);
    if (stream.canExpire && stream.isExpired(time)) throw stream.forks > 0 ? gone(path) : notFound(path);
    return stream;
  }

  isIn(stream: Stream): boolean {
    return this.#byPath.get(stream.path) === stream;
  }

  add(stream: Stream): void {
    // Before it is in: whoever adds a stream has not begun to use it, and it must not be the one to go.
    if (this.#byPath.size >= this.#inMemoryMax && this.#medium.persistent) this.#evict();
    this.#byPath.set(stream.path, stream);
    if (stream.canExpire) this.expiring.add(stream);
  }

  remove(stream: Stream): void {
    if (this.isIn(stream)) this.#byPath.delete(stream.path);
    this.expiring.delete(stream);
  }

  values(): IterableIterator<Stream> {
    return this.#byPath.values();
  }

  /** The clock algorithm over the map's insertion order, a bounded number of streams at a time. */
  #evict(): void {
    let looks = Math.min(EVICTION_LOOKS_MAX, this.#byPath.size);
    for (const stream of this.#byPath.values()) {
      if (this.#byPath.size < this.#inMemoryMax || looks-- === 0) return;
      this.#byPath.delete(stream.path);
      if (stream.isBusy || !stream.exists || stream.recentlyUsed || stream.nextForks !== stream.forks) {
        stream.recentlyUsed = false;
        this.#byPath.set(stream.path, stream);
        continue;
      }
      this.expiring.delete(stream);
      this.#medium.evicted(stream);
    }
  }
}

/** How many streams one new stream may look at to find one that can leave. */
const EVICTION_LOOKS_MAX = 32;

export function notFound(path: string): MillraceError {
  return new MillraceError('STREAM_NOT_FOUND', `There is no stream at ${path}. Create it first, or check the path.`);
}

export function gone(path: string): MillraceError {
  return new MillraceError(
    'STREAM_GONE',
    `The stream at ${path} was deleted; its path is free again when the last of its forks is deleted.`,
  );
}
