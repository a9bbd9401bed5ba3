import type { Operation } from './operation.js';
import type { Stream, StreamIdentity, StreamSnapshot } from './stream.js';

/**
 * What a store is made of below the engine: where bytes and journal are. The engine decides, orders and publishes;
 * the medium makes it last. There are two: memory, and files.
 */
export interface Medium {
  /** Whether streams outlive their place in memory, so that they may be evicted and must be journaled. */
  readonly persistent: boolean;

  /** A stream that was there before, or undefined. Throws `INVALID_PATH`, `STORE_UNAVAILABLE`, `STREAM_FILE_CHANGED`. */
  load(path: string): Stream | undefined;

  /** A stream that is about to be created: nothing is kept of it before `apply`. */
  make(identity: StreamIdentity): Stream;

  /**
   * Writes a batch to the journal, all of it or nothing; when it returns (or resolves) it is as durable as asked.
   * Throws a `MillraceError` where the batch was refused and nothing of it remains; anything else is final.
   */
  journal(steps: readonly Step[], durable: boolean): Promise<void> | undefined;

  /**
   * Carries out a journaled step: bytes to their place, files made and removed. Throws a `MillraceError` where only
   * this stream is concerned; anything else is final.
   */
  apply(step: Step): Promise<void> | undefined;

  /** After `apply`, when the engine's committed state includes the step: a metadata snapshot taken now is right. */
  applied(step: Step): void;

  /** The batch is over, whatever came of it. */
  settled(): void;

  /** A stream's committed state changed by a step of another one: a fork of it came or went. */
  changed(stream: Stream): void;

  /** Paths that may name streams, in order by code unit, at most about `limit`; fewer only at the end. */
  list(options: { prefix: string; after: string; limit: number }): Promise<string[]>;

  /** The next few paths, in any order and round and round, of streams that can expire and may not be in memory. */
  expiring(limit: number): Promise<string[]>;

  /** A stream leaves memory. */
  evicted(stream: Stream): void;

  /** How many losses of acknowledged bytes are kept somewhere, for an operator; absent where that cannot be. */
  readonly losses?: number;

  /** Called when others changed the bytes of a stream. */
  onFileChanged: ((stream: Stream) => void) | undefined;

  /** Called when something failed in the background, for good. */
  onFailure: ((error: Error) => void) | undefined;

  /** Nothing is in flight any more: make all durable in its final place and free everything. */
  close(failed: boolean): Promise<void>;
}

/** A stream's own bytes. Positions begin at 0 (`offset - stream.start`). */
export interface StreamStorage {
  /**
   * Committed bytes. Throws `STREAM_FILE_CHANGED` where they are not all there any more.
   */
  read(position: number, length: number): Promise<Uint8Array> | Uint8Array;
  /**
   * Throws `STREAM_FILE_CHANGED` where what was committed is not there any more; without `now` it need not look again
   * where it just has. Absent where that cannot be.
   */
  check?(now: boolean): void;
  /** Whether something has still to be made durable in its final place. */
  readonly isDirty: boolean;
}

/** One thing of a batch to be journaled and applied, in order. */
export type Step = AppendStep | CreateStep | StateStep | DeleteStep | ForgetStep | NameStep | SessionStep | BarrierStep;

/** Consecutive appends of one stream (and marks that hold no bytes: a use). */
export interface AppendStep {
  readonly kind: 'append';
  readonly stream: Stream;
  readonly operations: Operation[];
  /** The offset of `data`. */
  readonly offset: number;
  /** The bytes of all operations. */
  data: Uint8Array;
  bytes: number;
}

export interface CreateStep {
  readonly kind: 'create';
  readonly stream: Stream;
  readonly operations: Operation[];
  readonly snapshot: StreamSnapshot;
  readonly data: Uint8Array;
  readonly source: Stream | undefined;
}

/** The whole state of a stream takes the place of what was journaled before, bytes past its tail included. */
export interface StateStep {
  readonly kind: 'state';
  readonly stream: Stream;
  readonly operations: Operation[];
  readonly snapshot: StreamSnapshot;
}

export interface DeleteStep {
  readonly kind: 'delete';
  readonly stream: Stream;
  readonly operations: Operation[];
  /** It takes back a creation that was journaled and could not be carried out: nobody ever saw the stream. */
  readonly voids: boolean;
  /** Keep the bytes for its forks. */
  readonly soft: boolean;
}

/** The stream's file was changed by others: what the journal holds of it must not be written into that file. */
export interface ForgetStep {
  readonly kind: 'forget';
  readonly stream: Stream;
  readonly operations: Operation[];
}

/** What was found without an id, a file put there by hand, has one from here on. */
export interface NameStep {
  readonly kind: 'name';
  readonly stream: Stream;
  readonly operations: Operation[];
  readonly snapshot: StreamSnapshot;
}

/** An appender session begins or ends: a place in the order, and a mark that outlives the server. */
export interface SessionStep {
  readonly kind: 'session';
  readonly stream: Stream;
  /** One; it has the mark, and the fence of a producer that begins. */
  readonly operations: Operation[];
  /** The tail there. */
  readonly offset: number;
}

/** Nothing to keep; only a place in the order. */
export interface BarrierStep {
  readonly kind: 'barrier';
  readonly stream: Stream;
  readonly operations: Operation[];
}
