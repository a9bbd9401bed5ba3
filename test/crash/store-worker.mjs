// Appends to many streams until it is killed, and says on its standard output, before and after each call, what it
// does. The test that starts it knows from that what must be there afterwards, and what may be.
import { createHash } from 'node:crypto';
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createFileStore } from '../../dist/log/index.js';

const [, , root, seedText] = process.argv;
let seed = Number(seedText);
/** Mulberry32: the same choices for the same seed. */
const random = () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};
const below = (n) => Math.floor(random() * n);
// Synchronous, so that what was said is out before the next thing happens, whenever the end comes.
const say = (line) => writeSync(1, `${JSON.stringify(line)}\n`);

const store = await createFileStore({
  root,
  journalSegmentBytes: 2 * 1024 * 1024,
  journalBytesMax: 6 * 1024 * 1024,
  flushIntervalMs: 10 + below(50),
  dirtyStreamsMax: 1 + below(20),
  openFilesMax: 4,
  streamsInMemoryMax: 8,
  commitBytesMax: 200_000,
});
void store.failed.then((error) => say({ failed: String(error) }));

const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const hash = (data) => createHash('sha256').update(data).digest('hex');

/** What a path holds, as readers see it and as the file system does. */
async function look(path) {
  let info;
  try {
    info = await store.stat(path);
  } catch (error) {
    return { path, state: error.code };
  }
  const parts = [];
  for (let offset = 0; offset < info.tail; ) {
    const { data, next } = await store.read(path, offset, { maxBytes: 1 << 20 });
    parts.push(data);
    offset = next;
  }
  const { tail, closed } = info;
  const inFile = info.fork === undefined ? fileHash(path) : undefined;
  return { path, state: 'live', tail, closed, hash: hash(Buffer.concat(parts)), file: inFile };
}

function fileHash(path) {
  try {
    return hash(readFileSync(join(root, path)));
  } catch {
    // It lives in the overflow directory.
    return undefined;
  }
}

const { value: question } = await input.next();
const looks = [];
for (const path of JSON.parse(question).paths) looks.push(await look(path));
const { streams } = await store.list();
say({ looks, listed: streams.map(({ path }) => path) });

const { value: answer } = await input.next();
const { workers } = JSON.parse(answer);
let calls = 0;

/** Does one call and tells of it. */
async function call(path, action, perform) {
  const id = calls++;
  say({ call: id, path, ...action });
  try {
    const result = await perform();
    say({ done: id });
    return result;
  } catch (error) {
    say({ refused: id, path, action, code: error.code, message: String(error) });
    throw error;
  }
}

const fill = (tag, length) => Buffer.alloc(length, tag);
const size = () => (below(40) === 0 ? 300_000 : 1 + below(below(2) === 0 ? 50 : 3000));
const durability = () => (below(3) === 0 ? 'written' : 'fsync');

async function appendTo(stream) {
  const { path } = stream;
  const tag = `${path}#${seedText}.${calls}|`;
  const length = size();
  const data = fill(tag, length);
  const close = below(60) === 0;
  const base = { tag, length, close };
  stream.closed ||= close;
  if (stream.producer !== undefined) {
    const producer = { ...stream.producer, seq: stream.producer.seq + 1 };
    stream.producer = producer;
    return call(path, { kind: 'append', ...base, producer }, () =>
      store.append(path, { data, close, producer, durability: durability() }),
    );
  }
  return call(path, { kind: 'append', ...base }, () => store.append(path, { data, close, durability: durability() }));
}

async function structural(stream, fork) {
  const { path } = stream;
  if (stream.state === 'live') {
    await call(path, { kind: 'delete' }, () => store.delete(path));
    stream.state = fork?.state === 'live' && fork.from === path ? 'STREAM_GONE' : 'STREAM_NOT_FOUND';
    return;
  }
  const tag = `${path}#${seedText}.${calls}|`;
  const length = below(3) === 0 ? 0 : size();
  await call(path, { kind: 'create', tag, length }, () => store.create(path, { data: fill(tag, length) }));
  Object.assign(stream, { state: 'live', closed: false });
  stream.producer = below(2) === 0 ? { id: 'p', epoch: below(3), seq: -1 } : undefined;
}

/** One stream and its fork; calls on both go on at the same time, but what creates or deletes waits for all. */
async function work({ stream, fork }) {
  if (stream.producer !== undefined && stream.producer.seq >= 0 && stream.state === 'live') {
    const again = { data: fill('x', 1), close: stream.closed, producer: stream.producer };
    const { duplicate } = await store.append(stream.path, again);
    if (!duplicate) say({ forgotten: stream.path, producer: stream.producer });
  }
  for (;;) {
    const dice = below(30);
    if (stream.state !== 'live' || stream.closed || dice === 0) {
      if (stream.state === 'STREAM_GONE') {
        // Where the fork is gone already, the end came before its source was freed.
        if (fork.state === 'live') {
          await call(fork.path, { kind: 'delete', frees: stream.path }, () => store.delete(fork.path));
          fork.state = 'STREAM_NOT_FOUND';
        }
        while ((await look(stream.path)).state !== 'STREAM_NOT_FOUND') await new Promise((go) => setTimeout(go, 1));
        stream.state = 'STREAM_NOT_FOUND';
      }
      await structural(stream, fork);
    } else if (dice === 1 && fork.state !== 'live') {
      const { tail } = await store.stat(stream.path);
      const offset = below(tail + 1);
      await call(fork.path, { kind: 'fork', from: stream.path, offset }, () =>
        store.create(fork.path, { fork: { path: stream.path, offset } }),
      );
      Object.assign(fork, { state: 'live', closed: false, from: stream.path });
    } else if (dice === 2 && fork.state === 'live') {
      await call(fork.path, { kind: 'delete' }, () => store.delete(fork.path));
      fork.state = 'STREAM_NOT_FOUND';
    } else {
      const appends = [];
      for (let count = 1 + below(5); count > 0; count--) {
        const onto = fork.state === 'live' && !fork.closed && below(3) === 0 ? fork : stream;
        if (!onto.closed) appends.push(appendTo(onto));
      }
      await Promise.all(appends);
    }
  }
}

// What is refused has been told of; the test decides.
await Promise.all(workers.map((worker) => work(worker).catch(() => {})));
