import { afterEach, describe, expect, it } from 'vitest';
import { curveKeyPair, Subscriber } from 'zeromq';
import { driverFromUrl, runForwarder, zeromq } from '../../src/hub/drivers/zeromq.js';
import { createHub, type Hub, type HubEvent, type HubOptions, type HubSubscription } from '../../src/hub/index.js';
import { take, within } from '../../src/testing/hub-driver-harness.js';
import { freePorts } from './broker-process.js';
import { driveBroker } from './drive.js';
import { followAt, meshEndpoints, plainSockets, startForwarder } from './start-zeromq.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

function connect(options: HubOptions | string): Hub {
  const hub = createHub(options);
  cleanups.push(() => hub.close());
  return hub;
}

await driveBroker(
  'the ZeroMQ driver through a forwarder',
  () => startForwarder(),
  (broker) => ({
    driver: () => driverFromUrl(broker.url),
    broker,
    foreign: plainSockets(broker.publish, broker.subscribe),
    processModule: `
      import { driverFromUrl } from 'millrace/hub/zeromq';
      const driver = () => driverFromUrl('${broker.url}');
    `,
    unreachable: () => driverFromUrl('zeromq://127.0.0.1:1'),
  }),
);

await driveBroker(
  'the ZeroMQ driver in a mesh',
  () => meshEndpoints(8),
  ({ ports, strange, stranger }) => {
    const peers = [...ports, strange].map((port) => `127.0.0.1:${port}`).join();
    // Hubs of one case take endpoints in turn; those of the case before are free again by then.
    let turn = 0;
    const url = () => `zeromq://127.0.0.1:${ports[turn++ % (ports.length - 1)]}?peers=${peers}`;
    return {
      driver: () => driverFromUrl(url()),
      foreign: {
        publish: (name, payload) => stranger.send([name, payload]),
        follow: (name) =>
          followAt(
            name,
            ports
              .slice(0, -1)
              .filter((_, at) => at === (turn - 1) % (ports.length - 1))
              .map((port) => `tcp://127.0.0.1:${port}`),
          ),
      },
      processModule: `
        import { driverFromUrl } from 'millrace/hub/zeromq';
        const driver = () => driverFromUrl('zeromq://127.0.0.1:${ports.at(-1)}?peers=${peers}');
      `,
      unreachable: () => zeromq({ mesh: { bind: 'tcp://192.0.2.1:1', peers: [] } }),
    };
  },
);

it.each(['forwarder', 'mesh'])('what is published while the hub closes is through, by %s', async (kind) => {
  const [one = 0, two = 0] = await freePorts(2);
  if (kind === 'forwarder') {
    const endpoints = { publish: `tcp://127.0.0.1:${one}`, subscribe: `tcp://127.0.0.1:${two}` };
    const forwarder = await runForwarder(endpoints);
    cleanups.push(() => forwarder.close());
  }
  const hub = connect(
    kind === 'forwarder' ? `zeromq://127.0.0.1:${one}?subscribe=${two}` : `zeromq://127.0.0.1:${one}?peers=`,
  );
  await hub.connect();
  const publishes = Promise.all(Array.from({ length: 100 }, (_, at) => hub.publish('closing', at)));
  const since = performance.now();
  await Promise.all([hub.close(), publishes]);
  expect(performance.now() - since).toBeLessThan(900);
});

describe('a mesh', () => {
  it('tells its members of a gap when one of them comes back, and not when a hub joins', async () => {
    const ports = await freePorts(2);
    const [one, two] = ports.map(
      (port) => `zeromq://127.0.0.1:${port}?peers=${ports.map((each) => `127.0.0.1:${each}`)}`,
    );
    const stays = connect(one as string);
    const follower: HubSubscription<HubEvent> = stays.subscribe('mesh');
    await follower.ready;
    const comes = connect(two as string);
    await comes.publish('mesh', 'I am new');
    expect(await take(follower, 1)).toEqual(['I am new']);
    await comes.close();
    const again = connect(two as string);
    await again.connect();
    expect((await within(follower.next(), 'a gap')).value).toMatchObject({ gap: { reason: 'reconnected' } });
    await again.publish('mesh', 'I am back');
    expect(await take(follower, 1)).toEqual(['I am back']);
  });

  it('is joined safely while others already subscribe at the new endpoint', async () => {
    const [port] = await freePorts(1);
    // They try again and again, so that some connect in the very moment in which the endpoint is bound.
    const waiting = Array.from({ length: 20 }, () => new Subscriber({ reconnectInterval: 1, linger: 0 }));
    for (const socket of waiting) {
      cleanups.push(() => socket.close());
      socket.subscribe('chat');
      socket.connect(`tcp://127.0.0.1:${port}`);
    }
    for (let round = 0; round < 8; round++) {
      const hub = connect(`zeromq://127.0.0.1:${port}?peers=`);
      const heard = Promise.all(waiting.map((socket) => socket.receive()));
      // Who connects late misses what was published before.
      const publishing = setInterval(() => hub.publish('chat', round).catch(() => {}), 10);
      await within(heard, 'all hear the hub').finally(() => clearInterval(publishing));
      await hub.close();
      // What is still on its way from this round is not to be taken for the next one's.
      for (const socket of waiting) {
        socket.receiveTimeout = 20;
        while (await socket.receive().catch(() => undefined));
        socket.receiveTimeout = -1;
      }
    }
  });

  it('of one is a hub like any other', async () => {
    const [port] = await freePorts(1);
    const hub = connect(`zeromq://127.0.0.1:${port}?peers=`);
    const follower = hub.subscribe('alone');
    await follower.ready;
    await hub.publish('alone', 'hello');
    expect(await take(follower, 1)).toEqual(['hello']);
  });

  it('cannot be joined at an endpoint that is taken', async () => {
    const [port] = await freePorts(1);
    await connect(`zeromq://127.0.0.1:${port}?peers=`).connect();
    await expect(connect(`zeromq://127.0.0.1:${port}?peers=`).connect()).rejects.toMatchObject({
      code: 'HUB_UNAVAILABLE',
    });
  });
});

describe('a forwarder', () => {
  it('runs in any process, on ports that it picks, and ends', async () => {
    const forwarder = await runForwarder({ publish: 'tcp://127.0.0.1:*', subscribe: 'tcp://127.0.0.1:*' });
    const hub = connect({ driver: zeromq({ forwarder }) });
    const follower = hub.subscribe('here');
    await follower.ready;
    await hub.publish('here', 1);
    expect(await take(follower, 1)).toEqual([1]);
    await hub.close();
    await forwarder.close();
  });

  it('may ask for keys, and a hub without the right ones is kept out', async () => {
    const server = curveKeyPair();
    const forwarder = await runForwarder({
      publish: 'tcp://127.0.0.1:*',
      subscribe: 'tcp://127.0.0.1:*',
      socketOptions: { curveServer: true, curveSecretKey: server.secretKey },
    });
    cleanups.push(() => forwarder.close());
    const keys = (serverKey: string) => {
      const own = curveKeyPair();
      return { curveServerKey: serverKey, curvePublicKey: own.publicKey, curveSecretKey: own.secretKey };
    };
    const hub = connect({ driver: zeromq({ forwarder, socketOptions: keys(server.publicKey) }) });
    const follower = hub.subscribe('secret');
    await follower.ready;
    await hub.publish('secret', 'in');
    expect(await take(follower, 1)).toEqual(['in']);
    for (const socketOptions of [{}, keys(curveKeyPair().publicKey)]) {
      const stranger = connect({ driver: zeromq({ forwarder, socketOptions }), connectTimeoutMs: 2_000 });
      await expect(stranger.connect()).rejects.toMatchObject({ code: 'HUB_UNAVAILABLE' });
    }
  });

  it('cuts off who sends more than it takes', async () => {
    const forwarder = await runForwarder({
      publish: 'tcp://127.0.0.1:*',
      subscribe: 'tcp://127.0.0.1:*',
      maxMessageBytes: 1_000,
    });
    cleanups.push(() => forwarder.close());
    const hub = connect({ driver: zeromq({ forwarder }) });
    await hub.publish('narrow', 'x');
    await expect(hub.publish('narrow', 'x'.repeat(2_000))).rejects.toMatchObject({ code: 'HUB_UNAVAILABLE' });
  });
});
