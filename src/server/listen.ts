import { lookup } from 'node:dns/promises';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MillraceError } from '../errors.js';

/** Listens, and answers the URL. Errors: `LISTEN_FAILED`, with a sentence for each usual reason. */
export function listen(server: Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException) => {
      reject(
        new MillraceError('LISTEN_FAILED', `Cannot listen on ${authority(host, port)}: ${reasonOf(error)}`, {
          host,
          port,
        }),
      );
    };
    server.once('error', refuse);
    server.listen(port, host, () => {
      server.removeListener('error', refuse);
      const { port: actual } = server.address() as AddressInfo;
      resolve(`http://${authority(reachable(host), actual)}`);
    });
  });
}

/** Whether only programs on this machine reach a server that listens there. */
export async function isLoopbackAddress(host: string): Promise<boolean> {
  try {
    const { address } = await lookup(host);
    return address === '::1' || address.startsWith('127.') || address.startsWith('::ffff:127.');
  } catch {
    // There is no such host: to listen fails too, and says so.
    return false;
  }
}

function reasonOf(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return 'the port is in use. Stop the program that has it, or choose another port.';
    case 'EACCES':
      return 'the system does not allow this port. Choose one above 1023.';
    case 'EADDRNOTAVAIL':
      return 'this machine has no such address. Choose one of its own, or 0.0.0.0 for all.';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'there is no such host name.';
    default:
      return `the system says ${error.code ?? error.message}.`;
  }
}

/** An address that a program on this machine can use: "every address" is none. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

function authority(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
