#!/usr/bin/env node
// Events over WebSocket: one connection per browser, by which it follows channels, leaves them and publishes.
import { setMaxListeners } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { sendEventsOverWebSocket } from 'millrace/http';
import { createHub } from 'millrace/hub';

/** Starts the server; `hub` is a URL. A clock ticks on the channel `clock`, so that there is something to see. */
export async function startEventSocket({ port = 8081, hub: url = 'memory:', tickMs = 1000 } = {}) {
  const hub = createHub(url);
  await hub.connect();
  const page = await readFile(new URL('index.html', import.meta.url));

  const server = createServer((_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(page);
  });
  const goingDown = new AbortController();
  const { signal } = goingDown;
  // Each socket listens to it.
  setMaxListeners(0, signal);
  server.on('upgrade', (request, socket, head) => {
    sendEventsOverWebSocket(request, socket, head, hub, 'clock', { signal });
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));

  const clock = setInterval(() => {
    // A broker that is away for a moment is no reason to end: the next tick tries again.
    hub.publish('clock', new Date().toISOString()).catch((error) => console.error(error.message));
  }, tickMs);
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    async close() {
      clearInterval(clock);
      // Also the sockets of browsers that follow nothing: the hub knows none of those.
      goingDown.abort();
      await hub.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [hub] = process.argv.slice(2);
  const server = await startEventSocket({
    ...(hub === undefined ? {} : { hub }),
    port: Number(process.env.PORT ?? 8081),
  });
  console.log(`Events are at ${server.url}`);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => server.close());
}
