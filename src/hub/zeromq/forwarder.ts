import { loadClient } from '../load-client.js';
import type { SocketSettings } from './options.js';

/** Options of {@link runForwarder}. */
export interface ForwarderOptions {
  /** Where publishers connect to: `tcp://127.0.0.1:5559`; port `*` picks a free one. */
  readonly publish: string;
  /** Where subscribers connect to. */
  readonly subscribe: string;
  /** How many messages may wait for one subscriber. What is more is dropped for it, and ZeroMQ tells nobody. */
  readonly highWaterMark?: number;
  /** The largest message in bytes; who sends a larger one is cut off. */
  readonly maxMessageBytes?: number;
  /** Further options of both sockets, as the package `zeromq` names them. */
  readonly socketOptions?: SocketSettings;
}

/** A running forwarder. */
export interface Forwarder {
  /** The endpoints, with the ports that they got. */
  readonly publish: string;
  readonly subscribe: string;
  close(): Promise<void>;
}

/** Default of `highWaterMark`, in messages. */
export const DEFAULT_HIGH_WATER_MARK = 65_536;
/** Default of `maxMessageBytes`. */
export const DEFAULT_MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/**
 * Runs a forwarder in this process: the one fixed point of a ZeroMQ network, that all hubs connect to. It moves messages
 * in a thread of its own.
 *
 * It asks publishers for everything, whoever subscribes to what. So a new subscription has to reach the forwarder only,
 * and not every publisher, before it sees all. Throws `HUB_CLIENT_MISSING`, or what `bind` throws.
 */
export async function runForwarder(options: ForwarderOptions): Promise<Forwarder> {
  const { highWaterMark = DEFAULT_HIGH_WATER_MARK, maxMessageBytes = DEFAULT_MAX_MESSAGE_BYTES } = options;
  const zeromq = await loadClient('zeromq', () => import('zeromq'));
  const common = { ...options.socketOptions, linger: 0, maxMessageSize: maxMessageBytes };
  const front = new zeromq.XSubscriber({ ...common, receiveHighWaterMark: highWaterMark });
  const back = new zeromq.XPublisher({ ...common, sendHighWaterMark: highWaterMark });
  try {
    await front.bind(options.publish);
    await back.bind(options.subscribe);
    await front.send(Buffer.from([1]));
  } catch (error) {
    front.close();
    back.close();
    throw error;
  }
  const publish = front.lastEndpoint ?? options.publish;
  const subscribe = back.lastEndpoint ?? options.subscribe;
  const proxy = new zeromq.Proxy(front, back);
  const over = proxy.run();
  return {
    publish,
    subscribe,
    async close() {
      proxy.terminate();
      await over;
    },
  };
}
