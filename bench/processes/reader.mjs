// Reads one response until so many bytes of its body have come, whatever their framing, and says how long it took.
import { connect } from 'node:net';
import { options } from './options.mjs';

const { port } = options;
const buffer = Buffer.allocUnsafe(1024 * 1024);

/** Counts the payload of a chunked body; of any other body every byte. */
class Body {
  bytes = 0;
  #chunked;
  #left = 0;
  #size = '';

  constructor(head) {
    this.#chunked = /^transfer-encoding: *chunked/im.test(head);
  }

  take(data) {
    if (!this.#chunked) {
      this.bytes += data.length;
      return;
    }
    let at = 0;
    while (at < data.length) {
      if (this.#left > 0) {
        // The two bytes after a chunk are not payload.
        const length = Math.min(this.#left, data.length - at);
        this.bytes += Math.max(0, Math.min(length, this.#left - 2));
        this.#left -= length;
        at += length;
        continue;
      }
      const byte = data[at++];
      if (byte === 10) {
        this.#left = Number.parseInt(this.#size, 16) + 2;
        this.#size = '';
      } else if (byte !== 13) this.#size += String.fromCharCode(byte);
    }
  }
}

process.on('message', ({ path, bytes }) => {
  const start = process.hrtime.bigint();
  let head = '';
  let body;
  const socket = connect({
    port,
    host: '127.0.0.1',
    onread: {
      buffer,
      callback(length) {
        let data = buffer.subarray(0, length);
        if (body === undefined) {
          head += data.toString('latin1');
          const end = head.indexOf('\r\n\r\n');
          if (end < 0) return true;
          if (!head.startsWith('HTTP/1.1 200')) throw new Error(head);
          body = new Body(head.slice(0, end + 2));
          data = Buffer.from(head.slice(end + 4), 'latin1');
        }
        body.take(data);
        if (body.bytes < bytes) return true;
        process.send({ seconds: Number(process.hrtime.bigint() - start) / 1e9, bytes: body.bytes });
        socket.destroy();
        return false;
      },
    },
  });
  socket.on('error', (error) => {
    throw error;
  });
  socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
});
process.send('ready');
