import assert from 'node:assert/strict';
import { bytes, contents, lasting, rejects } from './store-harness.js';
import type { CaseOfStore } from './store-suite.js';

/** What may be appended: creation, order, closure, types, producers, sequences. */
export const appendCases: readonly CaseOfStore[] = [
  {
    name: 'creates a stream once, and says so when it is there already',
    async run(store) {
      const first = await store.create('a', { contentType: 'text/plain' });
      assert.equal(first.created, true);
      assert.equal(first.info.tail, 0);
      const second = await store.create('a', { contentType: 'Text/Plain; charset=utf-8' });
      assert.equal(second.created, false);
      assert.equal(second.info.id, first.info.id);
      await rejects(store.create('a', { contentType: 'text/html' }), 'STREAM_EXISTS');
      await rejects(store.create('a', { contentType: 'text/plain', closed: true }), 'STREAM_EXISTS');
      await rejects(store.create('a', { contentType: 'text/plain', ttlSeconds: 5 }), 'STREAM_EXISTS');
    },
  },
  {
    name: 'gives a stream the type of its extension unless told otherwise',
    async run(store) {
      assert.equal((await store.create('a.txt')).info.contentType, 'text/plain; charset=utf-8');
      assert.equal((await store.create('a')).info.contentType, 'application/octet-stream');
      assert.equal((await store.create('b.txt', { contentType: 'image/png' })).info.contentType, 'image/png');
    },
  },
  {
    name: 'makes a stream of messages only for who says so',
    async run(store) {
      assert.equal((await store.create('a.json')).info.json, false);
      assert.equal((await store.create('a', { contentType: 'application/json; charset=utf-8' })).info.json, true);
    },
  },
  {
    name: 'creates with first data, closed if wanted',
    async run(store) {
      const { info } = await store.create('a', { data: bytes('all'), closed: true });
      assert.equal(info.tail, 3);
      assert.equal(info.closed, true);
      assert.equal(await contents(store, 'a'), 'all');
      await rejects(store.append('a', { data: bytes('x') }), 'STREAM_CLOSED');
    },
  },
  {
    name: 'refuses names that are no paths',
    async run(store) {
      const names = ['', '/a', 'a/', 'a//b', '.', '..', 'a/../b', 'a%2F..%2Fb', 'a\\b', 'a\0b', 'x'.repeat(256)];
      // Too long as names of files.
      names.push(`.${'x'.repeat(253)}`, `%2E${'x'.repeat(251)}`);
      for (const path of names) {
        await rejects(store.create(path), 'INVALID_PATH');
        await rejects(store.append(path, { data: bytes('x') }), 'INVALID_PATH');
        await rejects(store.stat(path), 'INVALID_PATH');
        await rejects(store.read(path, 0, { maxBytes: 1 }), 'INVALID_PATH');
        await rejects(store.subscribe(path), 'INVALID_PATH');
        await rejects(store.acquire(path, { create: {} }), 'INVALID_PATH');
        await rejects(store.delete(path), 'INVALID_PATH');
      }
    },
  },
  {
    name: 'keeps names that files cannot have, or have to themselves, apart from all others',
    async run(store) {
      const paths = [
        ...['a/b', 'a%2Fb', 'a%252Fb', 'a%2fb', 'a/.b', 'a/%2Eb', 'a/%252Eb', 'a/%2eb', 'a/..b'],
        ...[
          '.millrace',
          '.millrace/lock',
          '.millrace%2Fjournal',
          '%2Emillrace',
          '%2F',
          '%2F%2F',
          '.x%2Fa',
          '100%',
          '100%25',
        ],
        ...[`.${'x'.repeat(252)}`, `%2E${'x'.repeat(250)}`],
      ];
      for (const path of paths) await store.create(path, { data: bytes(path) });
      for (const path of paths) assert.equal(await contents(store, path), path);
      const listed = async () => (await store.list()).streams.map(({ path }) => path);
      assert.deepEqual(await listed(), [...paths].sort());
      for (const path of paths) await store.delete(path);
      assert.deepEqual(await listed(), []);
    },
  },
  {
    name: 'lets a path and paths below it be streams at once',
    async run(store) {
      await store.create('a/b', { data: bytes('below') });
      await store.create('a', { data: bytes('above') });
      await store.create('a/b/c', { data: bytes('deeper') });
      assert.equal(await contents(store, 'a'), 'above');
      assert.equal(await contents(store, 'a/b'), 'below');
      assert.equal(await contents(store, 'a/b/c'), 'deeper');
    },
  },
  {
    name: 'appends in the order of the calls and answers with the tail',
    async run(store) {
      await store.create('a');
      const answers = await Promise.all(['1', '22', '333'].map((each) => store.append('a', { data: bytes(each) })));
      assert.deepEqual(
        answers.map(({ offset }) => offset),
        [1, 3, 6],
      );
      assert.equal(await contents(store, 'a'), '122333');
    },
  },
  {
    name: 'keeps every byte value',
    async run(store) {
      const all = Uint8Array.from({ length: 256 }, (_, value) => value);
      await store.create('a', { data: all });
      await store.append('a', { data: all });
      const { data } = await store.read('a', 0, { maxBytes: 1000 });
      assert.deepEqual(Buffer.from(data), Buffer.concat([all, all]));
    },
  },
  {
    name: 'keeps appends larger than anything it does at once',
    async run(store) {
      const large = Buffer.alloc(3_000_000, 'millrace ');
      await store.create('a');
      await Promise.all([1, 2, 3].map(() => store.append('a', { data: large })));
      assert.equal(await contents(store, 'a'), large.toString().repeat(3));
    },
  },
  {
    name: 'refuses appends to what is not there, of nothing, and of another type',
    async run(store) {
      await rejects(store.append('a', { data: bytes('x') }), 'STREAM_NOT_FOUND');
      await store.create('a', { contentType: 'text/plain' });
      await rejects(store.append('a', {}), 'EMPTY_APPEND');
      await rejects(store.append('a', { data: bytes('') }), 'EMPTY_APPEND');
      await rejects(store.append('a', { data: bytes('x'), contentType: 'text/html' }), 'CONTENT_TYPE_MISMATCH');
      await store.append('a', { data: bytes('x'), contentType: 'text/plain; charset=utf-8' });
      assert.equal(await contents(store, 'a'), 'x');
    },
  },
  {
    name: 'closes for good, with or without last data',
    async run(store) {
      const { info } = await store.create('a');
      assert.deepEqual(await store.append('a', { data: bytes('end'), close: true }), {
        streamId: info.id,
        offset: 3,
        duplicate: false,
        closed: true,
      });
      assert.equal((await rejects(store.append('a', { data: bytes('x') }), 'STREAM_CLOSED')).offset, 3);
      await rejects(store.append('a', { data: bytes('x'), close: true }), 'STREAM_CLOSED');
      // Only to close it once more changes nothing, and is no error.
      assert.equal((await store.append('a', { close: true })).closed, true);
      await store.create('b');
      await store.append('b', { close: true, contentType: 'anything/else' });
      assert.equal((await store.stat('b')).closed, true);
    },
  },
  {
    name: 'says that it is closed before it says anything else',
    async run(store) {
      await store.create('a', { contentType: 'text/plain', closed: true });
      await rejects(
        store.append('a', {
          data: bytes('x'),
          contentType: 'text/html',
          producer: { id: 'p', epoch: 0, seq: 7 },
        }),
        'STREAM_CLOSED',
      );
    },
  },
  {
    name: 'takes whole lines only in a stream of messages',
    async run(store) {
      await store.create('a', { contentType: 'application/json', data: bytes('1\n') });
      await rejects(store.append('a', { data: bytes('2') }), 'INVALID_JSON');
      await rejects(store.create('b', { contentType: 'application/json', data: bytes('2') }), 'INVALID_JSON');
      await store.append('a', { data: bytes('2\n3\n') });
      assert.equal(await contents(store, 'a'), '1\n2\n3\n');
    },
  },
  {
    name: 'appends what a producer sends twice only once',
    async run(store) {
      await store.create('a');
      const send = (seq: number) => store.append('a', { data: bytes(`${seq}`), producer: { id: 'p', epoch: 0, seq } });
      await send(0);
      await send(1);
      // Sent again while the first is on its way, and long after.
      const [first, again] = await Promise.all([send(2), send(2)]);
      assert.deepEqual([first.duplicate, again.duplicate], [false, true]);
      const old = await send(0);
      const { streamId } = first;
      assert.deepEqual(old, { streamId, offset: 3, duplicate: true, closed: false, producer: { epoch: 0, seq: 2 } });
      assert.equal(await contents(store, 'a'), '012');
    },
  },
  {
    name: 'refuses producers that are fenced, skip, or begin wrongly',
    async run(store) {
      await store.create('a');
      const send = (epoch: number, seq: number) =>
        store.append('a', { data: bytes('x'), producer: { id: 'p', epoch, seq } });
      assert.deepEqual(await rejects(send(3, 1), 'PRODUCER_SEQ_GAP'), { expectedSeq: 0, receivedSeq: 1 });
      await send(3, 0);
      assert.deepEqual(await rejects(send(3, 2), 'PRODUCER_SEQ_GAP'), { expectedSeq: 1, receivedSeq: 2 });
      assert.equal((await rejects(send(2, 1), 'PRODUCER_FENCED')).epoch, 3);
      await rejects(send(4, 1), 'PRODUCER_EPOCH_START');
      await send(4, 0);
      assert.equal((await rejects(send(3, 1), 'PRODUCER_FENCED')).epoch, 4);
      // Another producer has numbers of its own.
      await store.append('a', { data: bytes('y'), producer: { id: 'q', epoch: 0, seq: 0 } });
      assert.equal(await contents(store, 'a'), 'xxy');
    },
  },
  {
    name: 'lets the append that closed a stream be repeated, and no other',
    async run(store) {
      await store.create('a');
      const close = (seq: number, id = 'p') =>
        store.append('a', { data: bytes('end'), close: true, producer: { id, epoch: 0, seq } });
      await close(0);
      assert.equal((await close(0)).duplicate, true);
      await rejects(close(1), 'STREAM_CLOSED');
      await rejects(close(0, 'q'), 'STREAM_CLOSED');
      assert.equal(await contents(store, 'a'), 'end');
    },
  },
  {
    name: 'orders stream sequences byte by byte',
    async run(store) {
      await store.create('a');
      const send = (streamSeq: string) => store.append('a', { data: bytes('x'), streamSeq });
      await send('2');
      await rejects(send('10'), 'STREAM_SEQ_CONFLICT');
      await rejects(send('2'), 'STREAM_SEQ_CONFLICT');
      await send('20');
      await send('b');
      await rejects(send('B'), 'STREAM_SEQ_CONFLICT');
      // U+FFFF sorts before U+10000 in UTF-8, after it in UTF-16.
      await send('\uffff');
      await send('\u{10000}');
    },
  },
  {
    name: 'remembers producers, sequences and closure',
    reopens: true,
    async run(store, reopen) {
      await store.create('a', { contentType: 'application/json', ttlSeconds: 3600 });
      await store.append('a', { data: bytes('1\n'), producer: { id: 'p', epoch: 2, seq: 0 }, streamSeq: 'k' });
      await store.append('a', { data: bytes('2\n'), close: true, producer: { id: 'p', epoch: 2, seq: 1 } });
      const before = await store.stat('a');
      await store.close();
      const again = await reopen(store);
      assert.deepEqual(lasting(await again.stat('a')), lasting(before));
      const close = await again.append('a', {
        data: bytes('2\n'),
        close: true,
        producer: { id: 'p', epoch: 2, seq: 1 },
      });
      assert.equal(close.duplicate, true);
      assert.equal(await contents(again, 'a'), '1\n2\n');
      await again.create('b');
    },
  },
  {
    name: 'goes on where it was left, producer and sequence included',
    reopens: true,
    async run(store, reopen) {
      await store.create('a');
      await store.append('a', { data: bytes('x'), producer: { id: 'p', epoch: 0, seq: 0 }, streamSeq: 'm' });
      await store.close();
      const again = await reopen(store);
      const repeated = await again.append('a', { data: bytes('x'), producer: { id: 'p', epoch: 0, seq: 0 } });
      assert.equal(repeated.duplicate, true);
      await rejects(again.append('a', { data: bytes('y'), streamSeq: 'a' }), 'STREAM_SEQ_CONFLICT');
      await again.append('a', { data: bytes('y'), producer: { id: 'p', epoch: 0, seq: 1 } });
      assert.equal(await contents(again, 'a'), 'xy');
    },
  },
];
