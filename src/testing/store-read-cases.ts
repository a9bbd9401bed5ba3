import assert from 'node:assert/strict';
import type { StoreChange, StreamInfo } from '../log/index.js';
import { bytes, contents, follow, lasting, nextEvent, rejects, text } from './store-harness.js';
import type { CaseOfStore } from './store-suite.js';

/** How streams are read, followed, listed and observed. */
export const readCases: readonly CaseOfStore[] = [
  {
    name: 'reads from any offset, as much as asked for',
    async run(store) {
      await store.create('a', { data: bytes('0123456789') });
      const read = async (offset: number, maxBytes: number) => {
        const { data, next, info } = await store.read('a', offset, { maxBytes });
        return [text(data), next, info.tail];
      };
      assert.deepEqual(await read(0, 4), ['0123', 4, 10]);
      assert.deepEqual(await read(4, 100), ['456789', 10, 10]);
      assert.deepEqual(await read(10, 100), ['', 10, 10]);
      assert.equal((await rejects(store.read('a', 11, { maxBytes: 1 }), 'OFFSET_OUT_OF_RANGE')).tail, 10);
      await rejects(store.read('a', -1, { maxBytes: 1 }), 'OFFSET_OUT_OF_RANGE');
      await rejects(store.read('a', 0.5, { maxBytes: 1 }), 'OFFSET_OUT_OF_RANGE');
      await rejects(store.read('b', 0, { maxBytes: 1 }), 'STREAM_NOT_FOUND');
    },
  },
  {
    name: 'says, where it can tell, when the newest byte came',
    async run(store, _, time) {
      const before = time.now();
      const { info: first } = await store.create('a', { data: bytes('1') });
      if (first.modifiedAtMs === undefined) return;
      assert.ok(first.modifiedAtMs >= before && first.modifiedAtMs <= time.now());
      await time.pass(10);
      await store.append('a', { data: bytes('2') });
      const second = await store.stat('a');
      assert.ok((second.modifiedAtMs as number) > first.modifiedAtMs);
      // Reading changes nothing, nor does closing.
      await store.read('a', 0, { maxBytes: 10 });
      await store.append('a', { close: true });
      assert.equal((await store.stat('a')).modifiedAtMs, second.modifiedAtMs);
    },
  },
  {
    name: 'reads whole messages, however long',
    async run(store) {
      const long = `"${'x'.repeat(5000)}"\n`;
      await store.create('a', { contentType: 'application/json', data: bytes(`1\n22\n${long}4\n`) });
      const read = async (offset: number, maxBytes: number) => {
        const { data, next } = await store.read('a', offset, { maxBytes });
        return [text(data), next];
      };
      assert.deepEqual(await read(0, 4), ['1\n', 2]);
      assert.deepEqual(await read(0, 5), ['1\n22\n', 5]);
      assert.deepEqual(await read(5, 10), [long, 5 + long.length]);
      assert.deepEqual(await read(5 + long.length, 10), ['4\n', 7 + long.length]);
    },
  },
  {
    name: 'ends a read that is aborted',
    async run(store) {
      await store.create('a', { data: bytes('x') });
      const signal = AbortSignal.abort(new Error('enough'));
      await assert.rejects(store.read('a', 0, { maxBytes: 1, signal }), /enough/);
    },
  },
  {
    name: 'shows followers every byte once, from the tail they joined at',
    async run(store) {
      await store.create('a', { data: bytes('before ') });
      const { tail, events } = await follow(store, 'a');
      assert.equal(tail, 7);
      const appends = Array.from({ length: 50 }, (_, index) => store.append('a', { data: bytes(`${index},`) }));
      await Promise.all(appends);
      await store.append('a', { close: true });
      let seen = '';
      let offset = tail;
      for await (const event of events) {
        assert.equal(event.offset, offset);
        assert.equal(event.tail, offset + event.data.length);
        offset = event.tail;
        seen += text(event.data);
        if (event.closed) break;
      }
      assert.equal(`before ${seen}`, await contents(store, 'a'));
    },
  },
  {
    name: 'has made an append visible when it is acknowledged, and not before',
    async run(store) {
      await store.create('a');
      const { events } = await follow(store, 'a');
      const append = store.append('a', { data: bytes('x') });
      assert.equal((await store.stat('a')).tail, 0);
      await append;
      assert.equal(events.isReady, true);
      assert.equal((await store.stat('a')).tail, 1);
    },
  },
  {
    name: 'ends the events of a deleted stream',
    async run(store) {
      await store.create('a', { data: bytes('x') });
      const { events } = await follow(store, 'a');
      await store.delete('a');
      assert.equal((await nextEvent(events)).deleted, true);
      assert.equal((await events.next()).done, true);
    },
  },
  {
    name: 'ends the events of all streams when it is closed',
    async run(store) {
      await store.create('a');
      const { events } = await follow(store, 'a');
      const next = events.next();
      await store.close();
      assert.equal((await next).done, true);
    },
  },
  {
    name: 'tells observers of every change, when it is visible',
    async run(store) {
      const changes: string[] = [];
      const tails: Promise<StreamInfo>[] = [];
      const stop = store.observe(({ path, kind, tail }: StoreChange) => {
        changes.push(`${path} ${kind} ${tail}`);
        if (kind !== 'deleted') tails.push(store.stat(path));
      });
      await store.create('a', { data: bytes('1') });
      await store.append('a', { data: bytes('23') });
      await store.append('a', { data: bytes('4'), close: true });
      await store.delete('a');
      stop();
      await store.create('b');
      assert.deepEqual(changes, ['a created 1', 'a appended 3', 'a appended 4', 'a closed 4', 'a deleted 4']);
      assert.deepEqual(
        (await Promise.all(tails)).map(({ tail }) => tail),
        [1, 3, 4, 4],
      );
    },
  },
  {
    name: 'lists streams in order, by prefix, page by page',
    async run(store) {
      const paths = ['a', 'a.txt', 'a/b', 'a/b/c', 'a/z', 'b', 'b-', 'b/x', 'b0', 'ö', '一'];
      paths.push('.a/x', '.b', '%a', 'a/!', 'a/%2E', 'a/%2Fb', 'a/-', 'a/.b', 'a/.b/c', 'a/.b.c', 'a%2Fb');
      for (const path of [...paths].reverse()) await store.create(path);
      const all = async (options: { prefix?: string; limit?: number }) => {
        const found: string[] = [];
        let after: string | undefined;
        for (;;) {
          const page = await store.list({ ...options, ...(after === undefined ? {} : { after }) });
          assert.ok(page.streams.length <= (options.limit ?? 1000));
          found.push(...page.streams.map(({ path }) => path));
          if (page.next === undefined) return found;
          after = page.next;
        }
      };
      const sorted = [...paths].sort();
      for (const limit of [1, 2, 3, 100]) assert.deepEqual(await all({ limit }), sorted);
      for (const prefix of ['', 'a', 'a/', 'a/b', 'b', 'b/', 'c', 'ö', '.', 'a/.', 'a/.b', 'a/.b/', 'a/%', 'a%2F']) {
        const expected = sorted.filter((path) => path.startsWith(prefix));
        assert.deepEqual(await all({ prefix, limit: 2 }), expected, prefix);
      }
      await store.delete('a/b');
      assert.deepEqual(await all({ prefix: 'a/b' }), ['a/b/c']);
    },
  },
  {
    name: 'keeps what it was given',
    reopens: true,
    async run(store, reopen) {
      await store.create('d/a', { data: bytes('one ') });
      await store.append('d/a', { data: bytes('two') });
      await store.create('d', { data: bytes('above') });
      await store.create('gone', { data: bytes('x') });
      await store.delete('gone');
      const before = await store.stat('d/a');
      await store.close();
      const again = await reopen(store);
      assert.deepEqual(lasting(await again.stat('d/a')), lasting(before));
      assert.equal(await contents(again, 'd/a'), 'one two');
      assert.equal(await contents(again, 'd'), 'above');
      await rejects(again.stat('gone'), 'STREAM_NOT_FOUND');
      assert.deepEqual(
        (await again.list()).streams.map(({ path }) => path),
        ['d', 'd/a'],
      );
    },
  },
];
