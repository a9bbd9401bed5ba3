import { Buffer } from 'node:buffer';
import { EventStream } from '../../src/event-stream/index.js';
import type { ReadResult, Store, StreamEvent, StreamInfo } from '../../src/log/index.js';

/**
 * A store of one stream in which nothing happens by itself: what is committed is there for readers, its event comes
 * when it is announced, and each read waits until it is let go.
 */
export class ScriptedStore {
  readonly #events = new EventStream<StreamEvent>({ bufferSize: 4 });
  #data = Buffer.alloc(0);
  #closed = false;
  #reads: (() => void)[] = [];
  readonly #committed: StreamEvent[] = [];
  #announced = 0;

  /** Readers see it; whoever is subscribed hears of it with the next {@link announce}. */
  commit(data: Buffer, close = false): void {
    const offset = this.#data.length;
    this.#data = Buffer.concat([this.#data, data]);
    this.#closed ||= close;
    this.#committed.push({
      offset,
      data,
      tail: this.#data.length,
      closed: this.#closed,
      appender: false,
      deleted: false,
    });
  }

  announce(): void {
    for (const event of this.#committed.splice(0)) {
      this.#announced = event.tail;
      this.#events.publish(event);
    }
  }

  /** Lets the oldest read, or all of them, have its answer. */
  letRead(all = false): void {
    const ready = this.#reads.splice(0, all ? this.#reads.length : 1);
    for (const answer of ready) answer();
  }

  get data(): Buffer {
    return this.#data;
  }

  /** The part of the contract that the follow engine uses. */
  get store(): Store {
    return {
      subscribe: async () => ({
        info: { ...this.#info, tail: this.#announced },
        events: this.#events.position(),
        release() {},
      }),
      read: (_path: string, offset: number, { maxBytes }: { maxBytes: number }) =>
        new Promise<ReadResult>((resolve) => {
          this.#reads.push(() => {
            const data = this.#data.subarray(offset, offset + maxBytes);
            resolve({ data, next: offset + data.length, info: this.#info });
          });
        }),
    } as Partial<Store> as Store;
  }

  get #info(): StreamInfo {
    return {
      path: 's',
      id: 'one',
      contentType: 'application/octet-stream',
      json: false,
      tail: this.#data.length,
      closed: this.#closed,
      createdAtMs: 0,
      appender: false,
    };
  }
}
