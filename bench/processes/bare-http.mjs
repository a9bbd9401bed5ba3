// The least that node:http can do: answers 204, whatever is asked.
import { createServer } from 'node:http';
import './options.mjs';
import './usage.mjs';

const server = createServer((_req, res) => {
  res.writeHead(204);
  res.end();
});
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
