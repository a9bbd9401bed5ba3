import { Publisher, Subscriber, XPublisher } from 'zeromq';
import { within } from '../../src/testing/hub-driver-harness.js';
import type { HubDriverSuiteOptions } from '../../src/testing/index.js';
import { BrokerProcess, freePorts } from './broker-process.js';

type Foreign = NonNullable<HubDriverSuiteOptions['foreign']>;

/** Starts a forwarder in a process of its own. */
export async function startForwarder() {
  const [publish = 0, subscribe = 0] = await freePorts(2);
  const broker = new BrokerProcess(
    process.execPath,
    ['test/brokers/zeromq-forwarder.mjs', `${publish}`, `${subscribe}`],
    [publish, subscribe],
  );
  await broker.start();
  return {
    publish: `tcp://127.0.0.1:${publish}`,
    subscribe: `tcp://127.0.0.1:${subscribe}`,
    url: `zeromq://127.0.0.1:${publish}?subscribe=${subscribe}`,
    kill: () => broker.kill(),
    restart: () => broker.start(),
    stop: () => broker.kill(),
  };
}

/** A plain ZeroMQ publisher and subscribers at a forwarder, as any other program would have. */
export function plainSockets(publish: string, subscribe: string): Foreign {
  return {
    async publish(name, payload) {
      // The forwarder asks each publisher for everything, which an XPUB hears: then it is connected.
      const socket = new XPublisher({ linger: 1_000 });
      socket.connect(publish);
      await socket.receive();
      await socket.send([name, payload]);
      socket.close();
    },
    follow: (name) => followAt(name, [subscribe]),
  };
}

/** Reads a topic with a plain subscriber. Resolves once it is connected to all of these. */
export async function followAt(name: string, endpoints: readonly string[]) {
  const socket = new Subscriber({ linger: 0 });
  socket.subscribe(name);
  for (const endpoint of endpoints) {
    const up = new Promise((resolve) => socket.events.on('handshake', resolve));
    socket.connect(endpoint);
    await within(up, `a connection to ${endpoint}`);
  }
  // The subscription is on its way; a plain subscriber is never told that it has arrived.
  await new Promise((resolve) => setTimeout(resolve, 200));
  return {
    async next(): Promise<string> {
      const [topic, payload] = await socket.receive();
      if (topic?.toString() !== name) throw new Error(`a message of ${topic}`);
      return String(payload);
    },
    async end(): Promise<void> {
      socket.close();
    },
  };
}

/** Endpoints for a mesh, which hubs take one after the other, and one of another program that only publishes. */
export async function meshEndpoints(count: number) {
  const [strange = 0, ...ports] = await freePorts(count + 1);
  const stranger = new Publisher({ linger: 1_000 });
  await stranger.bind(`tcp://127.0.0.1:${strange}`);
  return { ports, strange, stranger, stop: async () => stranger.close() };
}
