// Appends at a steady rate and follows the same stream by SSE: how long from the request to the event, in ms.
import { connect } from 'node:net';
import { options } from './options.mjs';

const { port, path, perSecond, appends } = options;
const sent = new Map();
const latencies = [];

const follower = connect(port, '127.0.0.1').setNoDelay(true);
follower.write(`GET ${path}?offset=now&live=sse HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
let text = '';
let started = false;
follower.on('data', (data) => {
  const now = performance.now();
  text += data.toString('latin1');
  if (!started && text.includes('upToDate')) {
    started = true;
    begin();
  }
  // The lines of several appends in one batch end in line breaks of their own or of the event.
  for (const [, number] of text.matchAll(/<(\d+)>/g)) {
    const since = sent.get(number);
    if (since === undefined) continue;
    sent.delete(number);
    latencies.push(now - since);
  }
  text = text.slice(-32);
  if (latencies.length === appends) {
    latencies.sort((a, b) => a - b);
    const quantile = (q) => latencies[Math.floor(q * (latencies.length - 1))];
    process.send({ p50: quantile(0.5), p99: quantile(0.99) });
  }
});

function begin() {
  const appender = connect(port, '127.0.0.1').setNoDelay(true);
  appender.resume();
  let number = 0;
  const timer = setInterval(() => {
    const body = `<${number}>`.padEnd(99, 'x').concat('\n');
    sent.set(String(number++), performance.now());
    appender.write(
      `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n${body}`,
    );
    if (number === appends) clearInterval(timer);
  }, 1000 / perSecond);
}
