import assert from 'node:assert/strict';
import { bytes, codeOf, contents, eventually, follow, rejects } from './store-harness.js';
import type { CaseOfStore } from './store-suite.js';

/** Deletion, expiry, limits and the end of the store. */
export const lifetimeCases: readonly CaseOfStore[] = [
  {
    name: 'deletes a stream; another one at its path is another one',
    async run(store) {
      const { info } = await store.create('a', { data: bytes('old') });
      await store.append('a', { data: bytes('!'), producer: { id: 'p', epoch: 0, seq: 0 } });
      await store.delete('a');
      await rejects(store.stat('a'), 'STREAM_NOT_FOUND');
      await rejects(store.delete('a'), 'STREAM_NOT_FOUND');
      const again = await store.create('a', { data: bytes('new') });
      assert.notEqual(again.info.id, info.id);
      await store.append('a', { data: bytes('!'), producer: { id: 'p', epoch: 0, seq: 0 } });
      assert.equal(await contents(store, 'a'), 'new!');
    },
  },
  {
    name: 'commits what is asked for at once in the order of the calls',
    async run(store) {
      const results = await Promise.allSettled([
        store.create('a', { data: bytes('1') }),
        store.append('a', { data: bytes('2') }),
        store.delete('a'),
        store.append('a', { data: bytes('3') }),
        store.create('a', { data: bytes('4') }),
        store.append('a', { data: bytes('5') }),
      ]);
      assert.deepEqual(
        results.map(({ status }) => status),
        ['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
      );
      assert.equal(await contents(store, 'a'), '45');
    },
  },
  {
    name: 'lets a stream expire that nobody uses',
    async run(store, _, time) {
      await store.create('a', { ttlSeconds: 1, data: bytes('x') });
      await store.create('b', { expiresAtMs: time.now() + 1000 });
      assert.equal((await store.stat('a')).ttlSeconds, 1);
      await time.pass(1100);
      for (const path of ['a', 'b']) {
        await rejects(store.stat(path), 'STREAM_NOT_FOUND');
        await rejects(store.read(path, 0, { maxBytes: 1 }), 'STREAM_NOT_FOUND');
        await rejects(store.append(path, { data: bytes('y') }), 'STREAM_NOT_FOUND');
        await rejects(store.acquire(path), 'STREAM_NOT_FOUND');
        await rejects(store.delete(path), 'STREAM_NOT_FOUND');
        await rejects(store.create('f', { fork: { path } }), 'FORK_SOURCE_NOT_FOUND');
      }
      assert.deepEqual((await store.list()).streams, []);
      assert.equal((await store.create('a', { data: bytes('new') })).created, true);
      assert.equal(await contents(store, 'a'), 'new');
    },
  },
  {
    name: 'does not give away the path of a stream whose time by the wall clock has just come',
    async run(store, _, time) {
      const { info } = await store.create('a', { expiresAtMs: time.now() + 500, data: bytes('x') });
      await time.pass(600);
      await rejects(store.create('a'), 'STREAM_EXPIRED');
      await rejects(store.acquire('a', { create: {} }), 'STREAM_EXPIRED');
      assert.notEqual(info.expiresAtMs, undefined);
    },
  },
  {
    name: 'keeps a stream that is read, appended to or followed, but not for being asked about',
    async run(store, _, time) {
      const paths = ['read', 'append', 'followed', 'acquired', 'asked'];
      for (const path of paths) await store.create(path, { ttlSeconds: 2, data: bytes('x') });
      await follow(store, 'followed');
      await store.acquire('acquired');
      for (let passedMs = 0; passedMs < 2400; passedMs += 800) {
        await time.pass(800);
        await store.read('read', 0, { maxBytes: 1 });
        await store.append('append', { data: bytes('x') });
        if (passedMs === 0) await store.stat('asked');
      }
      for (const path of paths.slice(0, -1)) await store.stat(path);
      await rejects(store.stat('asked'), 'STREAM_NOT_FOUND');
    },
  },
  {
    name: 'treats an expired stream with forks as a deleted one',
    async run(store, _, time) {
      await store.create('a', { ttlSeconds: 1, data: bytes('x') });
      await store.create('b', { expiresAtMs: time.now() + 1000, data: bytes('y') });
      for (const path of ['a', 'b']) await store.create(`f/${path}`, { fork: { path }, ttlSeconds: 1000 });
      await time.pass(1100);
      for (const path of ['a', 'b']) {
        await rejects(store.stat(path), 'STREAM_GONE');
        await rejects(store.append(path, { data: bytes('x') }), 'STREAM_GONE');
        await rejects(store.delete(path), 'STREAM_GONE');
        await rejects(store.create('g', { fork: { path } }), 'FORK_SOURCE_GONE');
      }
      assert.equal(await contents(store, 'f/a'), 'x');
      assert.equal(await contents(store, 'f/b'), 'y');
      await store.delete('f/a');
      await eventually(async () => (await codeOf(store.stat('a'))) === 'STREAM_NOT_FOUND', 'a is freed');
    },
  },
  {
    name: 'refuses what can never be',
    async run(store) {
      await rejects(store.create('a', { ttlSeconds: 1, expiresAtMs: Date.now() }), 'INVALID_ARGUMENT');
      await rejects(store.create('a', { ttlSeconds: -1 }), 'INVALID_ARGUMENT');
      await rejects(store.create('a', { ttlSeconds: 1.5 }), 'INVALID_ARGUMENT');
      await rejects(store.create('a', { contentType: '' }), 'INVALID_ARGUMENT');
      await rejects(store.create('a', { contentType: 'text/plain\r\nX: y' }), 'INVALID_ARGUMENT');
      const producer = { id: 'p', epoch: 0, seq: 0 };
      await store.create('a');
      for (const wrong of [{ epoch: -1 }, { seq: 0.5 }, { id: '' }, { id: 'x'.repeat(5000) }]) {
        const append = { data: bytes('x'), producer: { ...producer, ...wrong } };
        await rejects(store.append('a', append), 'INVALID_ARGUMENT');
      }
      await rejects(store.append('a', { data: bytes('x'), streamSeq: 'x'.repeat(5000) }), 'INVALID_ARGUMENT');
    },
  },
  {
    name: 'commits what it has accepted before it closes, and takes nothing more',
    reopens: true,
    async run(store, reopen) {
      await store.create('a');
      const appends = ['1 ', '2 ', '3 '].map((each) => store.append('a', { data: bytes(each) }));
      const closed = store.close();
      await rejects(store.append('a', { data: bytes('x') }), 'STORE_CLOSED');
      await rejects(store.create('b'), 'STORE_CLOSED');
      await rejects(store.acquire('a'), 'STORE_CLOSED');
      await Promise.all(appends);
      await closed;
      await store.close();
      assert.equal((store.failure as { code?: string } | undefined)?.code, 'STORE_CLOSED');
      const again = await reopen(store);
      assert.equal(await contents(again, 'a'), '1 2 3 ');
    },
  },
  {
    name: 'remembers that a stream was followed and appended to for longer than it would have lived',
    reopens: true,
    async run(store, reopen, time) {
      const { info } = await store.create('a', { ttlSeconds: 2 });
      const { release } = await store.subscribe('a');
      const session = await store.acquire('a');
      await time.pass(2500);
      release();
      await session.release();
      await store.close();
      const again = await reopen(store);
      assert.equal((await again.stat('a')).id, info.id);
      await time.pass(2500);
      await rejects(again.stat('a'), 'STREAM_NOT_FOUND');
    },
  },
  {
    name: 'remembers when a stream was used last',
    reopens: true,
    async run(store, reopen, time) {
      const { info } = await store.create('a', { ttlSeconds: 4 });
      await time.pass(2000);
      await store.read('a', 0, { maxBytes: 1 });
      await store.close();
      const again = await reopen(store);
      // Had the read been forgotten, it would be gone by then.
      await time.pass(2500);
      assert.equal((await again.stat('a')).id, info.id);
      await time.pass(2000);
      await rejects(again.stat('a'), 'STREAM_NOT_FOUND');
    },
  },
];
