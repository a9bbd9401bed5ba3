import type { Position } from '../event-stream/index.js';

/**
 * The contract between Millrace and whatever keeps its streams. `http/` and `follow/` know nothing else.
 *
 * A stream is a sequence of bytes at a path; how paths are written stands in `log/path.ts`. In a JSON stream
 * (`application/json`) the bytes are NDJSON: one message a line, each line ended by `\n`. An offset is the number of
 * bytes before a place, so it sorts and never changes its meaning while the stream lives; `wire/` turns it into the
 * token that clients see.
 *
 * Every implementation MUST pass the store suite of `millrace/testing`, and MUST:
 * - show no byte, in any answer or event, before it is as durable as its append asked for;
 * - give the appends of one stream one order, the same for all readers;
 * - decide an append by `log/rules.ts`, so that all stores refuse the same things with the same codes.
 */
export interface Store {
  /**
   * Makes a stream. Where one of the same configuration exists already, answers `created: false`.
   * Errors: `STREAM_EXISTS` (other configuration, or a deleted stream that forks still need), `STREAM_EXPIRED`,
   * `INVALID_PATH`, `FORK_SOURCE_NOT_FOUND`, `FORK_SOURCE_GONE`, `OFFSET_OF_ANOTHER_STREAM`, `INVALID_FORK`,
   * `CONTENT_TYPE_MISMATCH`, `STORE_*`.
   */
  create(path: string, options?: CreateOptions): Promise<Created>;

  /**
   * Appends, closes, or both in one step. Resolves when it is durable and visible.
   * Errors: `STREAM_NOT_FOUND`, `STREAM_GONE`, `STREAM_CLOSED`, `CONTENT_TYPE_MISMATCH`, `STREAM_SEQ_CONFLICT`,
   * `PRODUCER_*`, `APPENDER_ACTIVE`, `EMPTY_APPEND`, `APPEND_TOO_LARGE`, `STORE_*`, `STREAM_FILE_CHANGED`.
   */
  append(path: string, append: Append): Promise<Appended>;

  /**
   * Makes the caller the stream's only appender until it releases the session or is fenced.
   * Creates the stream where `create` is given and there is none: nobody ever sees that stream without its appender. One
   * that is there must have the life time and the origin that `create` names, if it names any.
   * Errors: `APPENDER_ACTIVE`, `STREAM_CLOSED`, `PRODUCER_FENCED`, and those of {@link create}.
   */
  acquire(path: string, options?: AcquireOptions): Promise<AppendSession>;

  /**
   * What is known of a stream. Does not count as use (TTL).
   * Errors: `STREAM_NOT_FOUND`, `STREAM_GONE`, `STREAM_FILE_CHANGED`.
   */
  stat(path: string): Promise<StreamInfo>;

  /**
   * Reads committed bytes from `offset` on, at most about `maxBytes`: fewer at the end, and in a JSON stream whole
   * messages only (so more than `maxBytes` for one long message). Counts as use (TTL).
   * At the tail the answer is empty. Errors: `STREAM_NOT_FOUND`, `STREAM_GONE`, `OFFSET_OUT_OF_RANGE` (beyond the
   * tail), `STREAM_FILE_CHANGED`.
   */
  read(path: string, offset: number, options: ReadOptions): Promise<ReadResult>;

  /**
   * Joins a stream at its tail: `info` and `events` are taken at one instant, so nothing is missed or seen twice
   * between `info.tail` and the first event. Counts as use (TTL).
   * Errors: `STREAM_NOT_FOUND`, `STREAM_GONE`, `STREAM_FILE_CHANGED`.
   */
  subscribe(path: string): Promise<StreamSubscription>;

  /**
   * Deletes a stream; the answer is durable. A stream with forks is kept, unreachable, until the last is gone.
   * Errors: `STREAM_NOT_FOUND`, `STREAM_GONE`.
   */
  delete(path: string): Promise<void>;

  /** Streams in the order of their paths (by code unit), a page at a time. Deleted and expired ones are left out. */
  list(options?: ListOptions): Promise<StreamPage>;

  /** Told of every committed change of any stream, synchronously after it became visible. Returns the way to stop. */
  observe(observer: StoreObserver): () => void;

  /** Why the store takes no more writes (a failed fsync, a close), or undefined while all is well. */
  readonly failure: Error | undefined;
  /** Resolves with the cause when the store fails for good: stop serving, exit non-zero. Never rejects. */
  readonly failed: Promise<Error>;

  /**
   * How often others took acknowledged bytes out of a stream's file, and the bytes were kept beside it for an operator to
   * look at. Absent, or undefined, where that cannot be.
   */
  readonly losses?: number | undefined;

  /** Commits what was accepted, refuses the rest with `STORE_CLOSED`, and frees everything. */
  close(): Promise<void>;
}

/** How durable an append is when it is acknowledged: on the disk, or in the operating system's page cache. */
export type Durability = 'fsync' | 'written';

/** Where a fork branches off. */
export interface ForkPoint {
  readonly path: string;
  /** `StreamInfo.id` of the stream that is meant, where `offset` is one of it: another one at the path is refused. */
  readonly id?: string;
  /** Default: the source's tail. */
  readonly offset?: number;
  /** Further bytes, or in a JSON stream messages, past `offset`. */
  readonly subOffset?: number;
}

export interface CreateOptions {
  /** MIME type, parameters and all. Default: by the path's extension, else `application/octet-stream`; for a fork its source's. */
  readonly contentType?: string;
  /** Seconds without a read or write after which the stream expires. */
  readonly ttlSeconds?: number;
  /**
   * Milliseconds since the epoch at which the stream expires, by the wall clock. It is deleted, and its path free, only
   * when that clock has been past it for a minute without a break.
   */
  readonly expiresAtMs?: number;
  /** Create it closed: `data` is all there will ever be. */
  readonly closed?: boolean;
  /** First bytes; in a JSON stream whole lines. */
  readonly data?: Uint8Array;
  readonly fork?: ForkPoint;
  readonly durability?: Durability;
}

export interface Created {
  /** False where the stream was there before, with the same configuration. */
  readonly created: boolean;
  readonly info: StreamInfo;
}

/** A producer's own numbering of its appends (Durable Streams, "Idempotent producers"). */
export interface ProducerStamp {
  readonly id: string;
  readonly epoch: number;
  readonly seq: number;
}

export interface Append {
  /** In a JSON stream whole lines (`wire/json` makes them). May be empty only when `close` is set. */
  readonly data?: Uint8Array;
  /** Checked against the stream's type, by media type, where given and `data` is not empty. */
  readonly contentType?: string;
  readonly close?: boolean;
  readonly producer?: ProducerStamp;
  /** Must be greater than the last one of the stream, compared byte by byte. */
  readonly streamSeq?: string;
  readonly durability?: Durability;
}

export interface Appended {
  /** `StreamInfo.id` of the stream that it was appended to. */
  readonly streamId: string;
  /** The tail after this append; for a duplicate the tail now. */
  readonly offset: number;
  /** True when a producer's append had been committed before, and nothing was appended now. */
  readonly duplicate: boolean;
  readonly closed: boolean;
  /** The producer's state after this append: its epoch and highest sequence number. */
  readonly producer?: { readonly epoch: number; readonly seq: number };
}

export interface AcquireOptions {
  readonly create?: CreateOptions;
  /**
   * Who appends. A higher epoch of the same id takes over a living session at once: that one ends as fenced, its
   * accepted appends are committed first. Without, or with an epoch that is not higher, a living session wins.
   */
  readonly producer?: SessionProducer;
  readonly durability?: Durability;
}

/** An exclusive appender. While it lives, every other append to the stream fails with `APPENDER_ACTIVE`. */
export interface AppendSession {
  readonly info: StreamInfo;
  /**
   * With a producer: the highest sequence number that it had committed (in its newest epoch before this session), or
   * -1. The appender drops what it had sent up to there, and numbers its appends from 0 if its epoch is new, from
   * `committed.seq + 1` if it is the same.
   */
  readonly committed: { readonly epoch: number; readonly seq: number } | undefined;
  /** As `Store.append`; with a producer each call is its next sequence number (`count` of them). Errors also: `SESSION_ENDED`. */
  append(data: Uint8Array, options?: SessionAppendOptions): Promise<Appended>;
  /** Resolves when the session is over: released by its owner, fenced by a higher epoch, or the stream went away. */
  readonly ended: Promise<SessionEnd>;
  /**
   * Frees the stream for other appenders, once what was accepted is committed. `lost` tells all who ask that the appender
   * is gone without having said that it was done: its connection broke, or it was cut off. Without it, it has left.
   */
  release(options?: ReleaseOptions): Promise<void>;
}

export interface ReleaseOptions {
  readonly lost?: boolean;
}

/** The producer of a session. */
export interface SessionProducer {
  readonly id: string;
  readonly epoch: number;
  /**
   * Nobody uses the id but this appender, and nobody will once it has left: then the stream forgets it, and knows one
   * producer less. One that is lost is remembered, since it may come back.
   */
  readonly once?: boolean;
}

/** How an appender's session ended: it left when it was done, or nobody knows whether it was. */
export type AppenderEnd = 'left' | 'lost';

export interface SessionAppendOptions {
  readonly close?: boolean;
  /** How many of the producer's sequence numbers `data` holds (default 1): many small frames may share one append. */
  readonly count?: number;
}

export type SessionEnd = 'released' | 'fenced' | 'closed' | 'deleted';

/** Whose offsets mean something on a stream. */
export interface StreamLineage {
  /**
   * Names this stream and no other, ever: another one follows when the path is deleted and created again. At least 16
   * characters of `A-Z a-z 0-9 - _`, the first 8 of them as good as random: they stand in every offset token. Durable
   * before anybody is told it, and the same wherever a copy of the stream is served.
   */
  readonly id: string;
  /**
   * The streams that it was forked from, nearest first, each with the offset up to which its offsets are offsets of this
   * one. Kept as long as the stream, also when they are gone. Absent where it is no fork.
   */
  readonly ancestors?: readonly StreamAncestor[];
}

export interface StreamAncestor {
  readonly id: string;
  readonly offset: number;
}

export interface StreamInfo extends StreamLineage {
  readonly path: string;
  readonly contentType: string;
  /** Whether the stream is made of JSON messages. */
  readonly json: boolean;
  /** The committed tail. */
  readonly tail: number;
  readonly closed: boolean;
  /** Milliseconds since the epoch; for a file put there by hand its birth. */
  readonly createdAtMs: number;
  /**
   * Milliseconds since the epoch at which it got its newest byte, or was created. Never goes back while it is open, also
   * where the clock does.
   * Absent where a store cannot tell: then no reader is told that nothing has changed since.
   */
  readonly modifiedAtMs?: number;
  readonly ttlSeconds?: number;
  readonly expiresAtMs?: number;
  readonly fork?: { readonly path: string; readonly offset: number };
  /** Whether an appender session lives. */
  readonly appender: boolean;
  /**
   * How the last appender session ended; one that lived when its server was killed is lost, also after a restart. Absent
   * where none has ended, and once the stream is closed, which says that it is complete. A takeover by a higher epoch
   * ends no session in this sense: another one goes on.
   */
  readonly lastAppender?: AppenderEnd;
}

export interface ReadOptions {
  readonly maxBytes: number;
  readonly signal?: AbortSignal;
}

export interface ReadResult {
  readonly data: Uint8Array;
  /** The offset after `data`. */
  readonly next: number;
  /** As of the instant of the answer. */
  readonly info: StreamInfo;
}

export interface StreamSubscription {
  readonly info: StreamInfo;
  /** All that happens from `info` on, one event per commit. Ended (closed list) after deletion and at the store's close. */
  readonly events: Position<StreamEvent>;
  /**
   * Say when nobody follows any more. It needs no `this`: whoever keeps `events` keeps all events since in memory, so
   * keep only this function.
   */
  readonly release: () => void;
}

/** One committed change of one stream: what was added, and how things stand after it. */
export interface StreamEvent {
  /** The offset of `data`. */
  readonly offset: number;
  /** What was appended, possibly by many appends; may be empty. Must not be changed. */
  readonly data: Uint8Array;
  /** The tail after it. */
  readonly tail: number;
  readonly closed: boolean;
  /** Whether an appender session lives after it. */
  readonly appender: boolean;
  /** As `StreamInfo.lastAppender`, after it. */
  readonly lastAppender?: AppenderEnd | undefined;
  /** The stream is gone; nothing follows. */
  readonly deleted: boolean;
}

export interface ListOptions {
  readonly prefix?: string;
  /** Only paths after this one. */
  readonly after?: string;
  /** Default 1000, at most 10,000. */
  readonly limit?: number;
}

/** A stream as a listing tells of it. */
export interface ListedStream extends Omit<StreamInfo, 'id'> {
  /** Absent for a file put there by hand that nobody has asked for by name: a listing is no reason to give it an id. */
  readonly id?: string;
}

export interface StreamPage {
  readonly streams: readonly ListedStream[];
  /** Give it as `after` for the next page; absent on the last one. */
  readonly next?: string;
}

export type StoreObserver = (change: StoreChange) => void;

export interface StoreChange {
  readonly path: string;
  readonly kind: 'created' | 'appended' | 'closed' | 'deleted';
  readonly tail: number;
  readonly lineage: StreamLineage;
}
