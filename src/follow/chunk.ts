import { Buffer } from 'node:buffer';
import type { AppenderEnd } from '../log/index.js';
import type { Format } from './format.js';

/** What a follower gets, and what was kept back for the next piece. */
export interface Encoded {
  readonly bytes: Buffer;
  /** What is unfinished at the end, at most three bytes; empty for formats that do not ask for it. */
  readonly held: Uint8Array;
}

/** How things stand with a stream, as a follower needs to know it. */
export interface StreamState {
  readonly closed: boolean;
  /** Whether an appender session lives. */
  readonly appender: boolean;
  /** How the last one ended. */
  readonly lastAppender?: AppenderEnd | undefined;
  readonly deleted: boolean;
}

/** Whether the stream is left unfinished by an appender that did not say that it was done, as far as is known. */
export function isAppenderLost({ closed, appender, lastAppender }: StreamState): boolean {
  return !closed && !appender && lastAppender === 'lost';
}

export const NOTHING: Buffer = Buffer.alloc(0);

/** One piece of a stream on its way to all followers at once. Immutable; what it caches is forgotten with time. */
export class Chunk implements StreamState {
  readonly streamId: string;
  readonly offset: number;
  readonly data: Uint8Array;
  readonly tail: number;
  readonly closed: boolean;
  readonly appender: boolean;
  readonly lastAppender: AppenderEnd | undefined;
  readonly deleted: boolean;
  /** Nothing more was committed when it was made. */
  readonly upToDate: boolean;
  /** As in `After`. */
  readonly appenderLost: boolean;
  #cache: CacheEntry[] = [];

  constructor(streamId: string, offset: number, data: Uint8Array, state: StreamState, upToDate: boolean) {
    this.streamId = streamId;
    this.offset = offset;
    this.data = data;
    this.tail = offset + data.length;
    this.closed = state.closed;
    this.appender = state.appender;
    this.lastAppender = state.lastAppender;
    this.deleted = state.deleted;
    this.upToDate = upToDate;
    this.appenderLost = upToDate && isAppenderLost(state);
  }

  /** The chunk as `format` shows it to a follower that has kept back `held`: made once, shared by all of them. */
  encoded(format: Format, held: Uint8Array): Encoded {
    for (const entry of this.#cache) {
      if (entry.format === format && sameBytes(entry.before, held)) return entry;
    }
    const entry = { format, before: held, ...encode(format, held, this.data, this) };
    this.#cache.push(entry);
    return entry;
  }

  /** Lets go of the encodings: all followers that were caught up have them, the others get larger pieces. */
  forget(): void {
    this.#cache = [];
  }
}

interface CacheEntry extends Encoded {
  readonly format: Format;
  readonly before: Uint8Array;
}

/** How things stand once `data` was sent. */
interface StateAfter {
  readonly streamId: string;
  readonly tail: number;
  readonly upToDate: boolean;
  readonly closed: boolean;
  readonly appenderLost: boolean;
  readonly final?: boolean;
}

/** Encodes `data` for a follower that has kept back `held`. `state.tail` is the offset after `data`. */
export function encode(format: Format, held: Uint8Array, data: Uint8Array, state: StateAfter): Encoded {
  const { streamId, tail, upToDate, closed, appenderLost } = state;
  const { unfinished } = format;
  if (unfinished === undefined) {
    const after = { streamId, offset: tail, upToDate, closed, appenderLost };
    return { bytes: asBuffer(format.encode(data, after)), held: NOTHING };
  }
  const all = held.length === 0 ? data : Buffer.concat([held, data]);
  const rest = closed || state.final === true ? 0 : unfinished(all);
  const whole = all.subarray(0, all.length - rest);
  // A copy: three bytes must not keep a whole chunk in memory.
  const kept = rest === 0 ? NOTHING : Buffer.from(all.subarray(all.length - rest));
  const after = { streamId, offset: tail - rest, upToDate, closed, appenderLost };
  return { bytes: asBuffer(format.encode(whole, after)), held: kept };
}

/** Sockets take a `Buffer` as it is, but wrap any other `Uint8Array` anew at each write. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
