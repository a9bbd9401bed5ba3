import assert from 'node:assert/strict';
import type { Answer, HttpClient } from './http-client.js';
import { Model, ModelStream } from './model.js';
import type { Random } from './random.js';
import { WebSocketSession } from './session.js';

const PATHS = ['a.txt', 'b', 'c', 'd/e', 'f', 'g.json'];
const TYPES = ['text/plain', 'application/octet-stream', 'application/json'];
const PRODUCERS = ['p', 'q'];

type Headers = Record<string, string>;

/** Does random things to a server over every interface it has, and says when an answer is not that of the model. */
export class Interfaces {
  readonly #url: string;
  readonly #http: HttpClient;
  readonly #random: Random;
  readonly #model = new Model();
  #counter = 0;

  constructor(url: string, http: HttpClient, random: Random) {
    this.#url = url;
    this.#http = http;
    this.#random = random;
  }

  /** One step. Answers its name. */
  async step(): Promise<string> {
    const steps: [number, () => Promise<void>][] = [
      [10, () => this.create()],
      [4, () => this.fork()],
      [25, () => this.append()],
      [20, () => this.produce()],
      [4, () => this.repeatAtOnce()],
      [6, () => this.appendAtOnce()],
      [3, () => this.close()],
      [3, () => this.delete()],
      [7, () => this.session()],
      [6, () => this.chunked()],
      [8, () => this.head()],
      [15, () => this.read()],
      [8, () => this.longPoll()],
      [6, () => this.sse()],
      [4, () => this.raw()],
    ];
    let left = this.#random.next() * steps.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, step] of steps) {
      left -= weight;
      if (left > 0) continue;
      await step();
      return /(\w+)\(\)/.exec(String(step))?.[1] ?? '';
    }
    return '';
  }

  /** Every stream, read from its beginning in the plainest way. */
  async checkAll(): Promise<void> {
    for (const path of PATHS) {
      const stream = this.#model.streams.get(path);
      const answer = await this.#send('GET', path, {}, undefined, '?offset=-1');
      if (stream === undefined) this.#expect(answer, 404);
      else if (stream.soft) this.#expect(answer, 410);
      else assert.equal(answer.body, stream.body());
    }
  }

  async create(): Promise<void> {
    const path = this.#random.pick(PATHS);
    const known = this.#model.streams.get(path);
    const contentType = known !== undefined && this.#random.chance(0.5) ? known.contentType : this.#random.pick(TYPES);
    const closed = this.#random.chance(0.1);
    const json = contentType === 'application/json';
    const contents = this.#random.chance(0.5) ? this.#contents(json) : undefined;
    const headers: Headers = { 'Content-Type': contentType, ...(closed ? { 'Stream-Closed': 'true' } : {}) };
    const answer = await this.#send('PUT', path, headers, contents?.body);
    if (known !== undefined) {
      const same =
        !known.soft && known.contentType === contentType && known.closed === closed && known.source === undefined;
      this.#expect(answer, same ? 200 : 409);
      return;
    }
    const stream = new ModelStream(path, contentType, json);
    stream.data = contents?.kept ?? '';
    stream.closed = closed;
    this.#model.streams.set(path, stream);
    this.#expect(answer, 201);
    this.#expectPosition(answer, stream);
  }

  async fork(): Promise<void> {
    const path = this.#random.pick(PATHS);
    const from = this.#random.pick(PATHS.filter((each) => each !== path));
    const source = this.#model.streams.get(from);
    const known = this.#model.streams.get(path);
    const offset = source === undefined ? 0 : this.#offsetIn(source);
    const headers: Headers = { 'Stream-Forked-From': `/${from}`, 'Stream-Fork-Offset': this.#token(source, offset) };
    if (known !== undefined) {
      const same = !known.soft && !known.closed && known.source === source && known.forkOffset === offset;
      const answer = await this.#send('PUT', path, headers);
      // That the source is gone, or that the path is taken: either is true, and either is a conflict or not found.
      if (same && source?.soft === false) this.#expect(answer, 200);
      else assert.ok([200, 400, 404, 409].includes(answer.status), describe(answer));
      assert.ok(same || answer.status !== 200, describe(answer));
      return;
    }
    const answer = await this.#send('PUT', path, headers);
    if (source === undefined) return this.#expect(answer, 404);
    if (source.soft) return this.#expect(answer, 409);
    const fork = new ModelStream(path, source.contentType, source.json, { source, offset });
    this.#model.streams.set(path, fork);
    this.#expect(answer, 201);
    this.#expectPosition(answer, fork);
  }

  async append(): Promise<void> {
    const path = this.#random.pick(PATHS);
    const stream = this.#model.streams.get(path);
    const wrongType = this.#random.chance(0.05);
    const contentType = wrongType ? 'application/x-other' : (stream?.contentType ?? 'text/plain');
    const contents = this.#contents(stream?.json ?? false);
    const seq = this.#random.chance(0.2) ? String(this.#random.upTo(99)).padStart(3, '0') : undefined;
    const close = this.#random.chance(0.02);
    const answer = await this.#send(
      'POST',
      path,
      {
        'Content-Type': contentType,
        ...(seq === undefined ? {} : { 'Stream-Seq': seq }),
        ...(close ? { 'Stream-Closed': 'true' } : {}),
      },
      contents.body,
    );
    if (!this.#expectWritable(answer, stream)) return;
    if (wrongType) return this.#expect(answer, 409, 'CONTENT_TYPE_MISMATCH');
    if (seq !== undefined && stream.streamSeq !== undefined && seq <= stream.streamSeq) {
      return this.#expect(answer, 409, 'STREAM_SEQ_CONFLICT');
    }
    stream.data += contents.kept;
    stream.closed = close;
    if (seq !== undefined) stream.streamSeq = seq;
    this.#expect(answer, 204);
    this.#expectPosition(answer, stream);
  }

  async produce(): Promise<void> {
    const path = this.#random.pick(PATHS);
    const stream = this.#model.streams.get(path);
    const id = this.#random.pick(PRODUCERS);
    const known = stream?.producers.get(id);
    const epoch = Math.max(0, (known?.epoch ?? 0) + (this.#random.chance(0.1) ? this.#random.upTo(2) - 1 : 0));
    const next = known !== undefined && known.epoch === epoch ? known.seq + 1 : 0;
    const seq = Math.max(0, next + (this.#random.chance(0.3) ? this.#random.upTo(3) - 2 : 0));
    const close = this.#random.chance(0.02);
    const contents = this.#contents(stream?.json ?? false);
    const answer = await this.#send(
      'POST',
      path,
      {
        ...producerHeaders(id, epoch, seq),
        'Content-Type': stream?.contentType ?? 'text/plain',
        ...(close ? { 'Stream-Closed': 'true' } : {}),
      },
      contents.body,
    );
    const stamp = `${id} ${epoch} ${seq}`;
    if (stream?.closed && !stream.soft && stream.closedBy === stamp) return this.#expect(answer, 204);
    if (!this.#expectWritable(answer, stream)) return;
    if (known !== undefined && epoch < known.epoch) {
      this.#expect(answer, 403, 'PRODUCER_FENCED');
      assert.equal(answer.headers['producer-epoch'], String(known.epoch));
      return;
    }
    if (known !== undefined && epoch > known.epoch && seq !== 0)
      return this.#expect(answer, 400, 'PRODUCER_EPOCH_START');
    if (seq > next) {
      this.#expect(answer, 409, 'PRODUCER_SEQ_GAP');
      assert.equal(answer.headers['producer-expected-seq'], String(next));
      return;
    }
    if (seq < next) {
      this.#expect(answer, 204);
      assert.equal(answer.headers['producer-seq'], String(known?.seq));
      return;
    }
    stream.producers.set(id, { epoch, seq });
    stream.data += contents.kept;
    stream.closed = close;
    if (close) stream.closedBy = stamp;
    this.#expect(answer, 200);
    this.#expectPosition(answer, stream);
    assert.equal(answer.headers['producer-seq'], String(seq));
  }

  /** One append of a producer several times at once, as impatient clients do: it counts once. */
  async repeatAtOnce(): Promise<void> {
    const stream = this.#writable();
    if (stream === undefined) return;
    const id = this.#random.pick(PRODUCERS);
    const known = stream.producers.get(id);
    const epoch = known?.epoch ?? 0;
    const seq = known === undefined ? 0 : known.seq + 1;
    const { body, kept } = this.#contents(stream.json);
    const headers = { ...producerHeaders(id, epoch, seq), 'Content-Type': stream.contentType };
    const answers = await Promise.all(Array.from({ length: 3 }, () => this.#send('POST', stream.path, headers, body)));
    stream.producers.set(id, { epoch, seq });
    stream.data += kept;
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 204, 204]);
  }

  /** Appends at the same time: all of them, each whole, in one order. */
  async appendAtOnce(): Promise<void> {
    const stream = this.#writable();
    if (stream === undefined) return;
    const parts = Array.from({ length: 5 }, () => this.#contents(stream.json));
    const headers = { 'Content-Type': stream.contentType };
    const before = stream.tail;
    const answers = await Promise.all(parts.map(({ body }) => this.#send('POST', stream.path, headers, body)));
    const ordered = parts
      .map(({ kept }, i) => ({
        kept,
        end: Number.parseInt(String((answers[i] as Answer).headers['stream-next-offset']), 10),
      }))
      .sort((a, b) => a.end - b.end);
    for (const { kept, end } of ordered) {
      stream.data += kept;
      assert.equal(end, stream.tail, `appends at once, from ${before}`);
    }
  }

  async close(): Promise<void> {
    const path = this.#random.pick(PATHS);
    const stream = this.#model.streams.get(path);
    const answer = await this.#send('POST', path, { 'Stream-Closed': 'true' });
    if (stream !== undefined && !stream.soft) stream.closed = true;
    else return void this.#expectWritable(answer, stream);
    this.#expect(answer, 204);
    this.#expectPosition(answer, stream);
  }

  async delete(): Promise<void> {
    const path = this.#random.pick(PATHS);
    const stream = this.#model.streams.get(path);
    const answer = await this.#send('DELETE', path);
    if (stream === undefined) return this.#expect(answer, 404);
    if (stream.soft) return this.#expect(answer, 410);
    this.#expect(answer, 204);
    // Sources may be cleaned up a little later (section 4.2).
    for (const freed of this.#model.delete(stream)) {
      await this.#eventually(`${freed} to be free`, async () => (await this.#send('HEAD', freed)).status === 404);
    }
  }

  /** A WebSocket appender, and what others get while it lives. */
  async session(): Promise<void> {
    const path = this.#random.pick(PATHS);
    const stream = this.#model.streams.get(path);
    const opened = await WebSocketSession.open(`${this.#url}/${path}?verb=append`);
    if (stream?.soft || stream?.closed) {
      assert.equal(opened, stream.soft ? 410 : 409);
      return;
    }
    assert.ok(opened instanceof WebSocketSession, `appender on ${path}: ${String(opened)}`);
    const own = stream ?? new ModelStream(path, typeOf(path), false);
    this.#model.streams.set(path, own);
    for (let i = this.#random.upTo(5); i > 0; i--) {
      const { body, kept } = this.#contents(own.json);
      opened.send(body);
      own.data += kept;
    }
    assert.equal(await opened.acknowledged(), own.tail);
    if (this.#random.chance(0.3)) {
      const { body } = this.#contents(own.json);
      const refused = await this.#send('POST', path, { 'Content-Type': own.contentType }, body);
      this.#expect(refused, 409, 'APPENDER_ACTIVE');
      assert.equal(await WebSocketSession.open(`${this.#url}/${path}?verb=append`), 403);
    }
    await opened.leave(this.#random.chance(0.5) ? 'close' : 'terminate');
    await this.#untilFree(own);
  }

  async chunked(): Promise<void> {
    const path = this.#random.pick(PATHS);
    const stream = this.#model.streams.get(path);
    const json = stream?.json ?? false;
    // In a JSON stream each line is a message, arrays too.
    const parts = Array.from({ length: 1 + this.#random.upTo(4) }, () => {
      const { body, kept } = this.#contents(json);
      if (!json) return { body, kept };
      const line = JSON.stringify(JSON.parse(body));
      return { body: `${line}\n`, kept: `${line}\n` };
    });
    const body = parts.map((part) => part.body);
    const answer = await this.#send(this.#random.pick(['PUT', 'POST']), path, {}, body, '?verb=append');
    if (stream?.soft || stream?.closed) {
      assert.equal(answer.status, stream.soft ? 410 : 409, describe(answer));
      return;
    }
    const own = stream ?? new ModelStream(path, typeOf(path), false);
    this.#model.streams.set(path, own);
    for (const { kept } of parts) own.data += kept;
    assert.ok(answer.status >= 200 && answer.status < 300, describe(answer));
    await this.#untilFree(own);
  }

  async head(): Promise<void> {
    const stream = this.#readable();
    if (stream === undefined) return;
    const answer = await this.#send('HEAD', stream.path);
    this.#expect(answer, 200);
    this.#expectPosition(answer, stream);
    assert.equal(answer.headers['content-type']?.split(';')[0], stream.contentType);
  }

  async read(): Promise<void> {
    const stream = this.#readable();
    if (stream === undefined) return;
    const offset = this.#offsetIn(stream);
    const query = this.#random.chance(0.2) ? '' : `?offset=${this.#token(stream, offset)}`;
    const answer = await this.#send('GET', stream.path, {}, undefined, query);
    this.#expect(answer, 200);
    assert.equal(answer.body, stream.body(query === '' ? 0 : offset));
    this.#expectPosition(answer, stream);
    assert.equal(answer.headers['stream-up-to-date'], 'true');
    const again = await this.#send(
      'GET',
      stream.path,
      { 'If-None-Match': answer.headers.etag ?? '' },
      undefined,
      query,
    );
    this.#expect(again, 304);
  }

  async longPoll(): Promise<void> {
    const stream = this.#readable();
    if (stream === undefined) return;
    const offset = this.#offsetIn(stream);
    if (offset === stream.tail && !stream.closed) {
      const waiting = this.#send(
        'GET',
        stream.path,
        {},
        undefined,
        `?live=long-poll&offset=${this.#token(stream, offset)}`,
      );
      const { body, kept } = this.#contents(stream.json);
      await this.#send('POST', stream.path, { 'Content-Type': stream.contentType }, body);
      stream.data += kept;
      const answer = await waiting;
      this.#expect(answer, 200);
      assert.equal(answer.body, stream.body(offset));
      return;
    }
    const answer = await this.#send(
      'GET',
      stream.path,
      {},
      undefined,
      `?live=long-poll&offset=${this.#token(stream, offset)}`,
    );
    if (offset === stream.tail) return this.#expect(answer, 204);
    this.#expect(answer, 200);
    assert.equal(answer.body, stream.body(offset));
  }

  async sse(): Promise<void> {
    const stream = this.#readable();
    if (stream === undefined) return;
    const offset = this.#offsetIn(stream);
    const text = await this.#http.readUntil(`/${stream.path}?live=sse&offset=${this.#token(stream, offset)}`, (all) =>
      all.includes('"upToDate":true'),
    );
    let got = '';
    let position = offset;
    for (const event of text.split('\n\n')) {
      const data = [...event.matchAll(/^data:(.*)$/gm)]
        .map(([, line]) => (line as string).replace(/^ /, ''))
        .join('\n');
      if (/^event: control$/m.test(event)) {
        const control = JSON.parse(data) as { streamNextOffset: string; streamClosed?: boolean };
        position = Number.parseInt(control.streamNextOffset, 10);
        assert.equal(control.streamClosed === true, stream.closed && position === stream.tail);
      } else if (/^event: data$/m.test(event)) {
        if (stream.json)
          got += JSON.parse(data)
            .map((message: unknown) => `${JSON.stringify(message)}\n`)
            .join('');
        else
          got +=
            stream.contentType === 'application/octet-stream' ? Buffer.from(data, 'base64').toString('utf8') : data;
      }
    }
    assert.equal(position, stream.tail);
    assert.equal(got, stream.data.slice(offset));
  }

  async raw(): Promise<void> {
    const stream = this.#readable();
    if (stream === undefined || stream.tail === 0) return;
    const offset = this.#offsetIn(stream);
    const want = stream.data.slice(offset);
    if (want === '') return;
    const text = await this.#http.readUntil(
      `/${stream.path}?live=raw&offset=${this.#token(stream, offset)}`,
      (all) => all.length >= want.length,
    );
    assert.equal(text, want);
  }

  /** Something new to append, as it is sent and as it is kept. */
  #contents(json: boolean): { readonly body: string; readonly kept: string } {
    const n = this.#counter++;
    if (!json) {
      const body = `<${n}${'.'.repeat(this.#random.upTo(20))}>${this.#random.pick(['', '\n', ' '])}`;
      return { body, kept: body };
    }
    const message = () =>
      this.#random.pick([{ n }, [n, [n]], `n${n}\n`, n, { n, text: 'x'.repeat(this.#random.upTo(30)) }]);
    const space = this.#random.pick([undefined, 1]);
    const one = message();
    // An array is several messages; one that is meant to be a message has to be in another.
    if (!Array.isArray(one) && this.#random.chance(0.7)) {
      return { body: JSON.stringify(one, null, space), kept: `${JSON.stringify(one)}\n` };
    }
    const all = [one, ...Array.from({ length: this.#random.upTo(3) }, message)];
    return { body: JSON.stringify(all, null, space), kept: all.map((each) => `${JSON.stringify(each)}\n`).join('') };
  }

  #readable(): ModelStream | undefined {
    const stream = this.#model.streams.get(this.#random.pick(PATHS));
    return stream?.soft ? undefined : stream;
  }

  #writable(): ModelStream | undefined {
    const stream = this.#readable();
    return stream?.closed ? undefined : stream;
  }

  #offsetIn(stream: ModelStream): number {
    if (this.#random.chance(0.3)) return stream.tail;
    let offset = this.#random.upTo(stream.tail);
    while (!stream.isBoundary(offset)) offset--;
    return offset;
  }

  /** The end of a session is known to its client a moment before the server has let go of the stream. */
  async #untilFree(stream: ModelStream): Promise<void> {
    await this.#eventually(`${stream.path} to be free`, async () => {
      const { body, kept } = this.#contents(stream.json);
      const answer = await this.#send('POST', stream.path, { 'Content-Type': stream.contentType }, body);
      if (answer.status !== 204) {
        this.#expect(answer, 409, 'APPENDER_ACTIVE');
        return false;
      }
      stream.data += kept;
      this.#expectPosition(answer, stream);
      return true;
    });
  }

  async #eventually(what: string, happens: () => Promise<boolean>): Promise<void> {
    for (let tries = 0; tries < 500; tries++) {
      if (await happens()) return;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    assert.fail(`waited in vain for ${what}`);
  }

  /** Whether the stream takes appends; if not, that the answer says so. */
  #expectWritable(answer: Answer, stream: ModelStream | undefined): stream is ModelStream {
    if (stream === undefined) this.#expect(answer, 404, 'STREAM_NOT_FOUND');
    else if (stream.soft) this.#expect(answer, 410, 'STREAM_GONE');
    else if (stream.closed) {
      this.#expect(answer, 409, 'STREAM_CLOSED');
      this.#expectPosition(answer, stream);
    } else return true;
    return false;
  }

  #token(stream: ModelStream | undefined, offset: number): string {
    if (stream === undefined) return String(offset).padStart(16, '0');
    return stream.token(offset, (from) => this.#random.pick(from));
  }

  #expectPosition(answer: Answer, stream: ModelStream): void {
    const token = String(answer.headers['stream-next-offset']);
    assert.match(token, /^\d{16}_[\w-]{8}$/, describe(answer));
    stream.owner ??= token.slice(16);
    assert.equal(token, `${String(stream.tail).padStart(16, '0')}${stream.owner}`, describe(answer));
    assert.equal(answer.headers['stream-closed'] === 'true', stream.closed, describe(answer));
  }

  #expect(answer: Answer, status: number, code?: string): void {
    assert.equal(answer.status, status, describe(answer));
    if (code !== undefined) assert.equal((JSON.parse(answer.body) as { code: string }).code, code);
  }

  #send(method: string, path: string, headers: Headers = {}, body?: string | string[], query = ''): Promise<Answer> {
    return this.#http.send(method, `/${path}${query}`, headers, body);
  }
}

/** The type of a stream that an appender makes without naming one. */
function typeOf(path: string): string {
  if (path.endsWith('.json')) return 'application/json';
  return path.endsWith('.txt') ? 'text/plain' : 'application/octet-stream';
}

function producerHeaders(id: string, epoch: number, seq: number): Headers {
  return { 'Producer-Id': id, 'Producer-Epoch': String(epoch), 'Producer-Seq': String(seq) };
}

function describe(answer: Answer): string {
  return `${answer.status} ${JSON.stringify(answer.headers)} ${answer.body.slice(0, 300)}`;
}
