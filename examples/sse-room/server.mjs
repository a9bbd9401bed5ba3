#!/usr/bin/env node
// A chat room over server-sent events: the hub carries the messages, `sendEvents` brings them to browsers.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { sendEvents } from 'millrace/http';
import { createHub } from 'millrace/hub';

const SAYING_BYTES_MAX = 4096;

/** Starts the room; `hub` is a URL. Without one the room is in this process and keeps its newest 100 messages. */
export async function startRoom({ port = 8080, hub: url = 'memory:?history=100' } = {}) {
  const hub = createHub(url);
  await hub.connect();
  const page = await readFile(new URL('index.html', import.meta.url));

  const server = createServer(async (request, response) => {
    // A client may ask for what is no URL, say for `//`.
    if (!URL.canParse(request.url, 'http://room')) {
      response.writeHead(400).end();
      return;
    }
    const { pathname } = new URL(request.url, 'http://room');
    const room = /^\/rooms\/([a-z0-9-]{1,32})$/.exec(pathname)?.[1];
    if (room !== undefined && request.method === 'GET') {
      // Answers errors itself, ends when the browser leaves, and goes on where a browser that comes back has been.
      await sendEvents(request, response, hub, `room.${room}`);
    } else if (room !== undefined && request.method === 'POST') {
      await say(hub, `room.${room}`, request, response);
    } else if (pathname === '/') {
      response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' }).end(page);
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    async close() {
      // Ends the events of all browsers too.
      await hub.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function say(hub, channel, request, response) {
  try {
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) {
      body += chunk;
      if (body.length > SAYING_BYTES_MAX) throw new Error('That is too long.');
    }
    const { who, text } = JSON.parse(body);
    if (typeof who !== 'string' || typeof text !== 'string') throw new Error('Say who you are, and what.');
    await hub.publish(channel, { who, text, at: new Date().toISOString() });
    response.writeHead(204).end();
  } catch (error) {
    response.writeHead(400, { 'Content-Type': 'text/plain' }).end(error.message);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [hub] = process.argv.slice(2);
  const room = await startRoom({ ...(hub === undefined ? {} : { hub }), port: Number(process.env.PORT ?? 8080) });
  console.log(`The room is at ${room.url}`);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => room.close());
}
