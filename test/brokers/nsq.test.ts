import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { driverFromUrl, nsq } from '../../src/hub/drivers/nsq.js';
import { createHub, type Hub, type HubEvent, type HubOptions, type HubSubscription } from '../../src/hub/index.js';
import { status, take, within } from '../../src/testing/hub-driver-harness.js';
import { driveBroker } from './drive.js';
import { followByTail, type NsqBroker, type Nsqd, publishByHttp, registered, startNsq } from './start-nsq.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

/** Whether a promise is fulfilled. */
const TAKEN = [() => true, () => false] as const;

function connect(options: HubOptions | string): Hub {
  const hub = createHub(options);
  cleanups.push(() => hub.close());
  return hub;
}

async function start(count: number, flags?: readonly string[]): Promise<NsqBroker> {
  const started = await startNsq(count, flags);
  cleanups.push(() => started.stop());
  return started;
}

function suite(url: string, unreachable: string, nsqd: Nsqd) {
  return {
    driver: () => driverFromUrl(url),
    broker: { kill: () => nsqd.kill(), restart: () => nsqd.start() },
    foreign: {
      publish: (topic: string, payload: string) => publishByHttp(nsqd, topic, payload),
      follow: (topic: string) => followByTail(nsqd, topic),
    },
    processModule: `
      import { driverFromUrl } from 'millrace/hub/nsq';
      const driver = () => driverFromUrl('${url}');
    `,
    unreachable: () => driverFromUrl(unreachable),
  };
}

await driveBroker(
  'the NSQ driver by nsqlookupd',
  () => startNsq(),
  ({ lookupd, nsqd }) => suite(`nsq+lookupd://${lookupd}`, 'nsq+lookupd://127.0.0.1:1', nsqd[0] as Nsqd),
);

await driveBroker(
  'the NSQ driver by nsqd',
  () => startNsq(),
  ({ nsqd: [nsqd] }) => suite(`nsq://${nsqd?.address}`, 'nsq://127.0.0.1:1', nsqd as Nsqd),
  ({ nsqd: [nsqd] }) => about(nsqd as Nsqd),
);

function about(nsqd: Nsqd): void {
  describe('an NSQ topic', () => {
    it('that nobody read gives its backlog to nobody, however long it is', async () => {
      const hub = connect(`nsq://${nsqd.address}?httpPort=${new URL(nsqd.http).port}`);
      for (let round = 0; round < 20; round++) {
        await Promise.all(Array.from({ length: 1_000 }, (_, at) => hub.publish('backlog', at)));
      }
      const follower = hub.subscribe('backlog');
      await follower.ready;
      await hub.publish('backlog', 'news');
      expect(await take(follower, 1)).toEqual(['news']);
    });

    it('has nothing left of a hub that is gone', async () => {
      const hub = connect(`nsq://${nsqd.address}`);
      const follower = hub.subscribe('left-clean');
      await follower.ready;
      await hub.close();
      await within(
        (async () => {
          for (;;) {
            const response = await fetch(`${nsqd.http}/stats?format=json`);
            const { topics } = (await response.json()) as { topics: { topic_name: string; channels: unknown[] }[] };
            const clocks = topics.filter((topic) => topic.topic_name.startsWith('mr-clock-'));
            const channels = topics.find((topic) => topic.topic_name === 'left-clean')?.channels;
            if (clocks.length === 0 && channels?.length === 0) return;
          }
        })(),
        'nsqd to forget the hub',
      );
    });

    it('gets what is published while the hub closes', async () => {
      const hub = connect(`nsq://${nsqd.address}`);
      await hub.connect();
      const publishes = Promise.all(Array.from({ length: 100 }, (_, at) => hub.publish('closing', at)));
      await Promise.all([hub.close(), publishes]);
    });

    it('refuses an empty message before nsqd ends the connection over it', async () => {
      const hub = connect(`nsq://${nsqd.address}`);
      await expect(hub.publish('empty', new Uint8Array())).rejects.toMatchObject({ code: 'HUB_MESSAGE_INVALID' });
      await hub.publish('empty', 'full');
    });
  });

  describe('a burst that nsqd has no room for', () => {
    it('is never lost in silence: the subscriber is told how many messages it missed', async () => {
      const { nsqd: small } = await start(1, ['-mem-queue-size=100']);
      const [{ address, http }] = small as [Nsqd];
      const url = `nsq://${address}?httpPort=${new URL(http).port}&maxInFlight=100`;
      const [from, to] = [connect(url), connect(url)];
      const follower: HubSubscription<HubEvent> = to.subscribe('burst');
      await follower.ready;
      await from.connect();
      const sent = 20_000;
      await Promise.all(Array.from({ length: sent }, (_, at) => from.publish('burst', at)));
      let received = 0;
      let missed = 0;
      while (received + missed < sent) {
        const { value } = await within(follower.next(), `the rest of ${received} received and ${missed} missed`);
        if (value?.gap === undefined) received++;
        else {
          expect(value.gap).toMatchObject({ reason: 'lagged' });
          missed += value.gap.missed ?? 0;
        }
      }
      expect(missed).toBeGreaterThan(0);
      expect(received + missed).toBe(sent);
    });
  });

  describe('several nsqd', () => {
    it('are all read, whichever of them a hub publishes to', async () => {
      const { nsqd: both, lookupd } = await start(2);
      const reader = connect(`nsq+lookupd://${lookupd}`);
      const follower = reader.subscribe('wide');
      await follower.ready;
      for (const [at, { address }] of both.entries()) {
        await connect(`nsq://${address}`).publish('wide', at);
        expect(await take(follower, 1)).toEqual([at]);
      }
    });

    it('are read from the moment that nsqlookupd tells of them, and a newcomer is told as a gap', async () => {
      const { nsqd: both, lookupd } = await start(2);
      const [stays, comes] = both as [Nsqd, Nsqd];
      await comes.kill();
      await registered(lookupd, 1);
      const reader = connect({ driver: nsq({ lookupd: [lookupd], lookupPollMs: 100 }) });
      const follower: HubSubscription<HubEvent> = reader.subscribe('growing');
      await follower.ready;
      await comes.start();
      expect((await within(follower.next(), 'a gap')).value).toMatchObject({ gap: { reason: 'reconnected' } });
      await publishByHttp(comes, 'growing', '"new"');
      await publishByHttp(stays, 'growing', '"old"');
      expect((await take(follower, 2)).sort()).toEqual(['new', 'old']);
    });

    it('stand in for each other: publishes go on to the next one', async () => {
      const { nsqd: both } = await start(2);
      const [first, second] = both as [Nsqd, Nsqd];
      const hub = connect(`nsq://${first.address},${second.address}`);
      const follower = connect(`nsq://${second.address}`).subscribe('failover');
      await follower.ready;
      await hub.publish('other', 'to either');
      await first.kill();
      // What was under way to the first is rejected.
      while (!(await hub.publish('failover', 'to the second').then(...TAKEN))) await sleep(10);
      expect(await take(follower, 1)).toEqual(['to the second']);
    });

    it('are enough as long as one is up: others still subscribe, and who was subscribed is told of the gap', async () => {
      const { nsqd: both } = await start(2);
      const [dies, stays] = both as [Nsqd, Nsqd];
      const changes: string[] = [];
      const hub = connect({
        driver: driverFromUrl(`nsq://${dies.address},${stays.address}`),
        onStatus: (status) => changes.push(status),
      });
      const follower: HubSubscription<HubEvent> = hub.subscribe('before');
      await follower.ready;
      await dies.kill();
      while (!(await hub.publish('elsewhere', 1).then(...TAKEN))) await sleep(10);
      const late: HubSubscription<HubEvent> = hub.subscribe('after');
      await late.ready;
      await hub.publish(['before', 'after'], 'meanwhile');
      expect(await take(late, 1)).toEqual(['meanwhile']);
      expect(await take(follower, 1)).toEqual(['meanwhile']);
      await dies.start();
      for (const each of [follower, late]) {
        expect((await within(each.next(), 'a gap')).value).toMatchObject({ gap: { reason: 'reconnected' } });
      }
      await publishByHttp(dies, 'before', '"back"');
      expect(await take(follower, 1)).toEqual(['back']);
      expect(changes).toEqual(['connecting', 'connected']);
      await Promise.all([dies.kill(), stays.kill()]);
      await status(hub, 'reconnecting');
      await dies.start();
      await status(hub, 'connected');
      await hub.publish('elsewhere', 2);
    }, 30_000);
  });

  describe('the limits of nsqd', () => {
    it('are named when it takes smaller messages than the hub was told', async () => {
      const { nsqd: small } = await start(1, ['-max-msg-size=1000']);
      const hub = connect(`nsq://${small[0]?.address}`);
      await hub.publish('small', 'x');
      await expect(hub.publish('small', 'x'.repeat(2_000))).rejects.toMatchObject({ code: 'HUB_MESSAGE_TOO_LARGE' });
      const told = connect(`nsq://${small[0]?.address}?maxMessageBytes=1000`);
      await expect(told.publish('small', 'x'.repeat(2_000))).rejects.toMatchObject({ code: 'HUB_MESSAGE_TOO_LARGE' });
      await told.publish('small', 'goes on');
    });

    it('on how to come in are kept: TLS, with a certificate that is trusted', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'millrace-tls-'));
      cleanups.push(() => rm(folder, { recursive: true, force: true }));
      const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
      await promisify(execFile)('openssl', [
        ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost'],
        ...['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', certificate],
      ]);
      const { nsqd: secure } = await start(1, [`-tls-cert=${certificate}`, `-tls-key=${key}`, '-tls-required=true']);
      const nsqd = [secure[0]?.address as string];
      const hub = connect({ driver: nsq({ nsqd, tls: { ca: await readFile(certificate) } }) });
      const follower = hub.subscribe('secure');
      await follower.ready;
      await hub.publish('secure', 'x'.repeat(100_000));
      expect(await take(follower, 1)).toEqual(['x'.repeat(100_000)]);
      const untrusting = connect({ driver: nsq({ nsqd, tls: true }) });
      await expect(untrusting.connect()).rejects.toThrow(/self-signed certificate/);
      const plain = connect({ driver: nsq({ nsqd }) });
      await expect(plain.subscribe('secure').ready).rejects.toThrow(/TLS required/);
    });

    it('on who may come in are told as such', async () => {
      const guard = createServer((request, response) => {
        const known = request.url?.includes('secret=open-sesame');
        const authorizations = known ? [{ topic: '.*', channels: ['.*'], permissions: ['subscribe', 'publish'] }] : [];
        response.writeHead(known ? 200 : 403).end(JSON.stringify({ ttl: 60, identity: 'test', authorizations }));
      }).listen(0, '127.0.0.1');
      cleanups.push(() => guard.close());
      await once(guard, 'listening');
      const { nsqd: guarded } = await start(1, [
        `-auth-http-address=127.0.0.1:${(guard.address() as AddressInfo).port}`,
      ]);
      const address = guarded[0]?.address;
      await expect(connect(`nsq://:wrong@${address}`).connect()).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
      const without = connect(`nsq://${address}`);
      await expect(without.publish('guarded', 1)).rejects.toMatchObject({ code: 'HUB_UNAUTHORIZED' });
      await expect(connect(`nsq://${address}`).subscribe('guarded').ready).rejects.toMatchObject({
        code: 'HUB_UNAUTHORIZED',
      });
      const hub = connect(`nsq://:open-sesame@${address}`);
      const follower = hub.subscribe('guarded');
      await follower.ready;
      await hub.publish('guarded', 'in');
      expect(await take(follower, 1)).toEqual(['in']);
    });
  });
}
