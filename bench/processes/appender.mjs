// Appends records as fast as they are acknowledged, never more than `window` of them unacknowledged.
// To Millrace: frames of one WebSocket with acknowledgements, made and read by hand so that the load generator is
// cheap. To a bare program: the records one after the other, answered with the number of those that are durable.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { options } from './options.mjs';
import { RECORD_BYTES, record } from './records.mjs';

const { port, path, websocket } = options;
/** Most records per write: as many as a client would find in its queue. */
const WRITE_RECORDS_MAX = 512;

const socket = connect({ port, host: '127.0.0.1', noDelay: true });
await once(socket, 'connect');

let sent = 0;
let acknowledged = 0;
let acknowledgements = 0;
let onAcknowledged = () => {};

if (websocket) {
  socket.write(
    `GET ${path}?verb=append HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n' +
      'Sec-WebSocket-Protocol: millrace.append.v1\r\n\r\n',
  );
}

let welcome;
const welcomed = new Promise((resolve) => {
  welcome = resolve;
});
let unread = Buffer.alloc(0);
socket.on('data', (data) => {
  unread = unread.length === 0 ? data : Buffer.concat([unread, data]);
  if (websocket) readFrames();
  else readCounts();
  onAcknowledged();
});

/** Frames of the server: not masked, short. */
function readFrames() {
  const headEnd = welcome === undefined ? -1 : unread.indexOf('\r\n\r\n');
  if (welcome !== undefined) {
    if (headEnd < 0) return;
    if (!unread.subarray(0, 12).equals(Buffer.from('HTTP/1.1 101'))) throw new Error(unread.toString());
    unread = unread.subarray(headEnd + 4);
    welcome();
    welcome = undefined;
  }
  while (unread.length >= 2) {
    const short = unread[1];
    const start = short === 126 ? 4 : 2;
    const length = short === 126 ? unread.readUInt16BE(2) : short;
    if (unread.length < start + length) return;
    const payload = unread.subarray(start, start + length);
    const opcode = unread[0] & 0x0f;
    unread = unread.subarray(start + length);
    if (opcode === 9) socket.write(Buffer.concat([Buffer.from([0x8a, 0x80 | payload.length, 0, 0, 0, 0]), payload]));
    if (opcode === 8) throw new Error(`the server closed: ${payload.subarray(2)}`);
    if (opcode !== 1) continue;
    const message = JSON.parse(payload.toString());
    if (message.type === 'error') throw new Error(JSON.stringify(message));
    if (message.type !== 'ack') continue;
    acknowledgements++;
    acknowledged = message.seq + 1;
  }
}

/** Eight bytes each: how many records are durable. */
function readCounts() {
  while (unread.length >= 8) {
    acknowledgements++;
    acknowledged = unread.readDoubleBE(0);
    unread = unread.subarray(8);
  }
}

/** A record as it goes over the wire: for a WebSocket masked, as every client must. */
function onWire(isLast) {
  const data = record(isLast);
  if (!websocket) return data;
  const mask = randomBytes(4);
  return Buffer.concat([Buffer.from([0x82, 0x80 | RECORD_BYTES]), mask, data.map((byte, at) => byte ^ mask[at % 4])]);
}
const many = Buffer.concat(Array.from({ length: WRITE_RECORDS_MAX }, () => onWire(false)));
const wireBytes = many.length / WRITE_RECORDS_MAX;
const lastOnWire = onWire(true);

/** Appends so many records, the last one with its mark, and answers when all are acknowledged. */
function append(records, window) {
  const end = sent + records;
  const before = acknowledgements;
  const start = process.hrtime.bigint();
  const more = () => {
    while (sent < end - 1 && sent - acknowledged < window) {
      const count = Math.min(WRITE_RECORDS_MAX, end - 1 - sent, window - (sent - acknowledged));
      sent += count;
      socket.write(many.subarray(0, count * wireBytes));
    }
    if (sent === end - 1 && sent - acknowledged < window) {
      sent++;
      socket.write(lastOnWire);
    }
    if (acknowledged < end) return;
    onAcknowledged = () => {};
    const seconds = Number(process.hrtime.bigint() - start) / 1e9;
    process.send({ seconds, acknowledgements: acknowledgements - before });
  };
  onAcknowledged = more;
  more();
}

if (websocket) await welcomed;
process.on('message', ({ records, window }) => append(records, window));
process.send('open');
