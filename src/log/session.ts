import { MillraceError } from '../errors.js';
import type {
  Appended,
  AppenderEnd,
  AppendSession,
  Durability,
  ReleaseOptions,
  SessionAppendOptions,
  SessionEnd,
  SessionProducer,
  StreamInfo,
} from './store.js';
import type { Stream } from './stream.js';

/** What a session needs of its store. */
export interface SessionHost {
  append(session: Session, data: Uint8Array, options: SessionAppendOptions): Promise<Appended>;
  release(session: Session, end: AppenderEnd): Promise<void>;
}

/** An exclusive appender; see `AppendSession`. */
export class Session implements AppendSession {
  readonly stream: Stream;
  readonly producer: SessionProducer | undefined;
  readonly durability: Durability;
  readonly ended: Promise<SessionEnd>;
  readonly #host: SessionHost;
  #resolveEnded: (end: SessionEnd) => void = () => {};
  #end: SessionEnd | undefined;
  /** Of its appends, the newest that waits for its turn. */
  #waiting: Promise<void> | undefined;
  /** Set once the session is established. */
  info!: StreamInfo;
  committed: { readonly epoch: number; readonly seq: number } | undefined;
  /** The release that is under way. */
  releasing: Promise<void> | undefined;
  /** An append of it was refused after it had been accepted: what came after would leave a hole. */
  failure: unknown;

  constructor(host: SessionHost, stream: Stream, producer: SessionProducer | undefined, durability: Durability) {
    this.#host = host;
    this.stream = stream;
    this.producer = producer;
    this.durability = durability;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  append(data: Uint8Array, options: SessionAppendOptions = {}): Promise<Appended> {
    return this.releasing === undefined
      ? this.#host.append(this, data, options)
      : Promise.reject(this.failure ?? this.#over('released'));
  }

  /** An append waits for its turn: a release that is asked for meanwhile comes after it. */
  waitFor(append: Promise<unknown>): void {
    const waiting = append.then(nothing, nothing);
    this.#waiting = waiting;
    void waiting.then(() => {
      if (this.#waiting === waiting) this.#waiting = undefined;
    });
  }

  release({ lost = false }: ReleaseOptions = {}): Promise<void> {
    if (this.#end !== undefined) return this.releasing ?? Promise.resolve();
    const end = lost ? 'lost' : 'left';
    this.releasing ??= this.#waiting?.then(() => this.#host.release(this, end)) ?? this.#host.release(this, end);
    return this.releasing;
  }

  /** Ends it, once. */
  finish(end: SessionEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#resolveEnded(end);
  }

  /** Throws `SESSION_ENDED`, or why an append failed, unless the session may append. */
  checkAlive(): void {
    if (this.failure !== undefined) throw this.failure;
    if (this.#end !== undefined) throw this.#over(this.#end);
  }

  #over(reason: SessionEnd): MillraceError {
    return new MillraceError(
      'SESSION_ENDED',
      `The appender session on ${this.stream.path} is over (${reason}). Acquire a new one to go on.`,
      { reason },
    );
  }
}

function nothing(): void {}
