import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** A connection as `node:http` keeps it. */
interface HttpSocket extends Duplex {
  readonly server?: Server;
  /** The response whose turn it is. */
  readonly _httpMessage?: ServerResponse | null;
  readonly encrypted?: boolean;
}

/**
 * Goes on as if the request had asked for no upgrade (RFC 9110, section 7.8: an `Upgrade` that is not spoken is ignored).
 * `curl --http2` and Java's client ask for `h2c` with any request, also with one that has a body; by now Node has let go
 * of the connection, in the middle of it. So the server gets it again, with the same head without the upgrade.
 * False where the connection knows no server: then there is nobody to give it to.
 */
export function ignoreUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): boolean {
  const { server, encrypted } = socket as HttpSocket;
  if (server === undefined) return false;
  if (head.length > 0) socket.unshift(head);
  socket.unshift(headWithoutUpgrade(req));
  // The server's own; it is about to add them anew.
  socket.removeAllListeners('timeout');
  server.emit(encrypted === true ? 'secureConnection' : 'connection', socket);
  return true;
}

/**
 * Calls `next` once all requests that came before on the connection were answered; not at all if the connection ends.
 * Node tells of an upgrade as soon as it has read it, whatever it was pipelined behind.
 */
export function whenAnswered(socket: Duplex, next: () => void): void {
  const current = (socket as HttpSocket)._httpMessage;
  if (current === undefined || current === null) {
    next();
    return;
  }
  // The server does this until there is an upgrade.
  const onDrain = () => current.emit('drain');
  socket.on('drain', onDrain);
  current.once('close', () => {
    socket.off('drain', onDrain);
    if (!socket.destroyed) whenAnswered(socket, next);
  });
}

/** The fields that speak of an upgrade; those that `Connection` names go with it. */
const UPGRADE_FIELDS: ReadonlySet<string> = new Set(['upgrade', 'http2-settings']);

function headWithoutUpgrade({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = rawHeaders.slice(i, i + 2);
    const key = name.toLowerCase();
    if (UPGRADE_FIELDS.has(key)) continue;
    if (key !== 'connection') {
      lines.push(`${name}: ${value}`);
      continue;
    }
    const options = value.split(',').filter((option) => !UPGRADE_FIELDS.has(option.trim().toLowerCase()));
    if (options.length > 0) lines.push(`${name}: ${options.join(',')}`);
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}
