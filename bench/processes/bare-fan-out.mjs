// The least that can be done: what one socket sends is written to all others, as an HTTP chunk.
import { createServer } from 'node:net';
import './options.mjs';
import { RECORD_BYTES } from './records.mjs';
import './usage.mjs';

const HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
const followers = new Set();
const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {});
  socket.once('data', (first) => {
    if (first.subarray(0, 3).toString() === 'GET') {
      socket.write(HEAD);
      followers.add(socket);
      socket.once('close', () => followers.delete(socket));
      socket.resume();
      return;
    }
    let bytes = 0;
    const fanOut = (data) => {
      const chunk = Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from('\r\n')]);
      for (const follower of followers) follower.write(chunk);
      bytes += data.length;
      const count = Buffer.allocUnsafe(8);
      count.writeDoubleBE(Math.floor(bytes / RECORD_BYTES));
      socket.write(count);
    };
    socket.on('data', fanOut);
    fanOut(first);
  });
});
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
