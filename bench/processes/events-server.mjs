// Server-sent events of one channel: from a memory hub by `sendEvents`, or the same bytes from a bare node:net program.
import { createServer as createHttpServer } from 'node:http';
import { createServer as createNetServer } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { sendEvents } from 'millrace/http';
import { createHub } from 'millrace/hub';
import { options } from './options.mjs';
import './usage.mjs';

const message = 'x'.repeat(98);
const chunk = (text) => Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);

const hub = createHub({ maxLag: 1_000_000 });
const sockets = new Set();
const server = options.bare
  ? createNetServer({ noDelay: true }, (socket) => {
      socket
        .on('error', () => {})
        .once('data', () => {
          socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n');
          socket.write(chunk(':subscribed\n\n'));
          sockets.add(socket);
        });
    })
  : createHttpServer((request, response) => {
      void sendEvents(request, response, hub, 'bench', { maxLag: 1_000_000 });
    });

const publish = options.bare
  ? () => {
      const bytes = chunk(`id: bench@\ndata: ${JSON.stringify(message)}\n\n`);
      for (const socket of sockets) socket.write(bytes);
    }
  : () => hub.publish('bench', message);

process.on('message', async ({ messages }) => {
  if (messages === undefined) return;
  for (let count = 0; count < messages; count++) {
    publish();
    await setImmediate();
  }
  process.send('published');
});
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
