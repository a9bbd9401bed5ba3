import type { KnownProducer } from './producers.js';
import type { Appended, ProducerStamp } from './store.js';
import type { AppenderState, Stream, StreamSnapshot } from './stream.js';

/** What an operation weighs besides its bytes (and, in the journal, its names). */
const OPERATION_BYTES = 256;
/** What a snapshot weighs besides its names, and each producer in it besides its id. */
const SNAPSHOT_BYTES = 768;
const SNAPSHOT_PRODUCER_BYTES = 128;
/** What each of a fork's ancestors weighs. */
const SNAPSHOT_ANCESTOR_BYTES = 96;
/** Bytes of UTF-8 for a unit of UTF-16, at most. */
const UTF8_BYTES_MAX = 3;

const EMPTY = new Uint8Array(0);

export type OperationKind =
  | 'append'
  | 'touch'
  | 'create'
  | 'state'
  | 'delete'
  | 'forget'
  | 'name'
  | 'session'
  | 'barrier';

/** Something accepted that waits for its commit. One class with plain fields: there may be 100,000 of them a second. */
export class Operation {
  readonly kind: OperationKind;
  readonly stream: Stream;
  /** Whether it needs the disk, or only the page cache. A barrier that does is behind a sync of all that came before. */
  durable: boolean;
  data: Uint8Array = EMPTY;
  offset = 0;
  close = false;
  producer: ProducerStamp | undefined;
  /** The producer's state after it. */
  producerState: KnownProducer | undefined;
  streamSeq: string | undefined;
  /** Of `session`: what is to be kept of it. */
  appender: AppenderState | undefined;
  /** Of `delete`. */
  soft = false;
  /** Of `delete`: nobody ever saw the stream. */
  voids = false;
  /** Of `create` (a fork's source). */
  source: Stream | undefined;
  /** Of `create`, `name` and `state`. */
  snapshot: StreamSnapshot | undefined;
  /** Called in the order of commits, before the operation resolves. */
  onCommitted: (() => void) | undefined;
  /** Of what voids others and could not be carried out itself: a later record voids them all. */
  onVoided: (() => void) | undefined;
  result: Appended | undefined;
  resolve: (result: Appended | undefined) => void = nothing;
  reject: (error: unknown) => void = nothing;

  constructor(kind: OperationKind, stream: Stream) {
    this.kind = kind;
    this.stream = stream;
    this.durable = kind !== 'barrier';
  }

  get weight(): number {
    return this.data.length + OPERATION_BYTES;
  }

  /** No less than what it takes in the journal. */
  get journalBytes(): number {
    const { producer, streamSeq, snapshot } = this;
    let units = this.stream.path.length + (producer?.id.length ?? 0) + (streamSeq?.length ?? 0);
    let bytes = this.data.length + OPERATION_BYTES;
    if (snapshot !== undefined) {
      units += snapshot.path.length + snapshot.contentType.length + (snapshot.fork?.path.length ?? 0);
      for (const [id] of snapshot.producers) units += id.length;
      bytes += SNAPSHOT_BYTES + SNAPSHOT_PRODUCER_BYTES * snapshot.producers.length;
      bytes += SNAPSHOT_ANCESTOR_BYTES * (snapshot.fork?.ancestors?.length ?? 0);
    }
    return bytes + UTF8_BYTES_MAX * units;
  }
}

function nothing(): void {}
