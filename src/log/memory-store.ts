import { type Clock, StoreTime, systemClock } from './clock.js';
import { Engine } from './engine.js';
import { type StoreLimits, storeLimits } from './limits.js';
import type { Medium, Step, StreamStorage } from './medium.js';
import { SortedNames } from './sorted-names.js';
import type { Store } from './store.js';
import { Stream, type StreamIdentity } from './stream.js';

export type MemoryStoreOptions = StoreLimits;

/** A store that forgets everything at its end: for tests, and for streams that nobody needs tomorrow. */
export function createMemoryStore(options: MemoryStoreOptions = {}): Store {
  return openMemoryStore(options, systemClock);
}

/** {@link createMemoryStore} by a given clock. */
export function openMemoryStore(options: MemoryStoreOptions, clock: Clock): Store {
  return new Engine(new MemoryMedium(), {
    ...storeLimits(options),
    durability: 'written',
    streamsInMemoryMax: Number.POSITIVE_INFINITY,
    time: new StoreTime(clock),
  });
}

class MemoryMedium implements Medium {
  readonly persistent = false;
  readonly #paths = new SortedNames();
  onFailure: ((error: Error) => void) | undefined;
  onFileChanged: ((stream: Stream) => void) | undefined;

  load(): undefined {}

  make(identity: StreamIdentity): Stream {
    return new Stream(identity, () => new MemoryStorage());
  }

  journal(): undefined {}

  apply(step: Step): undefined {
    const { stream } = step;
    const storage = stream.storage as MemoryStorage;
    switch (step.kind) {
      case 'create':
        this.#paths.add(stream.path);
        storage.append(step.data);
        break;
      case 'append':
        storage.append(step.data);
        break;
      case 'delete':
        if (step.soft) break;
        this.#paths.delete(stream.path);
        break;
      default:
    }
  }

  applied(): void {}

  settled(): void {}

  changed(): void {}

  async list(options: { prefix: string; after: string; limit: number }): Promise<string[]> {
    const { prefix, after, limit } = options;
    // Whichever is further on: the prefix itself may be a path.
    const begun = after >= prefix;
    const paths = this.#paths.slice(begun ? after : prefix, begun, limit);
    const end = paths.findIndex((path) => !path.startsWith(prefix));
    return end < 0 ? paths : paths.slice(0, end);
  }

  async expiring(): Promise<string[]> {
    return [];
  }

  evicted(): void {}

  async close(): Promise<void> {}
}

/** Bytes in blocks that only grow at the end: what was handed out once never changes. */
class MemoryStorage implements StreamStorage {
  readonly isDirty = false;
  #blocks: Uint8Array[] = [];
  #length = 0;

  append(data: Uint8Array): void {
    let taken = 0;
    while (taken < data.length) {
      const index = Math.floor(this.#length / BLOCK_BYTES);
      const used = this.#length % BLOCK_BYTES;
      const count = Math.min(BLOCK_BYTES - used, data.length - taken);
      this.#room(index, used, used + count).set(data.subarray(taken, taken + count), used);
      taken += count;
      this.#length += count;
    }
  }

  read(position: number, length: number): Uint8Array {
    const parts: Uint8Array[] = [];
    let at = position;
    const end = position + length;
    while (at < end) {
      const from = at % BLOCK_BYTES;
      const to = Math.min(BLOCK_BYTES, from + end - at);
      parts.push((this.#blocks[Math.floor(at / BLOCK_BYTES)] as Uint8Array).subarray(from, to));
      at += to - from;
    }
    return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
  }

  /** The block with at least `needed` bytes; a small stream begins with a small one. */
  #room(index: number, used: number, needed: number): Uint8Array {
    const block = this.#blocks[index];
    if (block !== undefined && block.length >= needed) return block;
    let size = index === 0 ? FIRST_BLOCK_BYTES : BLOCK_BYTES;
    while (size < needed) size *= 2;
    const larger = new Uint8Array(Math.min(size, BLOCK_BYTES));
    if (block !== undefined) larger.set(block.subarray(0, used));
    this.#blocks[index] = larger;
    return larger;
  }
}

const FIRST_BLOCK_BYTES = 256;
const BLOCK_BYTES = 64 * 1024;
