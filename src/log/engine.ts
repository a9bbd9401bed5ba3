import { acquire } from './acquire.js';
import { append } from './append.js';
import { Core, type CoreOptions } from './core.js';
import { create } from './create.js';
import { list } from './list.js';
import type { Medium } from './medium.js';
import { checkStreamPath } from './path.js';
import { read, stat, subscribe } from './read.js';
import type {
  AcquireOptions,
  Append,
  Appended,
  AppendSession,
  Created,
  CreateOptions,
  ListOptions,
  ReadOptions,
  ReadResult,
  Store,
  StoreObserver,
  StreamInfo,
  StreamPage,
  StreamSubscription,
} from './store.js';
import { gone, notFound } from './streams.js';

/** The one implementation of `Store`; stores differ in their {@link Medium} only. */
export class Engine implements Store {
  readonly #core: Core;

  constructor(medium: Medium, options: CoreOptions) {
    this.#core = new Core(medium, options);
  }

  get failure(): Error | undefined {
    return this.#core.failure;
  }

  get losses(): number | undefined {
    return this.#core.medium.losses;
  }

  get failed(): Promise<Error> {
    return this.#core.failed;
  }

  create(path: string, options?: CreateOptions): Promise<Created> {
    return create(this.#core, path, options);
  }

  append(path: string, request: Append): Promise<Appended> {
    return append(this.#core, path, request);
  }

  acquire(path: string, options?: AcquireOptions): Promise<AppendSession> {
    return acquire(this.#core, path, options);
  }

  async stat(path: string): Promise<StreamInfo> {
    return stat(this.#core, path);
  }

  read(path: string, offset: number, options: ReadOptions): Promise<ReadResult> {
    return read(this.#core, path, offset, options);
  }

  async subscribe(path: string): Promise<StreamSubscription> {
    return subscribe(this.#core, path);
  }

  async delete(path: string): Promise<void> {
    const core = this.#core;
    core.checkOpen();
    checkStreamPath(path);
    const stream = core.next(path);
    if (stream === undefined) throw notFound(path);
    if (stream.gone === 'soft') throw gone(path);
    await core.remove(stream);
  }

  list(options?: ListOptions): Promise<StreamPage> {
    return list(this.#core, options);
  }

  observe(observer: StoreObserver): () => void {
    // A function of its own, so that one observer may be given twice.
    const each: StoreObserver = (change) => observer(change);
    this.#core.observers.add(each);
    return () => this.#core.observers.delete(each);
  }

  close(): Promise<void> {
    return this.#core.close();
  }
}
