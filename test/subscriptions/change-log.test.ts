import { describe, expect, test } from 'vitest';
import { createMemoryStore, type Store } from '../../src/log/index.js';
import { CHANGES_PREFIX, CHANGES_SLACK_MAX, ChangeLog } from '../../src/subscriptions/change-log.js';
import type { Change } from '../../src/subscriptions/subscription.js';

const change = (id: string): Change => ({ root: '', id, kind: 'rested' });
const nothing = () => {};

async function loaded(store: Store): Promise<string[]> {
  const ids: string[] = [];
  await new ChangeLog(store, () => []).load(({ id }) => ids.push(id));
  return ids;
}

const paths = async (store: Store) =>
  (await store.list({ prefix: CHANGES_PREFIX })).streams.map(({ path }) => path.slice(CHANGES_PREFIX.length));

describe('ChangeLog', () => {
  test('gives back what was appended, in order, and applies it only then', async () => {
    const store = createMemoryStore();
    const applied: string[] = [];
    const log = new ChangeLog(store, () => []);
    await Promise.all([
      log.append([change('a'), change('b')], ({ id }) => applied.push(id)),
      log.append([change('c')], ({ id }) => applied.push(id)),
    ]);
    expect(applied).toEqual(['a', 'b', 'c']);
    expect(await loaded(store)).toEqual(['a', 'b', 'c']);
  });

  test('applies nothing that could not be written', async () => {
    const store = createMemoryStore();
    const log = new ChangeLog(store, () => []);
    await store.close();
    const applied: string[] = [];
    await expect(log.append([change('a')], ({ id }) => applied.push(id))).rejects.toMatchObject({
      code: 'STORE_CLOSED',
    });
    expect(applied).toEqual([]);
  });

  test('keeps only the state when its history has grown, and loses nothing that comes meanwhile', async () => {
    const store = createMemoryStore();
    const state = new Set<string>();
    const log = new ChangeLog(store, () => [...state].map(change));
    const keep = ({ id }: Change) => state.add(id);
    for (let i = 0; i <= CHANGES_SLACK_MAX; i++) await log.append([change('same')], keep);
    await Promise.all([change('x'), change('y')].map((each) => log.append([each], keep)));
    expect(await paths(store)).toEqual(['0000000002']);
    expect(await loaded(store)).toEqual(['same', 'x', 'y']);
  });

  test('goes by the older stream where a crash has left two', async () => {
    const store = createMemoryStore();
    await new ChangeLog(store, () => []).append([change('a'), change('b')], nothing);
    const data = Buffer.from(`${JSON.stringify(change('a'))}\n`);
    await store.create(`${CHANGES_PREFIX}0000000002`, { contentType: 'application/json', data });
    expect(await loaded(store)).toEqual(['a', 'b']);
    expect(await paths(store)).toEqual(['0000000001']);
  });
});
