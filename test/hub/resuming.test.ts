import fc from 'fast-check';
import { expect, it } from 'vitest';
import { memory } from '../../src/hub/drivers/memory.js';
import { createHub, type HubEvent } from '../../src/hub/index.js';

/** What happens next: a message on one of two channels, or some turns of the event loop. */
const step = fc.oneof(fc.constantFrom('a', 'b'), fc.constantFrom('microtask', 'turn'));

it('a subscriber that comes back at any moment gets each message once and in order, in every channel', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 30, size: 'max' }),
      fc.array(step, { maxLength: 30, size: 'max' }),
      fc.array(step, { maxLength: 30, size: 'max' }),
      fc.nat(40),
      async (before, meanwhile, after, readCount) => {
        const hub = createHub(memory({ historyMax: 1000 }));
        const published: Record<string, number[]> = { a: [], b: [] };
        let count = 0;
        const run = async (steps: readonly string[]) => {
          for (const each of steps) {
            if (each === 'microtask') await undefined;
            else if (each === 'turn') await new Promise((resolve) => setImmediate(resolve));
            else {
              published[each]?.push(++count);
              void hub.publish(each, count);
            }
          }
        };
        const seen: Record<string, number[]> = { a: [], b: [] };
        const note = (event: HubEvent) => {
          expect(event.gap).toBeUndefined();
          seen[event.channel]?.push(event.message as number);
        };

        const first = hub.subscribe(['a', 'b']);
        await first.ready;
        void hub.publish('a', 0);
        published.a?.push(0);
        await run(before);
        let last: string | undefined;
        for (let read = 0; read <= readCount && read < count + 1; read++) {
          const { value } = await first.next();
          note(value as HubEvent);
          last = value?.id;
        }
        // Half of the time the channel stays subscribed by another, so that the coming back meets a live feed.
        const other = readCount % 2 === 0 ? hub.subscribe(['b', 'a']) : undefined;
        first.close();
        await run(meanwhile);
        const second = hub.subscribe(['b', 'a'], { after: last ?? '' });
        await run(after);
        const missing = () => count + 1 - (seen.a?.length ?? 0) - (seen.b?.length ?? 0);
        while (missing() > 0) note((await second.next()).value as HubEvent);
        expect(seen).toEqual(published);
        // And nothing twice.
        void hub.publish('a', -1);
        expect((await second.next()).value?.message).toBe(-1);
        other?.close();
        await hub.close();
      },
    ),
    { numRuns: 300 },
  );
});
