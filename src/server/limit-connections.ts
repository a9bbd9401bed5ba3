import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { clientAddress } from '../http/client-address.js';
import { type Log, SILENT } from '../http/context.js';

/**
 * Cuts off connections of an address beyond `perAddressMax`: whatever a connection may hold, one client cannot have it
 * without end. Addresses of this machine have no limit, since a proxy beside the server has all its clients there.
 */
export function limitConnections(server: Server, perAddressMax: number, log: Log = SILENT): void {
  const counts = new Map<string, number>();
  // A request whose upgrade was ignored makes its connection come once more.
  const counted = new WeakSet<Socket>();
  server.on('connection', (socket: Socket) => {
    const address = clientAddress(socket);
    if (address === undefined || counted.has(socket)) return;
    const count = counts.get(address) ?? 0;
    if (count >= perAddressMax) {
      log.debug({ address, perAddressMax }, 'an address has as many connections as it may');
      socket.destroy();
      return;
    }
    if (count + 1 === perAddressMax)
      log.warn({ address, perAddressMax }, 'an address has as many connections as it may');
    counted.add(socket);
    counts.set(address, count + 1);
    socket.once('close', () => {
      const left = (counts.get(address) ?? 1) - 1;
      if (left === 0) counts.delete(address);
      else counts.set(address, left);
    });
  });
}
