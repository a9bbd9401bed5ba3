import { afterEach, beforeEach, expect, it } from 'vitest';
import { dial, serve, type TestServer, until } from './test-server.js';

let server: TestServer;

beforeEach(async () => {
  server = await serve();
});

afterEach(() => server.close());

// `curl --http2` and others ask for another protocol than WebSocket, and are answered as if they had not. By then Node
// has let go of the connection.
it('a follower that asked for HTTP/2 is gone when its client is', async () => {
  await server.store.create('a', { contentType: 'text/plain' });
  const count = () => new Promise<number>((resolve) => server.server.getConnections((_, open) => resolve(open)));
  const sockets = await Promise.all(
    Array.from({ length: 3 }, async () => {
      const socket = await dial(server);
      socket.write(
        'GET /a?live=raw&offset=-1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n',
      );
      await new Promise((resolve) => socket.once('data', resolve));
      return socket;
    }),
  );
  expect(await count()).toBe(3);
  for (const socket of sockets) socket.end();
  await until(async () => (await count()) === 0);
});
