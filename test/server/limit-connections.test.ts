import { EventEmitter } from 'node:events';
import type { Server } from 'node:http';
import { expect, it } from 'vitest';
import { limitConnections } from '../../src/server/limit-connections.js';

/** A connection from an address. Tests stay on this machine, whose own addresses have no limit. */
class Connection extends EventEmitter {
  readonly remoteAddress: string;
  destroyed = false;

  constructor(remoteAddress: string) {
    super();
    this.remoteAddress = remoteAddress;
  }

  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

function limited(perAddressMax: number): (address: string) => Connection {
  const server = new EventEmitter() as Server;
  limitConnections(server, perAddressMax);
  return (address) => {
    const connection = new Connection(address);
    server.emit('connection', connection);
    // As for one whose upgrade is ignored.
    server.emit('connection', connection);
    return connection;
  };
}

it('an address has its connections, and no more until one of them ends', () => {
  const connect = limited(2);
  const [first, second, third] = ['192.0.2.1', '::ffff:192.0.2.1', '192.0.2.1'].map(connect);
  expect([first, second, third].map((each) => each?.destroyed)).toEqual([false, false, true]);
  expect(connect('192.0.2.2').destroyed).toBe(false);
  first?.destroy();
  expect(connect('192.0.2.1').destroyed).toBe(false);
  expect(connect('192.0.2.1').destroyed).toBe(true);
});

it('addresses of this machine have as many as there may be: a proxy may be there', () => {
  const connect = limited(1);
  for (const address of ['127.0.0.1', '::1', '127.0.0.1', '::ffff:127.0.0.1', '::1']) {
    expect(connect(address).destroyed).toBe(false);
  }
});
