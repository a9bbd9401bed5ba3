// Many sockets that ask for a live stream and count what they get. A record whose last byte is END ends it: no
// parsing, so that the load generator costs as little as it can and the same whoever serves.
import { connect } from 'node:net';
import { options } from './options.mjs';
import { END } from './records.mjs';

const { port, followers, path } = options;
const request = `GET ${path}?live=raw&offset=now HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`;
const buffer = Buffer.allocUnsafe(256 * 1024);
let open = 0;
let ended = 0;
let bytes = 0;

for (let count = 0; count < followers; count++) {
  let head = true;
  const socket = connect({
    port,
    host: '127.0.0.1',
    onread: {
      buffer,
      callback(length) {
        if (head) {
          head = false;
          if (++open === followers) process.send('open');
          return true;
        }
        bytes += length;
        // The record, or the chunk that it ends: CR LF follows then.
        if ((buffer[length - 1] === END || buffer[length - 3] === END) && ++ended === followers) {
          process.send({ bytes });
          ended = 0;
          bytes = 0;
        }
        return true;
      },
    },
  });
  socket.on('error', (error) => {
    throw error;
  });
  socket.write(request);
}
