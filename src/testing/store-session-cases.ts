import assert from 'node:assert/strict';
import type { Store, StreamInfo } from '../log/index.js';
import { bytes, codeOf, contents, eventually, follow, nextEvent, rejects, text } from './store-harness.js';
import type { CaseOfStore } from './store-suite.js';

async function lastAppender(store: Store): Promise<unknown[]> {
  const info = await store.stat('a');
  return [info.appender, info.lastAppender];
}

/** Exclusive appenders. */
export const sessionCases: readonly CaseOfStore[] = [
  {
    name: 'lets one appender in at a time',
    async run(store) {
      const session = await store.acquire('a', { create: {} });
      await rejects(store.acquire('a'), 'APPENDER_ACTIVE');
      await rejects(store.append('a', { data: bytes('no') }), 'APPENDER_ACTIVE');
      await rejects(store.append('a', { close: true }), 'APPENDER_ACTIVE');
      assert.equal((await session.append(bytes('yes'))).offset, 3);
      assert.equal((await store.stat('a')).appender, true);
      await session.release();
      assert.equal(await session.ended, 'released');
      assert.equal((await store.stat('a')).appender, false);
      await store.append('a', { data: bytes('!') });
      assert.equal(await contents(store, 'a'), 'yes!');
    },
  },
  {
    name: 'acquires what is there, creates what is not if asked to',
    async run(store) {
      await rejects(store.acquire('a'), 'STREAM_NOT_FOUND');
      await store.create('a', { contentType: 'text/csv', data: bytes('x,y') });
      const session = await store.acquire('a', { create: {} });
      assert.equal(session.info.contentType, 'text/csv');
      assert.equal(session.info.tail, 3);
      assert.equal(session.committed, undefined);
      await store.create('b', { closed: true });
      await rejects(store.acquire('b'), 'STREAM_CLOSED');
    },
  },
  {
    name: 'frees a stream only when what was accepted is committed',
    async run(store) {
      const session = await store.acquire('a', { create: {} });
      const append = session.append(bytes('last words'));
      const [, next] = await Promise.all([session.release(), store.acquire('a')]);
      assert.equal((await append).offset, 10);
      assert.equal(next.info.tail, 10);
      await rejects(session.append(bytes('too late')), 'SESSION_ENDED');
    },
  },
  {
    name: 'tells followers when an appender comes and goes',
    async run(store) {
      await store.create('a');
      const { events } = await follow(store, 'a');
      const session = await store.acquire('a');
      assert.equal((await nextEvent(events)).appender, true);
      void session.append(bytes('x'));
      await session.release();
      const appended = await nextEvent(events);
      assert.deepEqual([text(appended.data), appended.appender], ['x', true]);
      const left = await nextEvent(events);
      assert.deepEqual([left.data.length, left.appender, left.tail], [0, false, 1]);
    },
  },
  {
    name: 'ends a session when its stream is closed or deleted',
    async run(store) {
      const closing = await store.acquire('a', { create: {} });
      assert.equal((await closing.append(bytes('x'), { close: true })).closed, true);
      assert.equal(await closing.ended, 'closed');
      await rejects(store.acquire('a'), 'STREAM_CLOSED');
      const deleted = await store.acquire('b', { create: {} });
      await store.delete('b');
      assert.equal(await deleted.ended, 'deleted');
      await rejects(deleted.append(bytes('x')), 'SESSION_ENDED');
      await deleted.release();
    },
  },
  {
    name: 'lets a newer instance of a producer take over, and tells it where the old one got to',
    async run(store) {
      const old = await store.acquire('a', { create: {}, producer: { id: 'p', epoch: 1 } });
      assert.deepEqual(old.committed, { epoch: 1, seq: -1 });
      await old.append(bytes('0'));
      const late = old.append(bytes('12'), { count: 2 });
      const newer = await store.acquire('a', { producer: { id: 'p', epoch: 2 } });
      assert.equal(await old.ended, 'fenced');
      assert.deepEqual((await late).producer, { epoch: 1, seq: 2 });
      assert.deepEqual(newer.committed, { epoch: 1, seq: 2 });
      await rejects(old.append(bytes('x')), 'SESSION_ENDED');
      assert.deepEqual((await newer.append(bytes('3'))).producer, { epoch: 2, seq: 0 });
      assert.equal(await contents(store, 'a'), '0123');
    },
  },
  {
    name: 'lets nobody else take over',
    async run(store) {
      const session = await store.acquire('a', { create: {}, producer: { id: 'p', epoch: 5 } });
      await rejects(store.acquire('a'), 'APPENDER_ACTIVE');
      await rejects(store.acquire('a', { producer: { id: 'q', epoch: 9 } }), 'APPENDER_ACTIVE');
      await rejects(store.acquire('a', { producer: { id: 'p', epoch: 5 } }), 'APPENDER_ACTIVE');
      assert.equal(
        (await rejects(store.acquire('a', { producer: { id: 'p', epoch: 4 } }), 'PRODUCER_FENCED')).epoch,
        5,
      );
      await session.release();
      // It never appended, and is fenced all the same.
      await rejects(store.acquire('a', { producer: { id: 'p', epoch: 4 } }), 'PRODUCER_FENCED');
    },
  },
  {
    name: 'resumes a producer exactly once, however often it comes back',
    async run(store) {
      const first = await store.acquire('a', { create: {}, producer: { id: 'p', epoch: 1 } });
      await first.append(bytes('0'));
      await first.append(bytes('1'));
      await first.release();
      // The answer to this one never reached its client.
      const lost = await store.acquire('a', { producer: { id: 'p', epoch: 2 } });
      await lost.release();
      const third = await store.acquire('a', { producer: { id: 'p', epoch: 3 } });
      assert.deepEqual(third.committed, { epoch: 1, seq: 1 });
      await third.release();
      const same = await store.acquire('a', { producer: { id: 'p', epoch: 3 } });
      assert.deepEqual((await same.append(bytes('2'))).producer, { epoch: 3, seq: 0 });
      await same.release();
      const more = await store.acquire('a', { producer: { id: 'p', epoch: 3 } });
      assert.deepEqual(more.committed, { epoch: 3, seq: 0 });
      assert.deepEqual((await more.append(bytes('3'))).producer, { epoch: 3, seq: 1 });
      await more.release();
      // Not only sessions: the numbering is the producer's.
      const single = { data: bytes('3'), producer: { id: 'p', epoch: 3, seq: 1 } };
      assert.equal((await store.append('a', single)).duplicate, true);
      assert.equal(await contents(store, 'a'), '0123');
    },
  },
  {
    name: 'fences an old producer, and resumes a new one, beyond its own end',
    reopens: true,
    async run(store, reopen) {
      const session = await store.acquire('a', { create: {}, producer: { id: 'p', epoch: 3 } });
      await session.append(bytes('012'), { count: 3 });
      await session.release();
      await (await store.acquire('a', { producer: { id: 'p', epoch: 4 } })).release();
      await store.close();
      const again = await reopen(store);
      await rejects(again.acquire('a', { producer: { id: 'p', epoch: 3 } }), 'PRODUCER_FENCED');
      const resumed = await again.acquire('a', { producer: { id: 'p', epoch: 4 } });
      assert.deepEqual(resumed.committed, { epoch: 3, seq: 2 });
    },
  },
  {
    name: 'ends a session in the middle of its appends when its stream is deleted',
    async run(store) {
      await store.create('source', { data: bytes('s') });
      const session = await store.acquire('a', { create: { fork: { path: 'source' } } });
      await store.delete('source');
      void session.append(bytes('x'));
      const deletion = store.delete('a');
      const late = session.append(bytes('y'));
      await rejects(late, 'SESSION_ENDED');
      await deletion;
      assert.equal(await session.ended, 'deleted');
      await rejects(store.stat('a'), 'STREAM_NOT_FOUND');
      // Nothing needs the source any more.
      await eventually(async () => (await codeOf(store.stat('source'))) === 'STREAM_NOT_FOUND', 'the source is gone');
    },
  },
  {
    name: 'shows a stream that an appender makes never without its appender',
    async run(store) {
      const seen: Promise<StreamInfo>[] = [];
      // The moment at which anybody can see it first.
      store.observe(({ path }) => {
        seen.push(
          store.stat(path),
          store.subscribe(path).then(({ info }) => info),
        );
      });
      const acquired = store.acquire('a', { create: {}, producer: { id: 'p', epoch: 2 } });
      // And whoever asks all the time.
      let polled: StreamInfo | undefined;
      while (polled === undefined) {
        polled = await store.stat('a').catch(() => undefined);
        await new Promise((resolve) => setImmediate(resolve));
      }
      const session = await acquired;
      assert.equal(seen.length, 2);
      for (const info of [polled, session.info, ...(await Promise.all(seen))]) assert.equal(info.appender, true);
      assert.deepEqual(session.committed, { epoch: 2, seq: -1 });
      assert.equal((await session.append(bytes('x'))).producer?.seq, 0);
      await session.release();
      await rejects(store.acquire('a', { producer: { id: 'p', epoch: 1 } }), 'PRODUCER_FENCED');
    },
  },
  {
    name: 'gives one of two appenders a stream that both would make',
    async run(store) {
      const both = await Promise.allSettled([store.acquire('a', { create: {} }), store.acquire('a', { create: {} })]);
      assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
      await rejects(store.acquire('b', { create: { closed: true } }), 'STREAM_CLOSED');
    },
  },
  {
    name: 'tells whether its last appender left, or was lost',
    async run(store) {
      const first = await store.acquire('a', { create: {} });
      assert.deepEqual([first.info.appender, first.info.lastAppender], [true, undefined]);
      const { events } = await follow(store, 'a');
      await first.release({ lost: true });
      assert.deepEqual(await lastAppender(store), [false, 'lost']);
      const second = await store.acquire('a');
      await second.append(bytes('x'));
      await second.release();
      assert.deepEqual(await lastAppender(store), [false, 'left']);
      const told: unknown[] = [];
      while (told.length < 4) {
        const { data, appender, lastAppender } = await nextEvent(events);
        told.push([text(data), appender, appender ? undefined : lastAppender]);
      }
      assert.deepEqual(told, [
        ['', false, 'lost'],
        ['', true, undefined],
        ['x', true, undefined],
        ['', false, 'left'],
      ]);
      // Only the first word counts, and nobody else's.
      await second.release({ lost: true });
      await store.append('a', { data: bytes('y') });
      assert.deepEqual(await lastAppender(store), [false, 'left']);
    },
  },
  {
    name: 'does not take a takeover for an end, nor a closed stream for one whose appender was lost',
    async run(store) {
      const old = await store.acquire('a', { create: {}, producer: { id: 'p', epoch: 1 } });
      const newer = await store.acquire('a', { producer: { id: 'p', epoch: 2 } });
      await old.release({ lost: true });
      assert.deepEqual(await lastAppender(store), [true, undefined]);
      await newer.release({ lost: true });
      await store.append('a', { close: true });
      assert.deepEqual(await lastAppender(store), [false, undefined]);
    },
  },
  {
    name: 'remembers how its appenders ended beyond its own end, and counts those as lost who were still there',
    reopens: true,
    async run(store, reopen) {
      const left = await store.acquire('left', { create: {} });
      await left.append(bytes('x'));
      await left.release();
      await (await store.acquire('lost', { create: {} })).release({ lost: true });
      await store.acquire('there', { create: {} });
      await store.create('existing');
      await store.acquire('existing');
      const closing = await store.acquire('closed', { create: {} });
      await closing.append(bytes('x'), { close: true });
      await store.create('nobody');
      await store.close();
      const again = await reopen(store);
      const ends: Record<string, unknown> = {};
      for (const { path } of (await again.list()).streams) ends[path] = (await again.stat(path)).lastAppender;
      assert.deepEqual(ends, {
        left: 'left',
        lost: 'lost',
        there: 'lost',
        existing: 'lost',
        closed: undefined,
        nobody: undefined,
      });
      const next = await again.acquire('lost');
      await next.release();
      assert.equal((await again.stat('lost')).lastAppender, 'left');
    },
  },
  {
    name: 'releases all sessions when it is closed',
    async run(store) {
      const session = await store.acquire('a', { create: {} });
      const append = session.append(bytes('x'));
      await store.close();
      assert.equal((await append).offset, 1);
      assert.equal(await session.ended, 'released');
      await rejects(session.append(bytes('y')), 'STORE_CLOSED');
    },
  },
];
