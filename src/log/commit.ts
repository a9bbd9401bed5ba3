import { MillraceError } from '../errors.js';
import type { AppendStep, Medium, Step } from './medium.js';
import { Operation, type OperationKind } from './operation.js';
import type { Appended, Durability } from './store.js';
import type { Stream, StreamSnapshot } from './stream.js';

/** How many bytes one commit holds before the next one begins (a single larger append is a commit of its own). */
export const COMMIT_BYTES_MAX = 8 * 1024 * 1024;

const EMPTY = new Uint8Array(0);

/** What the engine does when a commit went through, or not. */
export interface CommitListener {
  /** The step is durable and applied: make it visible. */
  visible(step: Step): void;
  /** The stream's accepted operations will not be committed; its next state is the committed one again. */
  rolledBack(stream: Stream, error: unknown): void;
  /** The stream was never seen and is about to be removed: nobody is to take what there is of it for another one. */
  vanishing(stream: Stream): void;
  /** The stream's file was changed by others: forget what memory knows of it. */
  forget(stream: Stream): void;
  /** Nothing can be committed any more. */
  failed(error: Error): void;
  /** `pendingBytes` went down. */
  drained(): void;
}

/**
 * One commit for all streams. Everything that waits is written to the journal at once and synced at once; while a
 * batch syncs the next one gathers. Then, in order: bytes to the streams' places, visible to readers, acknowledged.
 */
export class GroupCommit {
  readonly #medium: Medium;
  readonly #listener: CommitListener;
  readonly #commitBytesMax: number;
  #queue: Operation[] = [];
  #running = false;
  #idle: (() => void)[] = [];
  #group = 0;
  #failure: Error | undefined;
  /**
   * By path: what voids a step that could not be carried out, and waits until the journal has room for it. Nothing else
   * of the path may be committed before it, or it would void that, too.
   */
  readonly #held = new Map<string, Held>();
  /** Weight of all that is queued or being committed. */
  pendingBytes = 0;

  constructor(medium: Medium, listener: CommitListener, commitBytesMax: number) {
    this.#medium = medium;
    this.#listener = listener;
    this.#commitBytesMax = commitBytesMax;
  }

  /** Queues an accepted operation. */
  push(operation: Operation): void {
    if (this.#failure !== undefined) {
      operation.reject(this.#failure);
      return;
    }
    const { stream } = operation;
    const held = this.#held.size === 0 ? undefined : this.#held.get(stream.path);
    if (held !== undefined) {
      this.#takeBack(operation, held.error);
      held.vanish();
      return;
    }
    this.#queue.push(operation);
    stream.pending++;
    this.pendingBytes += operation.weight;
    this.#start();
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    // After the event loop's turn, so that what other sockets have to say joins.
    setImmediate(this.#run);
  }

  /** Queues an operation and waits for its commit. */
  commit(operation: Operation): Promise<Appended | undefined> {
    return new Promise((resolve, reject) => {
      operation.resolve = resolve;
      operation.reject = reject;
      this.push(operation);
    });
  }

  /** Resolves when all that was accepted for the stream up to now is committed; rejects when it is not going to be. */
  settled(stream: Stream): Promise<unknown> {
    return stream.pending === 0 ? Promise.resolve() : this.commit(new Operation('barrier', stream));
  }

  /**
   * As {@link settled}, and as durable as asked: what was first committed as `written` is acknowledged as `fsync` only
   * when it is on the disk.
   */
  settledAs(stream: Stream, durability: Durability): Promise<unknown> {
    if (durability !== 'fsync') return this.settled(stream);
    const barrier = new Operation('barrier', stream);
    barrier.durable = true;
    return this.commit(barrier);
  }

  /** Resolves when nothing is queued or being committed. */
  idle(): Promise<void> {
    if (!this.#running) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Why nothing is committed any more. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Whether the journal has steps that are void, and does not say so yet. */
  get hasHeld(): boolean {
    return this.#held.size > 0;
  }

  /** Refuses everything from now on; what was accepted has been committed. */
  close(error: Error): void {
    this.#failure ??= error;
    this.#letGo();
  }

  /** Refuses everything from now on, and what waits. */
  fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    const queued = this.#queue;
    this.#queue = [];
    this.#listener.failed(error);
    this.#reject(queued, error);
    this.#letGo();
  }

  readonly #run = async (): Promise<void> => {
    while (this.#queue.length > 0) {
      const batch = this.#take();
      try {
        await this.#commit(batch);
      } catch (error) {
        const failure = storeFailed(error);
        this.fail(failure);
        this.#reject(batch, failure);
      }
      this.#medium.settled();
      this.#listener.drained();
      if (this.#queue.length > 0) await new Promise((resolve) => setImmediate(resolve));
    }
    this.#running = false;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  };

  #take(): Operation[] {
    const queue = this.#queue;
    let bytes = 0;
    for (let count = 0; count < queue.length; count++) {
      bytes += (queue[count] as Operation).journalBytes;
      if (bytes > this.#commitBytesMax && count > 0) {
        this.#queue = queue.slice(count);
        return queue.slice(0, count);
      }
    }
    this.#queue = [];
    return queue;
  }

  async #commit(batch: Operation[]): Promise<void> {
    const steps = this.#steps(batch);
    const durable = batch.some((operation) => operation.durable);
    try {
      const journaled = this.#medium.journal(steps, durable);
      if (journaled !== undefined) await journaled;
    } catch (error) {
      if (!(error instanceof MillraceError) || error.code === 'STORE_FAILED') throw error;
      this.#refuse(batch, error);
      return;
    }

    const refused = new Map<Stream, MillraceError>();
    const refuse = (stream: Stream, error: unknown) => {
      if (!(error instanceof MillraceError)) throw error;
      refused.set(stream, error);
    };
    let writing: Promise<void>[] = [];
    for (const step of steps) {
      const { stream } = step;
      if (writing.length > 0 && step.kind !== 'append') {
        await Promise.all(writing);
        writing = [];
      }
      if (refused.has(stream)) continue;
      try {
        const written = this.#medium.apply(step);
        if (written !== undefined) writing.push(written.catch((error) => refuse(stream, error)));
      } catch (error) {
        refuse(stream, error);
      }
    }
    if (writing.length > 0) await Promise.all(writing);

    for (const step of steps) {
      if (refused.has(step.stream)) continue;
      this.#listener.visible(step);
      this.#medium.applied(step);
      for (const operation of step.operations) this.#finish(operation);
    }
    for (const [stream, error] of refused) {
      this.#void(
        stream,
        steps.filter((step) => step.stream === stream),
        error,
      );
    }
  }

  /** Orders a batch into steps: all appends of a stream in one, wherever nothing but appends is in between. */
  #steps(batch: Operation[]): Step[] {
    const steps: Step[] = [];
    this.#group++;
    for (const operation of batch) {
      const { stream, kind } = operation;
      if (kind === 'append' || kind === 'touch') {
        let step = stream.step as AppendStep | undefined;
        if (step === undefined || stream.stepGroup !== this.#group) {
          step = { kind: 'append', stream, operations: [], offset: operation.offset, data: EMPTY, bytes: 0 };
          stream.step = step;
          stream.stepGroup = this.#group;
          steps.push(step);
        }
        step.operations.push(operation);
        step.bytes += operation.data.length;
        continue;
      }
      stream.step = undefined;
      if (kind !== 'barrier' && kind !== 'session' && kind !== 'name') this.#group++;
      steps.push(structuralStep(operation));
    }
    for (const step of steps) {
      if (step.kind === 'append') step.data = gather(step);
      step.stream.step = undefined;
    }
    return steps;
  }

  /** The journal took nothing of the batch: reject it, and what was checked against it. */
  #refuse(batch: Operation[], error: MillraceError): void {
    const paths = new Set<string>();
    for (const operation of batch) paths.add(operation.stream.path);
    this.#drop(batch, paths, error, error);
  }

  /**
   * A stream's step is journaled but cannot be carried out. Its operations are rejected once the journal says that
   * they are void; until then a crash may still bring them back, so nobody is told yet.
   */
  #void(stream: Stream, steps: Step[], error: MillraceError): void {
    const created = stream.exists;
    const operations = steps.flatMap((step) => step.operations);
    let kind: OperationKind = 'state';
    if (!created) kind = 'delete';
    else if (error.code === 'STREAM_FILE_CHANGED' || steps.some((step) => step.kind === 'state')) kind = 'forget';
    const voided = new Operation(kind, stream);
    voided.voids = !created;
    const rejected: Operation[] = [];
    this.#drop(operations, new Set([stream.path]), error, error, rejected);
    if (kind === 'forget') this.#listener.forget(stream);
    const vanish = () => {
      if (created) return;
      stream.gone = 'deleted';
      this.#listener.vanishing(stream);
    };
    vanish();
    const settle = (reason: unknown) => {
      for (const operation of rejected) {
        if (operation.onVoided === undefined) operation.reject(reason);
        else operation.onVoided();
      }
    };
    const queue = () => {
      if (kind === 'state') voided.snapshot = stream.snapshot();
      this.#queue.unshift(voided);
      stream.pending++;
      this.pendingBytes += voided.weight;
      this.#start();
    };
    voided.resolve = () => settle(error);
    voided.onVoided = () => settle(error);
    voided.reject = (cause) => {
      if (this.#failure !== undefined) return settle(cause);
      if (cause instanceof MillraceError && cause.code === 'APPEND_TOO_LARGE') {
        this.fail(storeFailed(cause));
        return settle(this.#failure);
      }
      vanish();
      // The journal was full for a moment: nobody hears of it before the journal does.
      const timer = setTimeout(() => {
        this.#held.delete(stream.path);
        queue();
      }, VOID_RETRY_MS);
      this.#held.set(stream.path, { error, timer, settle, vanish });
    };
    queue();
  }

  /** The journal will not hear of what is void: nobody knows what became of it. */
  #letGo(): void {
    for (const { timer, settle } of this.#held.values()) {
      clearTimeout(timer);
      settle(this.#failure);
    }
  }

  /** Takes one operation back that was not queued. */
  #takeBack(operation: Operation, error: unknown): void {
    const { stream, source } = operation;
    if (source !== undefined) source.nextForks--;
    stream.rollBack();
    this.#listener.rolledBack(stream, error);
    operation.reject(error);
  }

  /** Takes operations back, with everything queued for the same paths. */
  #drop(
    operations: readonly Operation[],
    paths: ReadonlySet<string>,
    error: unknown,
    reason: unknown,
    rejected?: Operation[],
  ): void {
    const dropped = [...operations];
    const kept: Operation[] = [];
    for (const operation of this.#queue) (paths.has(operation.stream.path) ? dropped : kept).push(operation);
    this.#queue = kept;
    const streams = new Set<Stream>();
    for (const operation of dropped) {
      streams.add(operation.stream);
      if (operation.source !== undefined) operation.source.nextForks--;
      operation.stream.pending--;
      this.pendingBytes -= operation.weight;
    }
    for (const stream of streams) {
      stream.rollBack();
      this.#listener.rolledBack(stream, reason);
    }
    if (rejected !== undefined) rejected.push(...dropped);
    else for (const operation of dropped) operation.reject(error);
  }

  #finish(operation: Operation): void {
    operation.stream.pending--;
    this.pendingBytes -= operation.weight;
    operation.resolve(operation.result);
  }

  #reject(operations: readonly Operation[], error: Error): void {
    for (const operation of operations) {
      operation.stream.pending--;
      this.pendingBytes -= operation.weight;
      operation.reject(error);
    }
  }
}

/** Something that is void, and waits to be journaled. */
interface Held {
  /** Why it is. */
  readonly error: unknown;
  readonly timer: NodeJS.Timeout;
  readonly settle: (reason: unknown) => void;
  /** Keeps hidden what was made of a stream that never came to be. */
  readonly vanish: () => void;
}

/** How long the journal gets to find room for the record that voids others. */
const VOID_RETRY_MS = 100;

/** `STORE_FAILED` around what happened. */
export function storeFailed(cause: unknown): MillraceError {
  if (cause instanceof MillraceError && cause.code === 'STORE_FAILED') return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  return new MillraceError(
    'STORE_FAILED',
    `The store can take no more writes: ${why}. Check the disk, then start the server again; everything acknowledged is kept.`,
    {},
    { cause },
  );
}

function structuralStep(operation: Operation): Step {
  const { stream, data, soft, source } = operation;
  const operations = [operation];
  switch (operation.kind) {
    case 'create':
      return { kind: 'create', stream, operations, snapshot: operation.snapshot as StreamSnapshot, data, source };
    case 'state':
      return { kind: 'state', stream, operations, snapshot: operation.snapshot as StreamSnapshot };
    case 'delete':
      return { kind: 'delete', stream, operations, soft, voids: operation.voids };
    case 'forget':
      return { kind: 'forget', stream, operations };
    case 'name':
      return { kind: 'name', stream, operations, snapshot: operation.snapshot as StreamSnapshot };
    case 'session':
      return { kind: 'session', stream, operations, offset: operation.offset };
    default:
      return { kind: 'barrier', stream, operations };
  }
}

/** The bytes of a step in one piece: the journal's payload, the file's write and the readers' event are the same memory. */
function gather(step: AppendStep): Uint8Array {
  const { operations, bytes } = step;
  if (bytes === 0) return EMPTY;
  if (operations.length === 1) return (operations[0] as Operation).data;
  const data = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const operation of operations) {
    data.set(operation.data, at);
    at += operation.data.length;
  }
  return data;
}
