import { MillraceError } from '../../errors.js';
import type { Driver } from '../driver.js';
import { loadClient } from '../load-client.js';
import { plainNames } from '../names.js';
import { DEFAULT_HIGH_WATER_MARK, DEFAULT_MAX_MESSAGE_BYTES } from '../zeromq/forwarder.js';
import { MeshConnection } from '../zeromq/mesh.js';
import type { ForwarderEndpoints, MeshEndpoints, SocketSettings } from '../zeromq/options.js';
import { ForwarderConnection } from '../zeromq/through-forwarder.js';

export { type Forwarder, type ForwarderOptions, runForwarder } from '../zeromq/forwarder.js';
export { DEFAULT_HIGH_WATER_MARK, DEFAULT_MAX_MESSAGE_BYTES };

/** Options of {@link zeromq}: give `forwarder` or `mesh`. */
export interface ZeromqOptions {
  /** The two endpoints of a forwarder that all hubs connect to: see {@link runForwarder}. */
  readonly forwarder?: ForwarderEndpoints;
  /** No broker: each hub has an endpoint, and knows those of the others. */
  readonly mesh?: MeshEndpoints;
  /** How many messages may wait in one of ZeroMQ's queues. */
  readonly highWaterMark?: number;
  /** The largest message that is sent and received. */
  readonly maxMessageBytes?: number;
  /** Further options of the sockets, as the package `zeromq` names them: keys of CURVE, a user of PLAIN, keep-alive… */
  readonly socketOptions?: SocketSettings;
}

/**
 * A driver for ZeroMQ by the package `zeromq`, through a forwarder or in a mesh without a broker. Messages are two
 * frames, the channel's name and the payload. docs/drivers/zeromq.md says what ZeroMQ promises and what not.
 *
 * Throws `INVALID_ARGUMENT`.
 */
export function zeromq(options: ZeromqOptions): Driver {
  const { forwarder, mesh, socketOptions = {} } = options;
  if ((forwarder === undefined) === (mesh === undefined)) {
    throw new MillraceError('INVALID_ARGUMENT', 'Give the ZeroMQ driver a forwarder or a mesh, not both.');
  }
  const limit = (name: 'highWaterMark' | 'maxMessageBytes', byDefault: number): number => {
    const value = options[name] ?? byDefault;
    if (Number.isSafeInteger(value) && value >= 1 && value <= 0x7fffffff) return value;
    throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number of at least 1, not ${value}.`);
  };
  const settings = {
    highWaterMark: limit('highWaterMark', DEFAULT_HIGH_WATER_MARK),
    maxMessageBytes: limit('maxMessageBytes', DEFAULT_MAX_MESSAGE_BYTES),
    socketOptions,
  };
  return {
    name: 'zeromq',
    abilities: {
      ordering: true,
      replay: false,
      patterns: true,
      atLeastOnce: false,
      maxMessageBytes: settings.maxMessageBytes,
    },
    names: plainNames,
    async connect(context) {
      const client = await loadClient('zeromq', () => import('zeromq'));
      const connection =
        forwarder !== undefined
          ? new ForwarderConnection(client, forwarder, settings, context)
          : new MeshConnection(client, mesh as MeshEndpoints, settings, context);
      await connection.open();
      return connection;
    },
  };
}

/**
 * `zeromq://host:5559?subscribe=5560` for a forwarder: publishers connect to the first port, subscribers to the second
 * (or to another `host:port`; without it, to the next port).
 * `zeromq://0.0.0.0:5555?peers=host:5555,host:5555` for a mesh: an address of one's own, and those of the others.
 * Further parameters: `highWaterMark`, `maxMessageBytes`.
 */
export function driverFromUrl(url: string): Driver {
  const match = /^zeromq:\/\/([^@/?#]+):(\d{1,5})\/?(?:\?(.*))?$/i.exec(url);
  if (match === null) {
    throw new MillraceError(
      'INVALID_ARGUMENT',
      'A ZeroMQ URL looks like zeromq://host:5559?subscribe=5560 (a forwarder) or zeromq://0.0.0.0:5555?peers=host:5555,… (a mesh).',
    );
  }
  const [, host = '', port = '', query = ''] = match;
  const options: { -readonly [K in 'highWaterMark' | 'maxMessageBytes']?: number } = {};
  let peers: string[] | undefined;
  let subscribe = `${host}:${Number(port) + 1}`;
  for (const [name, value] of new URLSearchParams(query)) {
    if (name === 'peers') peers = value === '' ? [] : value.split(',').map((peer) => `tcp://${peer}`);
    else if (name === 'subscribe') subscribe = /^\d+$/.test(value) ? `${host}:${value}` : value;
    else if (name === 'highWaterMark' || name === 'maxMessageBytes') options[name] = Number(value);
    else throw new MillraceError('INVALID_ARGUMENT', `A ZeroMQ URL has no parameter "${name}".`);
  }
  const own = `tcp://${host}:${port}`;
  return peers === undefined
    ? zeromq({ ...options, forwarder: { publish: own, subscribe: `tcp://${subscribe}` } })
    : zeromq({ ...options, mesh: { bind: own, peers } });
}
