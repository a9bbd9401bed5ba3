import assert from 'node:assert/strict';
import { bytes, codeOf, contents, eventually, rejects, text } from './store-harness.js';
import type { CaseOfStore } from './store-suite.js';

/** Streams that begin as others, and what deletion means to them. */
export const forkCases: readonly CaseOfStore[] = [
  {
    name: 'forks at the tail, or where it is told, and shares what is before',
    async run(store) {
      await store.create('a', { contentType: 'text/plain', data: bytes('hello') });
      const whole = await store.create('whole', { fork: { path: 'a' } });
      assert.deepEqual([whole.info.tail, whole.info.contentType], [5, 'text/plain']);
      await store.create('part', { fork: { path: 'a', offset: 2 } });
      await store.create('none', { fork: { path: 'a', offset: 0 } });
      await store.create('sub', { fork: { path: 'a', offset: 1, subOffset: 2 } });
      await store.append('a', { data: bytes(' world') });
      await store.append('part', { data: bytes('y') });
      await store.append('sub', { data: bytes('p') });
      assert.equal(await contents(store, 'a'), 'hello world');
      assert.equal(await contents(store, 'whole'), 'hello');
      assert.equal(await contents(store, 'part'), 'hey');
      assert.equal(await contents(store, 'none'), '');
      assert.equal(await contents(store, 'sub'), 'help');
      assert.deepEqual((await store.stat('sub')).fork, { path: 'a', offset: 3 });
    },
  },
  {
    name: 'reads across a chain of forks in one go',
    async run(store) {
      await store.create('a', { data: bytes('aaaa') });
      await store.create('b', { fork: { path: 'a', offset: 3 }, data: bytes('bbb') });
      await store.create('c', { fork: { path: 'b', offset: 5 }, data: bytes('cc') });
      await store.create('d', { fork: { path: 'c', offset: 2 }, data: bytes('d') });
      assert.equal(await contents(store, 'b'), 'aaabbb');
      assert.equal(await contents(store, 'c'), 'aaabbcc');
      assert.equal(await contents(store, 'd'), 'aad');
      const { data, next } = await store.read('c', 2, { maxBytes: 4 });
      assert.deepEqual([text(data), next], ['abbc', 6]);
    },
  },
  {
    name: 'forks a stream of messages between messages',
    async run(store) {
      await store.create('a', { contentType: 'application/json', data: bytes('1\n22\n333\n') });
      await store.create('b', { fork: { path: 'a', offset: 2, subOffset: 1 } });
      assert.equal((await store.stat('b')).json, true);
      assert.equal(await contents(store, 'b'), '1\n22\n');
      await rejects(store.create('c', { fork: { path: 'a', offset: 1 } }), 'INVALID_FORK');
      await rejects(store.create('c', { fork: { path: 'a', offset: 2, subOffset: 3 } }), 'INVALID_FORK');
      await store.create('c', { fork: { path: 'a', subOffset: 0 } });
    },
  },
  {
    name: 'finds a fork again that was asked for in the same terms, and no other',
    async run(store) {
      await store.create('a', { data: bytes('hello') });
      const asked = { fork: { path: 'a', subOffset: 0 } };
      await store.create('f', asked);
      await store.append('a', { data: bytes('!') });
      assert.equal((await store.create('f', asked)).created, false);
      assert.equal((await store.create('f', { fork: { path: 'a' } })).created, false);
      await store.create('g', { fork: { path: 'a' }, ttlSeconds: 100 });
      await rejects(store.create('g', { fork: { path: 'a' } }), 'STREAM_EXISTS');
      await rejects(store.create('g', { ttlSeconds: 100 }), 'STREAM_EXISTS');
    },
  },
  {
    name: 'refuses forks of nothing, beyond the tail, and of another type',
    async run(store) {
      await rejects(store.create('f', { fork: { path: 'a' } }), 'FORK_SOURCE_NOT_FOUND');
      await store.create('a', { contentType: 'text/plain', data: bytes('hello') });
      await rejects(store.create('f', { fork: { path: 'a', offset: 6 } }), 'INVALID_FORK');
      await rejects(store.create('f', { fork: { path: 'a', offset: 3, subOffset: 3 } }), 'INVALID_FORK');
      await rejects(store.create('f', { fork: { path: 'a', offset: -1 } }), 'INVALID_FORK');
      await rejects(store.create('f', { fork: { path: 'a' }, contentType: 'text/html' }), 'CONTENT_TYPE_MISMATCH');
      // None of these has left a reference behind.
      await store.delete('a');
      await rejects(store.stat('a'), 'STREAM_NOT_FOUND');
    },
  },
  {
    name: 'finds the same fork again, and tells another one',
    async run(store) {
      await store.create('a', { data: bytes('hello') });
      await store.create('f', { fork: { path: 'a', offset: 2 } });
      assert.equal((await store.create('f', { fork: { path: 'a', offset: 2 } })).created, false);
      assert.equal((await store.create('f', { fork: { path: 'a', offset: 1, subOffset: 1 } })).created, false);
      await rejects(store.create('f', { fork: { path: 'a', offset: 3 } }), 'STREAM_EXISTS');
      await rejects(store.create('f'), 'STREAM_EXISTS');
      await rejects(store.create('a', { fork: { path: 'f' } }), 'STREAM_EXISTS');
    },
  },
  {
    name: 'starts a fork open and without producers, whatever its source is',
    async run(store) {
      await store.create('a');
      await store.append('a', {
        data: bytes('x'),
        close: true,
        producer: { id: 'p', epoch: 7, seq: 0 },
        streamSeq: 'z',
      });
      await store.create('f', { fork: { path: 'a' } });
      await store.append('f', { data: bytes('y'), producer: { id: 'p', epoch: 0, seq: 0 }, streamSeq: 'a' });
      assert.equal(await contents(store, 'f'), 'xy');
    },
  },
  {
    name: 'gives a fork its source’s lifetime unless it is given one',
    async run(store, _, time) {
      const expiresAtMs = time.now() + 3_600_000;
      await store.create('ttl', { ttlSeconds: 100 });
      await store.create('end', { expiresAtMs });
      const fork = async (path: string, options: { ttlSeconds?: number; expiresAtMs?: number } = {}) => {
        const { info } = await store.create(`f${Math.random()}`, { fork: { path }, ...options });
        return [info.ttlSeconds, info.expiresAtMs];
      };
      assert.deepEqual(await fork('ttl'), [100, undefined]);
      assert.deepEqual(await fork('ttl', { ttlSeconds: 5000 }), [5000, undefined]);
      assert.deepEqual(await fork('ttl', { expiresAtMs }), [undefined, expiresAtMs]);
      assert.deepEqual(await fork('end'), [undefined, expiresAtMs]);
      assert.deepEqual(await fork('end', { ttlSeconds: 7 }), [7, undefined]);
    },
  },
  {
    name: 'keeps what forks need of a deleted stream, and nobody else sees it',
    async run(store) {
      await store.create('a', { data: bytes('hello') });
      await store.create('f', { fork: { path: 'a' }, data: bytes('!') });
      await store.delete('a');
      await rejects(store.stat('a'), 'STREAM_GONE');
      await rejects(store.read('a', 0, { maxBytes: 1 }), 'STREAM_GONE');
      await rejects(store.append('a', { data: bytes('x') }), 'STREAM_GONE');
      await rejects(store.acquire('a', { create: {} }), 'STREAM_GONE');
      await rejects(store.delete('a'), 'STREAM_GONE');
      await rejects(store.create('a'), 'STREAM_EXISTS');
      await rejects(store.create('g', { fork: { path: 'a' } }), 'FORK_SOURCE_GONE');
      assert.deepEqual(
        (await store.list()).streams.map(({ path }) => path),
        ['f'],
      );
      assert.equal(await contents(store, 'f'), 'hello!');
    },
  },
  {
    name: 'frees deleted streams with the last fork that needed them',
    async run(store) {
      await store.create('a', { data: bytes('1') });
      await store.create('b', { fork: { path: 'a' }, data: bytes('2') });
      await store.create('c', { fork: { path: 'b' }, data: bytes('3') });
      await store.delete('a');
      await store.delete('b');
      assert.equal(await contents(store, 'c'), '123');
      await store.delete('c');
      for (const path of ['a', 'b']) {
        await eventually(async () => (await codeOf(store.stat(path))) === 'STREAM_NOT_FOUND', `${path} is freed`);
      }
      assert.equal((await store.create('a')).info.tail, 0);
    },
  },
  {
    name: 'keeps a stream that still lives when its forks go',
    async run(store) {
      await store.create('a', { data: bytes('1') });
      await store.create('b', { fork: { path: 'a' } });
      await store.delete('b');
      assert.equal(await contents(store, 'a'), '1');
      await store.delete('a');
      await rejects(store.stat('a'), 'STREAM_NOT_FOUND');
    },
  },
  {
    name: 'keeps forks and what they need beyond its own end',
    reopens: true,
    async run(store, reopen) {
      await store.create('a', { data: bytes('hello') });
      await store.create('f', { fork: { path: 'a', offset: 4 }, data: bytes('!') });
      await store.delete('a');
      await store.close();
      const again = await reopen(store);
      await rejects(again.stat('a'), 'STREAM_GONE');
      assert.equal(await contents(again, 'f'), 'hell!');
      await again.delete('f');
      await eventually(async () => (await codeOf(again.stat('a'))) === 'STREAM_NOT_FOUND', 'a is freed');
    },
  },
];
