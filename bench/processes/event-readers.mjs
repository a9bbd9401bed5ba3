// Many sockets that ask for the events of a channel and count bytes: no parsing, the same whoever serves.
import { connect } from 'node:net';
import { options } from './options.mjs';

const { port, readers } = options;
const SUBSCRIBED = ':subscribed';
const buffer = Buffer.allocUnsafe(256 * 1024);
let ready = 0;
let bytes = 0;
let wanted = Number.POSITIVE_INFINITY;

function open() {
  let head = '';
  const socket = connect({
    port,
    host: '127.0.0.1',
    onread: {
      buffer,
      callback(length) {
        if (head !== undefined) {
          head += buffer.toString('latin1', 0, length);
          if (!head.includes(SUBSCRIBED)) return true;
          head = undefined;
          if (++ready === readers) process.send('ready');
          return true;
        }
        bytes += length;
        if (bytes >= wanted) process.send({ bytes });
        return true;
      },
    },
  });
  socket.on('error', (error) => {
    throw error;
  });
  socket.write(`GET / HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
}

process.on('message', (message) => {
  bytes = 0;
  wanted = message.bytes;
  process.send('counting');
});
for (let count = 0; count < readers; count++) {
  open();
  // The accept queue of a server holds only so many.
  if (count % 100 === 99) await new Promise((resolve) => setTimeout(resolve, 50));
}
