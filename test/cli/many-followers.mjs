// Many followers in one process: `node many-followers.mjs URL COUNT BYTES`. Prints `open` once all are answered, then
// `received HASH` once each has BYTES bytes, the same ones, and `ended` once the server has ended all of them.
import { createHash } from 'node:crypto';
import { Agent, get } from 'node:http';

const [url, count, bytes] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const agent = new Agent({ maxSockets: count });
const hashes = new Set();
const done = { open: 0, received: 0, ended: 0 };

function tell(event, text) {
  if (++done[event] === count) console.log(text());
}

function follow() {
  const request = get(url, { agent }, (response) => {
    if (response.statusCode !== 200) throw new Error(`Answered ${response.statusCode}`);
    tell('open', () => 'open');
    const hash = createHash('sha256');
    let length = 0;
    response.on('data', (data) => {
      hash.update(data);
      length += data.length;
      if (length !== bytes) return;
      hashes.add(hash.digest('hex'));
      tell('received', () => `received ${[...hashes].join(' ')}`);
    });
    response.on('end', () => tell('ended', () => 'ended'));
  });
  request.on('error', (error) => {
    throw error;
  });
}

for (let i = 0; i < count; i++) follow();
