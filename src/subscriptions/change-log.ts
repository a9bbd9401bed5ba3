import { isMillraceError } from '../errors.js';
import type { Store } from '../log/index.js';
import type { Change } from './subscription.js';

/**
 * The changes of all subscriptions, in JSON streams of the store itself: durable as any append, on every kind of store.
 * One stream is written; when most of it is history a new one begins with the state as it is, and the old one goes.
 */

/** Where the streams are. Nothing below `__ds/` can be reached over HTTP. */
export const CHANGES_PREFIX = '__ds/subscriptions/';

/** The log is compacted when it has this many changes more than twice what the state needs. */
export const CHANGES_SLACK_MAX = 1000;

const READ_BYTES = 1024 * 1024;
/** About how much of a compacted state is appended at once. */
const PIECE_LENGTH = 1024 * 1024;

export class ChangeLog {
  readonly #store: Store;
  readonly #snapshot: () => Change[];
  #number = 0;
  /** Changes in the present stream. */
  #count = 0;
  #compactAt = CHANGES_SLACK_MAX;
  #writing = 0;
  #compaction: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  /** `snapshot` gives the changes that lead to the present state. */
  constructor(store: Store, snapshot: () => Change[]) {
    this.#store = store;
    this.#snapshot = snapshot;
  }

  /** Hands over all changes, oldest first. Errors: `STORE_*`. */
  async load(apply: (change: Change) => void): Promise<void> {
    const paths = await this.#paths();
    const [whole, ...begun] = paths;
    if (whole === undefined) return;
    this.#number = Number(whole.slice(CHANGES_PREFIX.length));
    // While an older stream exists, the newer one has nothing that is not in it, and may be unfinished.
    for (const path of begun) await this.#remove(path);
    let offset = 0;
    for (;;) {
      const { data, next, info } = await this.#store.read(whole, offset, { maxBytes: READ_BYTES });
      for (const line of Buffer.from(data).toString('utf8').split('\n')) {
        if (line === '') continue;
        apply(JSON.parse(line) as Change);
        this.#count++;
      }
      offset = next;
      if (offset >= info.tail) break;
    }
    this.#compactAt = 2 * this.#snapshot().length + CHANGES_SLACK_MAX;
  }

  /** Makes changes durable together, then applies them. Errors: `STORE_*`, and nothing is applied. */
  async append(changes: readonly Change[], apply: (change: Change) => void): Promise<void> {
    while (this.#compaction !== undefined) await this.#compaction;
    this.#writing++;
    try {
      const data = encode(changes);
      if (this.#number === 0) await this.#begin();
      await this.#store.append(this.#path(), { data });
      // In the same step as the end of the write: a compaction must never see a state that lacks a durable change.
      for (const change of changes) apply(change);
      this.#count += changes.length;
    } finally {
      if (--this.#writing === 0) this.#onIdle?.();
    }
    if (this.#count > this.#compactAt && this.#compaction === undefined) {
      this.#compaction = this.#compact().finally(() => {
        this.#compaction = undefined;
      });
      await this.#compaction;
    }
  }

  async #compact(): Promise<void> {
    if (this.#writing > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
      this.#onIdle = undefined;
    }
    const old = this.#path();
    const changes = this.#snapshot();
    await this.#create(this.#number + 1);
    for (const data of pieces(changes)) await this.#store.append(pathOf(this.#number + 1), { data });
    this.#number++;
    this.#count = changes.length;
    this.#compactAt = 2 * changes.length + CHANGES_SLACK_MAX;
    await this.#remove(old);
  }

  #beginning: Promise<void> | undefined;

  #begin(): Promise<void> {
    this.#beginning ??= this.#create(1).then(
      () => {
        this.#number = 1;
      },
      (error: unknown) => {
        this.#beginning = undefined;
        throw error;
      },
    );
    return this.#beginning;
  }

  async #create(number: number): Promise<void> {
    await this.#store.create(pathOf(number), { contentType: 'application/json' });
  }

  async #remove(path: string): Promise<void> {
    try {
      await this.#store.delete(path);
    } catch (error) {
      if (!isMillraceError(error, 'STREAM_NOT_FOUND')) throw error;
    }
  }

  async #paths(): Promise<string[]> {
    const { streams } = await this.#store.list({ prefix: CHANGES_PREFIX });
    return streams.map((info) => info.path);
  }

  #path(): string {
    return pathOf(this.#number);
  }
}

/** Ten digits, so that the order of paths is the order of numbers. */
function pathOf(number: number): string {
  return `${CHANGES_PREFIX}${String(number).padStart(10, '0')}`;
}

function encode(changes: readonly Change[]): Uint8Array {
  return Buffer.from(changes.map((change) => `${JSON.stringify(change)}\n`).join(''));
}

/** Changes in pieces that fit into an append each, whatever their number. */
function* pieces(changes: readonly Change[]): Iterable<Uint8Array> {
  let lines = '';
  for (const change of changes) {
    lines += `${JSON.stringify(change)}\n`;
    if (lines.length < PIECE_LENGTH) continue;
    yield Buffer.from(lines);
    lines = '';
  }
  if (lines !== '') yield Buffer.from(lines);
}
