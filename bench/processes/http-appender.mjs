// Appends by POST over many connections, one request at a time on each. Raw sockets: the load must not be the limit.
import { connect } from 'node:net';
import { options } from './options.mjs';

const { port, paths, connections, bytes, warmUpMs, measureMs } = options;
const body = 'x'.repeat(bytes - 1);
const requests = paths.map((path) =>
  Buffer.from(
    `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: text/plain\r\nContent-Length: ${bytes}\r\n\r\n${body}\n`,
  ),
);
const END = Buffer.from('\r\n\r\n');

let answered = 0;
let next = 0;
let failed = 0;
let stopping = false;

function open() {
  const socket = connect(port, '127.0.0.1').setNoDelay(true);
  const send = () => {
    if (stopping) socket.destroy();
    else socket.write(requests[next++ % requests.length]);
  };
  socket.on('connect', send);
  socket.on('error', (error) => {
    if (!stopping) throw error;
  });
  let rest;
  socket.on('data', (data) => {
    const all = rest === undefined ? data : Buffer.concat([rest, data]);
    if (all.indexOf(END) < 0) {
      rest = all;
      return;
    }
    // An answer is 204, so it ends with its head.
    rest = undefined;
    if (all.toString('latin1', 9, 12) !== '204') {
      // Not of use as a figure, but no reason to stop: the connection may have more of the answer to come.
      failed++;
      socket.destroy();
      open();
      return;
    }
    // An answer is 204, so it ends with its head.
    answered++;
    send();
  });
}

for (let i = 0; i < connections; i++) open();
setTimeout(() => {
  const [from, since] = [answered, performance.now()];
  process.send({ measuring: true });
  setTimeout(() => {
    const measured = answered - from;
    process.send({ perSecond: (measured * 1000) / (performance.now() - since), measured, failed });
    stopping = true;
  }, measureMs);
}, warmUpMs);
