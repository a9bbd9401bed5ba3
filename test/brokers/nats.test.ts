import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { connect } from '@nats-io/transport-node';
import { afterAll, describe, expect, it } from 'vitest';
import { nats } from '../../src/hub/drivers/nats.js';
import { createHub } from '../../src/hub/index.js';
import { status, take } from '../../src/testing/hub-driver-harness.js';
import { driveBroker } from './drive.js';
import { bareNats, startNats } from './start-nats.js';

const run = promisify(execFile);

await driveBroker(
  'the nats driver',
  () => startNats(),
  (broker) => ({
    driver: () => nats({ url: broker.url }),
    broker,
    foreign: bareNats(broker.url),
    processModule: `
      import { nats } from 'millrace/hub/nats';
      const driver = () => nats({ url: '${broker.url}' });
    `,
    unreachable: () => nats({ url: 'nats://127.0.0.1:1' }),
  }),
  (broker) => {
    it('notices a server that hangs, and tells of the gap when it goes on', async () => {
      const hub = createHub({ driver: nats({ url: broker.url, pingIntervalMs: 100 }), publishTimeoutMs: 200 });
      const subscription = hub.subscribe('hanging');
      await subscription.ready;
      broker.signal('SIGSTOP');
      try {
        await expect(hub.publish('hanging', 'lost?')).rejects.toMatchObject({ code: 'HUB_UNAVAILABLE' });
        await status(hub, 'reconnecting');
      } finally {
        broker.signal('SIGCONT');
      }
      await status(hub, 'connected');
      await hub.publish('hanging', 'after');
      const events = [];
      for await (const event of subscription) {
        events.push(event);
        if (event.message === 'after') break;
      }
      expect(events.some((event) => event.gap?.reason === 'reconnected')).toBe(true);
      await hub.close();
    });

    it('leaves nothing of a first connection to a server that hangs, nor of a close meanwhile', async () => {
      const hanging = await startNats();
      hanging.signal('SIGSTOP');
      try {
        const script = `
          import { nats } from 'millrace/hub/nats';
          import { createHub } from 'millrace/hub';
          const driver = () => nats({ url: '${hanging.url}' });
          const hub = createHub({ driver: driver(), connectTimeoutMs: 300 });
          await hub.connect().catch((error) => console.log(error.code));
          await hub.close();
          const other = createHub({ driver: driver(), connectTimeoutMs: 20_000 });
          const connecting = other.connect().catch((error) => console.log(error.code));
          await new Promise((resolve) => setTimeout(resolve, 200));
          await other.close();
          await connecting;
        `;
        const options = { timeout: 10_000 };
        const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', script], options);
        expect(stdout).toBe('HUB_UNAVAILABLE\nHUB_CLOSED\n');
      } finally {
        hanging.signal('SIGCONT');
        await hanging.stop();
      }
    }, 30_000);

    it('leaves nothing of a reconnect to a server that hangs', async () => {
      const hanging = await startNats();
      try {
        const script = `
          import { nats } from 'millrace/hub/nats';
          import { createHub } from 'millrace/hub';
          const driver = nats({ url: '${hanging.url}', pingIntervalMs: 50 });
          const onStatus = (status) => {
            if (status === 'reconnecting') setTimeout(() => hub.close(), 700);
          };
          const hub = createHub({ driver, onStatus });
          await hub.connect();
          console.log('up');
        `;
        const running = run(process.execPath, ['--input-type=module', '--eval', script], { timeout: 8_000 });
        running.child.stdout?.once('data', () => hanging.signal('SIGSTOP'));
        await running;
      } finally {
        hanging.signal('SIGCONT');
        await hanging.stop();
      }
    }, 30_000);

    it('uses a connection that it is given, and leaves it open', async () => {
      const client = await connect({ servers: broker.url });
      const hub = createHub(nats({ client }));
      const subscription = hub.subscribe('own client');
      await subscription.ready;
      await hub.publish('own client', 1);
      expect(await take(subscription, 1)).toEqual([1]);
      await hub.close();
      await client.flush();
      expect(client.isClosed()).toBe(false);
      await client.close();
    });

    it('keeps nothing of a publish that was answered', { timeout: 30_000 }, async () => {
      setFlagsFromString('--expose-gc');
      const collect = runInNewContext('gc') as () => void;
      const hub = createHub({ driver: nats({ url: broker.url }) });
      const used = async (publishes: number) => {
        for (let at = 0; at < publishes; at++) await hub.publish('kept', at);
        collect();
        await new Promise((resolve) => setTimeout(resolve, 20));
        collect();
        return process.memoryUsage().heapUsed;
      };
      const before = await used(3_000);
      const perPublish = ((await used(10_000)) - before) / 10_000;
      expect(perPublish).toBeLessThan(100);
      await hub.close();
    });

    it("takes the server's limit for messages", async () => {
      const hub = createHub(nats({ url: broker.url }));
      await hub.connect();
      await expect(hub.publish('a', 'x'.repeat(1024 * 1024))).rejects.toMatchObject({
        code: 'HUB_MESSAGE_TOO_LARGE',
        details: { bytesMax: 1024 * 1024 },
      });
      await hub.close();
    });

    it.each(['*', 'a.*', 'a.b*', '*.done', 'a..*', '.*'])('finds all channels of the pattern "%s"', async (pattern) => {
      const hub = createHub(nats({ url: broker.url }));
      const subscription = hub.subscribe({ pattern });
      await subscription.ready;
      const names = ['a', 'a.', 'a.b', 'a.b.c', 'a.bc', 'x.done', '.done', 'a..', 'a..b', '.a', '..'];
      const matching = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`);
      const wanted = names.filter((name) => matching.test(name));
      for (const name of names) await hub.publish(name, name);
      await hub.publish(pattern.replaceAll('*', 'end.done'), 'end');
      expect(await take(subscription, wanted.length + 1)).toEqual([...wanted, 'end']);
      await hub.close();
    });

    describe('with users', async () => {
      const guarded = await startNats(['--user', 'me', '--pass', 's:e%c@ret']);
      afterAll(() => guarded.stop());
      const url = (credentials: string) => guarded.url.replace('//', `//${credentials}`);

      it('connects with user and password', async () => {
        const hub = createHub(url(`me:${encodeURIComponent('s:e%c@ret')}@`));
        await hub.publish('a', 1);
        await hub.close();
      });

      it('connects with a password that has a colon', async () => {
        const hub = createHub(url('me:s:e%25c%40ret@'));
        await hub.connect();
        await hub.close();
      });

      it('tells what is wrong with a "%" that begins no escape', async () => {
        await expect(createHub(url('u:100%@')).connect()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      });

      it.each(['', 'me:wrong@', 'token@'])('is refused with "%s"', async (credentials) => {
        const hub = createHub(url(credentials));
        await expect(hub.connect()).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
        await hub.close();
      });
    });

    describe('with permissions', async () => {
      const limited = await startNats([], {
        authorization: {
          users: [{ user: 'me', password: 'pass', permissions: { publish: ['open.>'], subscribe: ['open.>'] } }],
        },
      });
      afterAll(() => limited.stop());

      it('rejects a publish and a subscribe that the server does not allow, and goes on', async () => {
        const hub = createHub(limited.url.replace('//', '//me:pass@'));
        const allowed = hub.subscribe('open.a');
        await allowed.ready;
        await expect(hub.publish('closed.a', 1)).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
        await expect(hub.subscribe('closed.a').ready).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
        await hub.publish('open.a', 2);
        expect(await take(allowed, 1)).toEqual([2]);
        await hub.close();
      });

      it('rejects every publish that the server refuses, also when others follow before the answer', async () => {
        const hub = createHub(limited.url.replace('//', '//me:pass@'));
        await hub.connect();
        const outcomes: Promise<string>[] = [];
        for (let at = 0; at < 200; at++) {
          for (const name of ['closed.a', 'open.a']) {
            const outcome = hub.publish(name, at).then(
              () => 'taken',
              (error: { code: string }) => error.code,
            );
            outcomes.push(outcome);
          }
          await Promise.resolve();
          if (at % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
        }
        const codes = await Promise.all(outcomes);
        expect(codes.filter((_, at) => at % 2 === 0)).toEqual(Array(200).fill('HUB_UNAUTHORIZED'));
        expect(codes.filter((_, at) => at % 2 === 1)).toEqual(Array(200).fill('taken'));
        await hub.close();
      });
    });
  },
);
