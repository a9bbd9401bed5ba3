import { createHash } from 'node:crypto';

/** What a worker tells before it makes a call. */
export interface Call {
  readonly call: number;
  readonly path: string;
  readonly kind: 'append' | 'create' | 'delete' | 'fork';
  readonly tag?: string;
  readonly length?: number;
  readonly close?: boolean;
  readonly producer?: { readonly id: string; readonly epoch: number; readonly seq: number };
  readonly from?: string;
  readonly offset?: number;
  /** Of `delete`: the stream that was kept for this one. */
  readonly frees?: string;
}

/** What is found at a path after a crash. */
export interface Look {
  readonly path: string;
  readonly state: string;
  readonly tail?: number;
  readonly closed?: boolean;
  readonly hash?: string;
  /** Hash of the file's bytes, where the stream is a file of its own at its path. */
  readonly file?: string;
}

/** A stream as it must be. */
export interface Modelled {
  readonly path: string;
  readonly state: string;
  readonly content: Buffer;
  readonly closed: boolean;
  readonly producer: { readonly id: string; readonly epoch: number; readonly seq: number } | undefined;
  readonly from: string | undefined;
}

export function absent(path: string): Modelled {
  return {
    path,
    state: 'STREAM_NOT_FOUND',
    content: Buffer.alloc(0),
    closed: false,
    producer: undefined,
    from: undefined,
  };
}

/** What a call makes of a stream. `other` gives the streams as they were when it was made. */
export function after(stream: Modelled, call: Call, other: (path: string) => Modelled | undefined): Modelled {
  const data = call.length === undefined ? Buffer.alloc(0) : Buffer.alloc(call.length, call.tag);
  switch (call.kind) {
    case 'create':
      return { ...absent(stream.path), state: 'live', content: data };
    case 'append':
      return {
        ...stream,
        content: Buffer.concat([stream.content, data]),
        closed: call.close ?? false,
        producer: call.producer,
      };
    case 'fork': {
      const source = other(call.from ?? '');
      const content = source?.content.subarray(0, call.offset) ?? Buffer.alloc(0);
      return { ...absent(stream.path), state: 'live', content, from: call.from };
    }
    case 'delete': {
      const fork = other(`${stream.path}-fork`);
      const kept = fork?.state === 'live' && fork.from === stream.path;
      return { ...absent(stream.path), state: kept ? 'STREAM_GONE' : 'STREAM_NOT_FOUND' };
    }
  }
}

export function isSame(stream: Modelled, look: Look): boolean {
  if (look.state !== stream.state) return false;
  if (look.state !== 'live') return true;
  const hash = createHash('sha256').update(stream.content).digest('hex');
  if (look.file !== undefined && look.file !== hash) return false;
  return look.tail === stream.content.length && look.closed === stream.closed && look.hash === hash;
}
