import { EventStream } from '../event-stream/index.js';
import type { StoreTime } from './clock.js';
import type { StreamStorage } from './medium.js';
import { type KnownProducer, Producers } from './producers.js';
import type { WriterState } from './rules.js';
import type { Session } from './session.js';
import type { AppenderEnd, ProducerStamp, StreamAncestor, StreamEvent, StreamInfo, StreamLineage } from './store.js';

/** Where a fork's own bytes begin, and where those before are. */
export interface ForkLink {
  readonly path: string;
  readonly id: string;
  readonly offset: number;
  /** The streams that its source was forked from, as `StreamLineage.ancestors`; absent where it was no fork. */
  readonly ancestors?: readonly StreamAncestor[];
}

/** What is fixed when a stream is created. */
export interface StreamIdentity {
  readonly path: string;
  readonly id: string;
  readonly contentType: string;
  readonly json: boolean;
  readonly createdAtMs: number;
  readonly ttlSeconds: number | undefined;
  readonly expiresAtMs: number | undefined;
  readonly fork: ForkLink | undefined;
}

/** All that must survive a restart besides the bytes; plain JSON. */
export interface StreamSnapshot extends StreamIdentity {
  readonly tail: number;
  readonly closed: boolean;
  readonly closedBy: ProducerStamp | undefined;
  readonly streamSeq: string | undefined;
  readonly producers: readonly (readonly [id: string, state: KnownProducer])[];
  /** How many forks need it. */
  readonly forks: number;
  /** Deleted, and kept for its forks. */
  readonly softDeleted: boolean;
  readonly lastUsedMs: number;
  /** Undefined where an earlier version wrote it. */
  readonly modifiedAtMs: number | undefined;
  /** Of the last appender session; undefined where there was none. */
  readonly appender: AppenderState | undefined;
}

/** What a store keeps of an appender session. */
export type AppenderState = 'lives' | AppenderEnd;

/** By how much a time is later than the one before where the clock is behind it: readers know times in seconds. */
const CLOCK_SET_BACK_STEP_MS = 1000;

/** How many events of a stream share a block of memory. Few: an event holds a whole commit's bytes. */
const EVENTS_PER_BLOCK = 8;

/**
 * A stream in memory, in two views. *Committed* is what readers see and what a crash leaves. *Next* includes what was
 * accepted and is on its way to be committed: the state against which the next append is checked.
 */
export class Stream implements StreamIdentity {
  readonly path: string;
  readonly id: string;
  readonly contentType: string;
  readonly json: boolean;
  readonly createdAtMs: number;
  readonly ttlSeconds: number | undefined;
  readonly expiresAtMs: number | undefined;
  readonly fork: ForkLink | undefined;
  /** One object for all who are told of it. */
  readonly lineage: StreamLineage;
  /** The offset of the first byte in its own storage. */
  readonly start: number;
  readonly storage: StreamStorage;

  /** Whether its id is in the journal. That of a file put there by hand is not until somebody asks for the stream. */
  isNamed = true;
  /** The commit of its id that is under way. */
  naming: Promise<void> | undefined;

  // Committed.
  exists = false;
  tail: number;
  closed = false;
  closedBy: ProducerStamp | undefined;
  streamSeq: string | undefined;
  readonly producers = new Producers();
  forks = 0;
  softDeleted = false;
  deleted = false;
  /** Whether readers know of an appender session. */
  appender = false;
  /** How the last session ended that readers knew of. */
  lastAppender: AppenderEnd | undefined;
  /** Its last read or write, by the store's own time. */
  lastUsedMs: number;
  /** When it got its newest byte, by the wall clock. */
  modifiedAtMs: number;
  /** The last use that the journal knows of. */
  journaledUseMs: number;

  // Next.
  readonly next: NextState;
  nextForks = 0;
  /** A deletion was accepted: for good, or kept for the forks. */
  gone: 'deleted' | 'soft' | undefined;
  session: Session | undefined;

  /** Operations that are queued or being committed. */
  pending = 0;
  /** The step of the batch being built that collects its appends; for `GroupCommit` only. */
  step: unknown;
  stepGroup = -1;
  /** Looked up since the last sweep for streams to evict. */
  recentlyUsed = true;
  subscribers = 0;
  #events: EventStream<StreamEvent> | undefined;

  constructor(identity: StreamIdentity, storage: (stream: Stream) => StreamStorage) {
    this.path = identity.path;
    this.id = identity.id;
    this.contentType = identity.contentType;
    this.json = identity.json;
    this.createdAtMs = identity.createdAtMs;
    this.ttlSeconds = identity.ttlSeconds;
    this.expiresAtMs = identity.expiresAtMs;
    this.fork = identity.fork;
    this.lineage =
      identity.fork === undefined ? { id: identity.id } : { id: identity.id, ancestors: ancestorsOf(identity.fork) };
    this.start = identity.fork?.offset ?? 0;
    this.tail = this.start;
    this.lastUsedMs = identity.createdAtMs;
    this.journaledUseMs = identity.createdAtMs;
    this.modifiedAtMs = identity.createdAtMs;
    this.next = {
      path: this.path,
      id: this.id,
      json: this.json,
      contentType: this.contentType,
      tail: this.tail,
      closed: false,
      closedBy: undefined,
      streamSeq: undefined,
    };
    this.storage = storage(this);
  }

  /** Brings a stream back as it was snapshotted. */
  static restore(snapshot: StreamSnapshot, storage: (stream: Stream) => StreamStorage): Stream {
    const stream = new Stream(snapshot, storage);
    stream.exists = true;
    stream.tail = snapshot.tail;
    stream.closed = snapshot.closed;
    stream.closedBy = snapshot.closedBy;
    stream.streamSeq = snapshot.streamSeq;
    stream.producers.restore(snapshot.producers);
    stream.forks = snapshot.forks;
    stream.nextForks = snapshot.forks;
    stream.softDeleted = snapshot.softDeleted;
    stream.lastUsedMs = snapshot.lastUsedMs;
    stream.journaledUseMs = snapshot.lastUsedMs;
    // Rather too late than too early: who asks what is new since then is sent too much, not too little.
    stream.modifiedAtMs = snapshot.modifiedAtMs ?? snapshot.lastUsedMs;
    // A session does not outlive its server: whoever had it never said that it was done.
    stream.lastAppender = snapshot.appender === 'lives' ? 'lost' : snapshot.appender;
    stream.rollBack();
    return stream;
  }

  /** The committed state. */
  snapshot(): StreamSnapshot {
    return {
      path: this.path,
      id: this.id,
      contentType: this.contentType,
      json: this.json,
      createdAtMs: this.createdAtMs,
      ttlSeconds: this.ttlSeconds,
      expiresAtMs: this.expiresAtMs,
      fork: this.fork,
      tail: this.tail,
      closed: this.closed,
      closedBy: this.closedBy,
      streamSeq: this.streamSeq,
      producers: [...this.producers.committed],
      forks: this.forks,
      softDeleted: this.softDeleted,
      lastUsedMs: this.lastUsedMs,
      modifiedAtMs: this.modifiedAtMs,
      appender: this.appender ? 'lives' : this.lastAppender,
    };
  }

  /** The committed state, as readers get it. Made for every read: plain fields, since spreading costs microseconds. */
  info(): StreamInfo {
    const info: { -readonly [Field in keyof StreamInfo]: StreamInfo[Field] } = {
      path: this.path,
      id: this.id,
      contentType: this.contentType,
      json: this.json,
      tail: this.tail,
      closed: this.closed,
      createdAtMs: this.createdAtMs,
      modifiedAtMs: this.modifiedAtMs,
      appender: this.appender,
    };
    const { ancestors } = this.lineage;
    if (ancestors !== undefined) info.ancestors = ancestors;
    if (this.ttlSeconds !== undefined) info.ttlSeconds = this.ttlSeconds;
    if (this.expiresAtMs !== undefined) info.expiresAtMs = this.expiresAtMs;
    if (this.fork !== undefined) info.fork = { path: this.fork.path, offset: this.fork.offset };
    if (this.lastAppender !== undefined && !this.closed) info.lastAppender = this.lastAppender;
    return info;
  }

  /** It got a byte. Readers who know a time are to hear of a later one, also when the clock was set back meanwhile. */
  modified(wallMs: number): void {
    this.modifiedAtMs = wallMs >= this.modifiedAtMs ? wallMs : this.modifiedAtMs + CLOCK_SET_BACK_STEP_MS;
  }

  /** Forgets all that was accepted and will not be committed. */
  rollBack(): void {
    this.next.tail = this.tail;
    this.next.closed = this.closed;
    this.next.closedBy = this.closedBy;
    this.next.streamSeq = this.streamSeq;
    this.producers.rollBack();
    this.gone = this.deleted ? 'deleted' : this.softDeleted ? 'soft' : undefined;
  }

  /** Whether it has outlived its time, and nobody is at it: whoever asks for it hears that it is not there. */
  isExpired(time: StoreTime): boolean {
    if (this.expiresAtMs !== undefined) return time.isPast(this.expiresAtMs);
    if (this.ttlSeconds === undefined || this.subscribers > 0 || this.session !== undefined) return false;
    return time.nowMs >= this.lastUsedMs + this.ttlSeconds * 1000;
  }

  /** Whether it is expired and no clock that is set right again can change that, so that it may be deleted. */
  isExpiredForGood(time: StoreTime): boolean {
    return this.expiresAtMs === undefined ? this.isExpired(time) : time.isSurelyPast(this.expiresAtMs);
  }

  get canExpire(): boolean {
    return this.ttlSeconds !== undefined || this.expiresAtMs !== undefined;
  }

  /** Whether it must stay in memory. */
  get isBusy(): boolean {
    return this.pending > 0 || this.subscribers > 0 || this.session !== undefined || this.storage.isDirty;
  }

  /** The live list. Made for the first subscriber: a stream that nobody follows publishes to nobody. */
  events(): EventStream<StreamEvent> {
    this.#events ??= new EventStream<StreamEvent>({ bufferSize: EVENTS_PER_BLOCK });
    return this.#events;
  }

  publish(offset: number, data: Uint8Array): void {
    if (this.#events === undefined) return;
    this.#events.publish({
      offset,
      data,
      tail: this.tail,
      closed: this.closed,
      appender: this.appender,
      lastAppender: this.closed ? undefined : this.lastAppender,
      deleted: this.deleted || this.softDeleted,
    });
  }

  /** Ends the live list; who subscribes later gets a new one. */
  closeEvents(): void {
    this.#events?.close();
    this.#events = undefined;
  }

  unsubscribe(): void {
    this.subscribers--;
    if (this.subscribers === 0) this.#events = undefined;
  }
}

/** Whose offsets are those of a fork, up to where. */
function ancestorsOf({ id, offset, ancestors = [] }: ForkLink): readonly StreamAncestor[] {
  return [{ id, offset }, ...ancestors.map((each) => ({ id: each.id, offset: Math.min(each.offset, offset) }))];
}

interface NextState extends WriterState {
  tail: number;
  closed: boolean;
  closedBy: ProducerStamp | undefined;
  streamSeq: string | undefined;
}
