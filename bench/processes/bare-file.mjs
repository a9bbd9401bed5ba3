// createReadStream().pipe(response), and nothing else.
import { createReadStream } from 'node:fs';
import { createServer } from 'node:http';
import { options } from './options.mjs';
import './usage.mjs';

const server = createServer((_, response) => {
  createReadStream(options.file).pipe(response);
});
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
