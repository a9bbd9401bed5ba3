// The least that makes records durable: while one batch is on its way to the disk the next one gathers; then all of it
// goes out with one writev and one fdatasync, and is acknowledged.
import { open } from 'node:fs/promises';
import { createServer } from 'node:net';
import { options } from './options.mjs';
import { RECORD_BYTES } from './records.mjs';
import './usage.mjs';

const file = await open(options.file, 'a');

const server = createServer({ noDelay: true }, (socket) => {
  let gathered = [];
  let busy = false;
  let bytes = 0;
  const commit = async () => {
    busy = true;
    while (gathered.length > 0) {
      const batch = gathered;
      gathered = [];
      for (const { length } of batch) bytes += length;
      await file.writev(batch);
      await file.datasync();
      const count = Buffer.allocUnsafe(8);
      count.writeDoubleBE(Math.floor(bytes / RECORD_BYTES));
      socket.write(count);
    }
    busy = false;
  };
  socket.on('data', (data) => {
    gathered.push(data);
    if (!busy) commit();
  });
  socket.on('error', () => {});
});
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));

// Without a network: batches of so many records, one buffer each.
process.on('message', async ({ records, batch }) => {
  if (records === undefined) return;
  const buffers = new Array(batch).fill(Buffer.alloc(RECORD_BYTES, '.'));
  const start = process.hrtime.bigint();
  for (let done = 0; done < records; done += batch) {
    for (let at = 0; at < batch; at += IOV_MAX) await file.writev(buffers.slice(at, at + IOV_MAX));
    await file.datasync();
  }
  process.send({ seconds: Number(process.hrtime.bigint() - start) / 1e9 });
});

/** Linux takes no more buffers in one writev. */
const IOV_MAX = 1024;
