/** What a stream must be, according to the protocol: small enough to be right at a glance. */
export class ModelStream {
  readonly path: string;
  readonly contentType: string;
  /** Whether it is made of messages: only where somebody named the type, not where the path suggests it. */
  readonly json: boolean;
  /** For bytes all of them; for JSON one line per message, as it is kept. */
  data = '';
  closed = false;
  closedBy: string | undefined;
  readonly producers = new Map<string, { epoch: number; seq: number }>();
  streamSeq: string | undefined;
  /** Deleted, but forks read it still. */
  soft = false;
  forks = 0;
  readonly source: ModelStream | undefined;
  readonly forkOffset: number | undefined;
  /** What its tokens end with, as the server said first; none other may ever be said. */
  owner: string | undefined;

  constructor(path: string, contentType: string, json: boolean, fork?: { source: ModelStream; offset: number }) {
    this.json = json;
    this.path = path;
    this.contentType = contentType;
    if (fork === undefined) return;
    this.source = fork.source;
    this.forkOffset = fork.offset;
    this.data = fork.source.data.slice(0, fork.offset);
    fork.source.forks++;
  }

  get tail(): number {
    return this.data.length;
  }

  /** The token of an offset; `random` picks whose, among the stream's own, its source's, and one that names none. */
  token(offset: number, pick: <T>(from: readonly T[]) => T): string {
    const owners = [undefined, this.owner, offset <= (this.forkOffset ?? -1) ? this.source?.owner : this.owner];
    return `${String(offset).padStart(16, '0')}${pick(owners) ?? ''}`;
  }

  /** Offsets that a client may know: in a JSON stream between messages. */
  isBoundary(offset: number): boolean {
    return offset <= this.tail && (!this.json || offset === 0 || this.data[offset - 1] === '\n');
  }

  /** What a read from an offset gives. */
  body(offset = 0): string {
    const rest = this.data.slice(offset);
    return this.json ? `[${rest.split('\n').slice(0, -1).join(',')}]` : rest;
  }
}

export class Model {
  readonly streams = new Map<string, ModelStream>();

  /** Deletes a stream. Answers the paths of deleted sources that nobody needs any more. */
  delete(stream: ModelStream): string[] {
    if (stream.forks === 0) return this.#free(stream);
    stream.soft = true;
    return [];
  }

  /** A stream that nobody needs any more lets go of its source. */
  #free(stream: ModelStream): string[] {
    this.streams.delete(stream.path);
    const { source } = stream;
    if (source === undefined || --source.forks > 0 || !source.soft) return [];
    return [source.path, ...this.#free(source)];
  }
}
