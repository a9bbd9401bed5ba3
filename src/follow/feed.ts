import { Buffer } from 'node:buffer';
import { EventStream, type Subscription } from '../event-stream/index.js';
import type { StreamEvent, StreamInfo, StreamSubscription } from '../log/index.js';
import { Chunk, type StreamState } from './chunk.js';
import type { FollowEngineLimits } from './limits.js';
import { Window } from './window.js';

/** How many chunks share a block of the live list: few, since a block keeps all of its chunks in memory. */
const LIVE_BLOCK_CHUNKS = 8;

const NEWLINE = 0x0a;

/**
 * One followed stream: turns the store's events into chunks, once for all followers, and keeps the recent ones.
 *
 * `tail`, the window and the live list change in one synchronous step. So a follower that finds itself at `tail` and
 * subscribes to `live` in the same step misses nothing and gets nothing twice.
 */
export class Feed {
  readonly live = new EventStream<Chunk>({ bufferSize: LIVE_BLOCK_CHUNKS });
  readonly window = new Window();
  /** The end of what was made into chunks. The store may be a moment ahead. */
  tail: number;
  state: StreamState;
  /** Set when nothing more will come: the stream is gone, or the store stopped. */
  ended: 'deleted' | 'stopped' | undefined;

  readonly #info: StreamInfo;
  readonly #limits: FollowEngineLimits;
  readonly #windowShare: () => number;
  readonly #releaseStream: () => void;
  readonly #events: Subscription<StreamEvent>;
  /** Events that were drained in one go, waiting to be made into as few chunks as possible. */
  #gathered: StreamEvent[] = [];
  #newest: Chunk[] = [];

  constructor(
    subscription: StreamSubscription,
    limits: FollowEngineLimits,
    windowShare: () => number,
    onEnd: (feed: Feed) => void,
  ) {
    // Events do not tell when they came: it is known of the beginning only.
    const { modifiedAtMs: _, ...info } = subscription.info;
    this.#info = info;
    this.#limits = limits;
    this.#windowShare = windowShare;
    // Not the subscription: its `events` would keep all that was appended since.
    this.#releaseStream = subscription.release;
    this.tail = info.tail;
    this.state = { closed: info.closed, appender: info.appender, lastAppender: info.lastAppender, deleted: false };
    this.#events = subscription.events.subscribe();
    const end = () => {
      this.ended ??= 'stopped';
      this.live.close();
      onEnd(this);
    };
    this.#events
      .consume((event) => {
        this.#gathered.push(event);
        if (!this.#events.isReady) this.#publish();
      })
      .then(end, end);
  }

  /** `StreamInfo.id`. */
  get streamId(): string {
    return this.#info.id;
  }

  /** The stream as it stands now. */
  get info(): StreamInfo {
    const { lastAppender: _, ...info } = this.#info;
    const { closed, appender, lastAppender } = this.state;
    return { ...info, tail: this.tail, closed, appender, ...(lastAppender === undefined ? {} : { lastAppender }) };
  }

  release(): void {
    void this.#events.return();
    this.#releaseStream();
  }

  #publish(): void {
    for (const chunk of this.#newest) chunk.forget();
    const events = this.#gathered;
    this.#gathered = [];
    const end = (events.at(-1) as StreamEvent).tail;
    const chunks: Chunk[] = [];
    let from = 0;
    while (from < events.length) {
      // Events of one state become one run of bytes; where the state changes followers must see it in its place.
      let to = from + 1;
      while (to < events.length && sameState(events[to] as StreamEvent, events[from] as StreamEvent)) to++;
      this.#cut(events.slice(from, to), end, chunks);
      from = to;
    }
    this.#newest = chunks;
    this.tail = end;
    const last = chunks.at(-1) as Chunk;
    this.state = last;
    if (last.deleted) this.ended = 'deleted';
    for (const chunk of chunks) {
      if (chunk.data.length > 0) this.window.push(chunk, this.#windowShare());
    }
    for (const chunk of chunks) this.live.publish(chunk);
  }

  /** Makes events of one state into chunks of at most `chunkBytesMax`, in a JSON stream of whole lines. */
  #cut(events: readonly StreamEvent[], end: number, chunks: Chunk[]): void {
    const { id } = this.#info;
    const first = events[0] as StreamEvent;
    const data = events.length === 1 ? first.data : Buffer.concat(events.map((event) => event.data));
    // The state before is not lost: it stays true for all but the last piece.
    const before = chunks.at(-1) ?? this.state;
    let at = 0;
    while (data.length - at > this.#limits.chunkBytesMax) {
      let size = this.#limits.chunkBytesMax;
      if (this.#info.json) {
        const newline = data.lastIndexOf(NEWLINE, at + size - 1);
        size = (newline >= at ? newline : data.indexOf(NEWLINE, at + size)) + 1 - at;
        if (size >= data.length - at || size <= 0) break;
      }
      chunks.push(new Chunk(id, first.offset + at, data.subarray(at, at + size), before, false));
      at += size;
    }
    const offset = first.offset + at;
    chunks.push(new Chunk(id, offset, at === 0 ? data : data.subarray(at), first, offset + data.length - at === end));
  }
}

function sameState(a: StreamState, b: StreamState): boolean {
  return (
    a.closed === b.closed && a.appender === b.appender && a.lastAppender === b.lastAppender && a.deleted === b.deleted
  );
}
