// Many followers in a process of their own: a process has only so many file descriptors. Says how many connections have
// received each of the marks, a text in which `#` stands for the number of the connection.
import { connect } from 'node:net';

const { port, count, target, marks } = JSON.parse(process.argv[2]);
/** The accept queue of the system is no longer than this. */
const CONNECTING_MAX = 128;

const numbered = (text, i) => text.replaceAll('#', String(i));
const seen = marks.map(() => 0);

function open(i) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    let next = 0;
    socket.on('connect', () => {
      socket.write(`GET ${numbered(target, i)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`, resolve);
    });
    socket.on('data', (data) => {
      text += data.toString('latin1');
      while (next < marks.length && text.includes(numbered(marks[next], i))) {
        if (++seen[next] === count) process.send(next);
        next++;
      }
    });
  });
}

for (let i = 0; i < count; i += CONNECTING_MAX) {
  await Promise.all(Array.from({ length: Math.min(CONNECTING_MAX, count - i) }, (_, j) => open(i + j)));
}
process.send('open');
