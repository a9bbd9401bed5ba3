import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { createClient, createCluster } from 'redis';
import { afterAll, describe, expect, it } from 'vitest';
import { redis } from '../../src/hub/drivers/redis.js';
import { createHub } from '../../src/hub/index.js';
import { status, take } from '../../src/testing/hub-driver-harness.js';
import { freePorts } from './broker-process.js';
import { driveBroker } from './drive.js';
import { redisCli, startRedis } from './start-redis.js';

const run = promisify(execFile);

await driveBroker(
  'the redis driver',
  () => startRedis(),
  (broker) => ({
    driver: () => redis({ url: broker.url }),
    broker,
    foreign: redisCli(broker.cli, broker.port),
    processModule: `
      import { redis } from 'millrace/hub/redis';
      const driver = () => redis({ url: '${broker.url}' });
    `,
    unreachable: () => redis({ url: 'redis://127.0.0.1:1' }),
  }),
  (broker) => {
    it('tells of the gap before anything that comes after it', async () => {
      const hub = createHub(broker.url);
      const subscription = hub.subscribe('counted');
      await subscription.ready;
      const client = createClient({ url: broker.url });
      await client.connect();
      let last = 0;
      let gaps = 0;
      let jumps = 0;
      const reading = subscription.consume((event) => {
        if (event.gap !== undefined) {
          gaps++;
          last = -1;
          return;
        }
        if (last >= 0 && event.message !== last + 1) jumps++;
        last = event.message as number;
      });
      // Published without a pause, so that messages come as soon as the subscription stands again.
      let next = 1;
      for (let time = 0; time < 10; time++) {
        await client.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub']);
        for (const end = Date.now() + 200; Date.now() < end; ) await client.publish('counted', String(next++));
      }
      await status(hub, 'connected');
      await hub.close();
      await reading;
      client.destroy();
      expect(jumps).toBe(0);
      expect(gaps).toBeGreaterThan(0);
    });

    it('notices a server that hangs, and tells of the gap when it goes on', async () => {
      const hub = createHub({ driver: redis({ url: broker.url, pingIntervalMs: 100 }), publishTimeoutMs: 200 });
      const subscription = hub.subscribe('hanging');
      await subscription.ready;
      broker.signal('SIGSTOP');
      try {
        await expect(hub.publish('hanging', 'lost?')).rejects.toMatchObject({ code: 'HUB_UNAVAILABLE' });
        await status(hub, 'reconnecting');
        // One of the two connections is lost now. The other one is silent for as long, give or take a ping.
        await new Promise((resolve) => setTimeout(resolve, 1000));
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

    it.each([0, 1, 3, 200])(
      'leaves nothing of a connect that is closed after %i ms, to a server that hangs',
      async (ms) => {
        const hanging = await startRedis();
        hanging.signal('SIGSTOP');
        try {
          const script = `
          import 'redis';
          import { createHub } from 'millrace/hub';
          import { redis } from 'millrace/hub/redis';
          const hub = createHub({ driver: redis({ url: '${hanging.url}' }) });
          const connecting = hub.connect().catch((error) => console.log(error.code));
          await new Promise((resolve) => ${ms === 0 ? 'setImmediate(resolve)' : `setTimeout(resolve, ${ms})`});
          await hub.close();
          await connecting;
        `;
          const options = { timeout: 8_000 };
          const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', script], options);
          expect(stdout).toBe('HUB_CLOSED\n');
        } finally {
          hanging.signal('SIGCONT');
          await hanging.stop();
        }
      },
      30_000,
    );

    it('uses a client that it is given, and leaves it open', async () => {
      const client = createClient({ url: broker.url });
      await client.connect();
      const hub = createHub(redis({ client: client }));
      const subscription = hub.subscribe('own client');
      await subscription.ready;
      await hub.publish('own client', 1);
      expect(await take(subscription, 1)).toEqual([1]);
      await hub.close();
      expect(await client.ping()).toBe('PONG');
      expect(client.listenerCount('ready') + client.listenerCount('error')).toBe(0);
      client.destroy();
    });

    it('refuses a client that is not open', async () => {
      const client = createClient({ url: broker.url });
      const hub = createHub(redis({ client }));
      await expect(hub.connect()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
      await hub.close();
    });

    it('sees what a subscription by pattern with characters of globs means literally', async () => {
      const hub = createHub(redis({ url: broker.url }));
      const subscription = hub.subscribe({ pattern: 'a[b]?\\*' });
      await subscription.ready;
      await hub.publish(['ab?\\', 'a[b]x\\', 'a[b]?\\yes'], 'x');
      const { value } = await subscription.next();
      expect(value?.channel).toBe('a[b]?\\yes');
      await hub.close();
    });

    describe('with a password', async () => {
      const guarded = await startRedis(['--requirepass', 'secret']);
      afterAll(() => guarded.stop());
      const url = (credentials: string) => `redis://${credentials}127.0.0.1:${guarded.port}`;

      it('connects with it', async () => {
        const hub = createHub(url(':secret@'));
        await hub.publish('a', 1);
        await hub.close();
      });

      it.each(['', ':wrong@', 'nobody:secret@'])('is refused with "%s"', async (credentials) => {
        const hub = createHub(url(credentials));
        await expect(hub.connect()).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
        await hub.close();
      });
    });

    it('works on a cluster', async () => {
      // By default 10,000 above its port, where somebody else may be.
      const [busPort] = await freePorts(1);
      const node = await startRedis(['--cluster-enabled', 'yes', '--cluster-port', String(busPort)]);
      const setup = createClient({ url: node.url });
      await setup.connect();
      await setup.sendCommand(['CLUSTER', 'ADDSLOTSRANGE', '0', '16383']);
      while (!String(await setup.sendCommand(['CLUSTER', 'INFO'])).includes('cluster_state:ok')) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      setup.destroy();
      const cluster = createCluster({ rootNodes: [{ url: node.url }] });
      await cluster.connect();
      const hub = createHub(redis({ client: cluster }));
      const subscription = hub.subscribe(['left', { pattern: 'right*' }]);
      await subscription.ready;
      await hub.publish(['left', 'right 1'], 'x');
      expect(await take(subscription, 2)).toEqual(['x', 'x']);
      await hub.close();
      cluster.destroy();
      await node.stop();
    });
  },
);
