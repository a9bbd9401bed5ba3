import assert from 'node:assert/strict';
import type { StoreChange } from '../log/index.js';
import { bytes, rejects } from './store-harness.js';
import type { CaseOfStore } from './store-suite.js';

/** Whose offsets mean something on which stream. */
export const identityCases: readonly CaseOfStore[] = [
  {
    name: 'names each stream, also one that takes the place of another',
    async run(store) {
      const { info } = await store.create('a', { data: bytes('old') });
      assert.match(info.id, /^[A-Za-z0-9_-]{16,}$/);
      assert.equal(info.ancestors, undefined);
      assert.equal((await store.append('a', { data: bytes('!') })).streamId, info.id);
      for (const read of [store.stat('a'), store.read('a', 0, { maxBytes: 1 }).then((result) => result.info)]) {
        assert.equal((await read).id, info.id);
      }
      await store.delete('a');
      const next = await store.create('a', { data: bytes('new') });
      assert.notEqual(next.info.id.slice(0, 7), info.id.slice(0, 7));
    },
  },
  {
    name: 'tells observers which stream changed',
    async run(store) {
      const changes: StoreChange[] = [];
      store.observe((change) => changes.push(change));
      const { info } = await store.create('a', { data: bytes('x') });
      const fork = (await store.create('f', { fork: { path: 'a' } })).info;
      await store.append('f', { data: bytes('y'), close: true });
      await store.delete('a');
      assert.deepEqual(
        changes.map(({ path, kind, lineage }) => [path, kind, lineage.id, lineage.ancestors]),
        [
          ['a', 'created', info.id, undefined],
          ['f', 'created', fork.id, [{ id: info.id, offset: 1 }]],
          ['f', 'appended', fork.id, [{ id: info.id, offset: 1 }]],
          ['f', 'closed', fork.id, [{ id: info.id, offset: 1 }]],
          ['a', 'deleted', info.id, undefined],
        ],
      );
    },
  },
  {
    name: 'tells a fork whose offsets are its own, nearest first, and up to where',
    async run(store) {
      const a = (await store.create('a', { data: bytes('aaaa') })).info;
      const b = (await store.create('b', { fork: { path: 'a', offset: 3 }, data: bytes('bbb') })).info;
      const c = (await store.create('c', { fork: { path: 'b', offset: 5 } })).info;
      const d = (await store.create('d', { fork: { path: 'c', offset: 2 } })).info;
      assert.deepEqual(b.ancestors, [{ id: a.id, offset: 3 }]);
      assert.deepEqual(c.ancestors, [
        { id: b.id, offset: 5 },
        { id: a.id, offset: 3 },
      ]);
      assert.deepEqual(d.ancestors, [
        { id: c.id, offset: 2 },
        { id: b.id, offset: 2 },
        { id: a.id, offset: 2 },
      ]);
      for (const path of ['a', 'b', 'c']) await store.delete(path);
      assert.deepEqual((await store.stat('d')).ancestors, d.ancestors);
    },
  },
  {
    name: 'forks only the stream that is meant',
    async run(store) {
      const { info } = await store.create('a', { data: bytes('old') });
      await store.delete('a');
      const next = (await store.create('a', { data: bytes('newer') })).info;
      await rejects(store.create('f', { fork: { path: 'a', id: info.id, offset: 3 } }), 'OFFSET_OF_ANOTHER_STREAM');
      await rejects(store.stat('f'), 'STREAM_NOT_FOUND');
      assert.equal((await store.create('f', { fork: { path: 'a', id: next.id, offset: 3 } })).info.tail, 3);
    },
  },
  {
    name: 'knows who a stream is beyond its own end',
    reopens: true,
    async run(store, reopen) {
      const a = (await store.create('a', { data: bytes('aaaa') })).info;
      await store.create('b', { fork: { path: 'a', offset: 3 } });
      const c = (await store.create('c', { fork: { path: 'b', offset: 2 } })).info;
      await store.delete('b');
      await store.close();
      const again = await reopen(store);
      assert.equal((await again.stat('a')).id, a.id);
      const kept = await again.stat('c');
      assert.deepEqual([kept.id, kept.ancestors], [c.id, c.ancestors]);
    },
  },
];
