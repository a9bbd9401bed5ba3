// Many SSE followers of one stream: counts how often the marker of an append arrives. Raw sockets, as above.
import { connect } from 'node:net';
import { options } from './options.mjs';

const { port, path, followers } = options;
const MARKER = Buffer.from('data:x');
const SPACED = Buffer.from('data: x');

let delivered = 0;
let ready = 0;

function open() {
  const socket = connect(port, '127.0.0.1');
  socket.write(`GET ${path}?offset=now&live=sse HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
  let follows = false;
  socket.on('data', (data) => {
    if (!follows && data.includes('upToDate')) {
      follows = true;
      if (++ready === followers) process.send({ ready });
    }
    for (const marker of [MARKER, SPACED]) {
      for (let at = data.indexOf(marker); at >= 0; at = data.indexOf(marker, at + marker.length)) delivered++;
    }
  });
}

for (let i = 0; i < followers; i++) {
  open();
  // The accept queue of a server holds only so many.
  if (i % 100 === 99) await new Promise((resolve) => setTimeout(resolve, 50));
}
process.on('message', () => process.send({ delivered }));
