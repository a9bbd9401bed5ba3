import { describe, expect, it } from 'vitest';
import { NOT_WAITING, type Waiter, WaitList } from '../../src/event-stream/wait-list.js';

/** A waiter that notes its name each time, and goes on waiting as long as `stays` says so. */
function waiter(name: string, calls: string[], stays: () => boolean = () => true): Waiter {
  return {
    slot: NOT_WAITING,
    wake: () => {
      calls.push(name);
      return stays();
    },
  };
}

async function wake(list: WaitList): Promise<void> {
  list.wakeSoon();
  await Promise.resolve();
}

describe('a wait list', () => {
  it('wakes once for many calls, in a microtask', async () => {
    const list = new WaitList();
    const calls: string[] = [];
    list.add(waiter('a', calls));
    list.wakeSoon();
    list.wakeSoon();
    expect(calls).toEqual([]);
    await Promise.resolve();
    expect(calls).toEqual(['a']);
  });

  it('keeps the order of those that go on waiting', async () => {
    const list = new WaitList();
    const calls: string[] = [];
    for (const name of ['a', 'b', 'c']) list.add(waiter(name, calls, () => name !== 'b'));
    await wake(list);
    await wake(list);
    expect(calls).toEqual(['a', 'b', 'c', 'a', 'c']);
    expect(list.size).toBe(2);
  });

  it('counts a waiter once, however often it is added or deleted', () => {
    const list = new WaitList();
    const one = waiter('one', []);
    list.add(one);
    list.add(one);
    expect(list.size).toBe(1);
    list.delete(one);
    list.delete(one);
    expect(list.size).toBe(0);
    list.add(one);
    expect(list.size).toBe(1);
  });

  it('wakes neither those that left meanwhile nor, this time, those that came', async () => {
    const list = new WaitList();
    const calls: string[] = [];
    const leaver = waiter('leaver', calls);
    const comer = waiter('comer', calls);
    list.add({
      slot: NOT_WAITING,
      wake: () => {
        calls.push('first');
        list.delete(leaver);
        list.add(comer);
        return true;
      },
    });
    list.add(leaver);
    await wake(list);
    expect(calls).toEqual(['first']);
    await wake(list);
    expect(calls).toEqual(['first', 'first', 'comer']);
  });

  it('wakes none of hundreds that one of them takes away', async () => {
    const list = new WaitList();
    const calls: string[] = [];
    const taken = Array.from({ length: 300 }, (_, index) => waiter(String(index), calls));
    list.add({
      slot: NOT_WAITING,
      wake: () => {
        for (const each of taken) list.delete(each);
        return true;
      },
    });
    for (const each of taken) list.add(each);
    list.add(waiter('last', calls));
    await wake(list);
    expect(calls).toEqual(['last']);
    expect(list.size).toBe(2);
  });

  it('stays right through thousands of departures in any order', async () => {
    const list = new WaitList();
    const calls: string[] = [];
    const waiters = Array.from({ length: 5000 }, (_, index) => waiter(String(index), calls));
    for (const each of waiters) list.add(each);
    const left = waiters.filter((_, index) => (index * 7919) % 5 !== 0);
    for (const each of left.reverse()) list.delete(each);
    expect(list.size).toBe(1000);
    await wake(list);
    expect(calls).toEqual(
      waiters.filter((each) => each.slot !== NOT_WAITING).map((each) => String(waiters.indexOf(each))),
    );
    for (const each of waiters) list.delete(each);
    expect(list.size).toBe(0);
  });

  it('does nothing when nobody waits', async () => {
    const list = new WaitList();
    await wake(list);
    const calls: string[] = [];
    list.add(waiter('late', calls));
    await Promise.resolve();
    expect(calls).toEqual([]);
  });
});
