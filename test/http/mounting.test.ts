import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import fastify from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createHandler, type Handler } from '../../src/http/index.js';
import { createMemoryStore, type Store } from '../../src/log/index.js';
import { ask, problemOf } from './test-server.js';
import { open } from './test-socket.js';

let store: Store;
let handler: Handler;
let close: () => Promise<unknown>;

beforeEach(() => {
  store = createMemoryStore();
  handler = createHandler({ store, prefix: '/streams' });
});

afterEach(async () => {
  await handler.close({ drainMs: 500 });
  await close();
  await store.close();
});

async function listen(server: Server): Promise<{ port: number }> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return server.address() as AddressInfo;
}

/** What must work wherever the listeners are mounted, beside the host's own routes. */
async function worksBelowPrefix(server: { port: number }): Promise<void> {
  const appender = await open(server, '/streams/foo.txt?verb=append');
  const follower = await open(server, '/streams/foo.txt?verb=follow');
  appender.ws.send('over WebSocket');
  await follower.has(14);
  appender.ws.close();
  expect((await follower.closed).code).toBe(1000);
  expect((await ask(server, 'GET', '/streams/foo.txt')).text).toBe('over WebSocket');

  expect((await ask(server, 'PUT', '/streams/bar.txt?verb=append', { body: 'a body' })).status).toBe(204);
  expect((await ask(server, 'GET', '/streams/bar.txt')).text).toBe('a body');
  const created = await ask(server, 'PUT', '/streams/new', {
    headers: { 'Content-Type': 'application/json' },
    body: '[1]',
  });
  expect(created.status).toBe(201);
  expect(created.headers.location).toMatch(/\/streams\/new$/);
  expect((await ask(server, 'GET', '/streams/-/health')).status).toBe(200);
  expect((await store.list()).streams.map(({ path }) => path)).toEqual(['bar.txt', 'foo.txt', 'new']);

  expect(problemOf(await ask(server, 'GET', '/streams/../etc/passwd'))).toBe('INVALID_PATH');
  expect(problemOf(await ask(server, 'GET', '/streams'))).toBe('INVALID_PATH');
  for (const path of ['/own', '/streamsandmore']) {
    expect((await ask(server, 'GET', path)).text).toBe('the host');
  }
}

describe('mounted under a prefix', () => {
  it('in a plain node:http server', async () => {
    const server = createServer((req, res) => {
      if (!handler.request(req, res)) res.end('the host');
    });
    server.on('upgrade', (req, socket, head) => {
      if (!handler.upgrade(req, socket, head)) socket.destroy();
    });
    await worksBelowPrefix(await listen(server));
  });

  it('in Express, as middleware', async () => {
    const app = express();
    app.use(handler.request);
    app.get('/{*any}', (_, res) => {
      res.end('the host');
    });
    const server = createServer(app).on('upgrade', handler.upgrade);
    await worksBelowPrefix(await listen(server));
  });

  it('in Express, at a path of its own, which shortens the URL', async () => {
    const app = express();
    app.use('/streams', handler.request);
    app.get('/{*any}', (_, res) => {
      res.end('the host');
    });
    const server = createServer(app).on('upgrade', handler.upgrade);
    await worksBelowPrefix(await listen(server));
  });

  it('in Fastify, before it parses bodies', async () => {
    const app = fastify();
    app.addHook('onRequest', (request, reply, done) => {
      if (handler.request(request.raw, reply.raw)) reply.hijack();
      else done();
    });
    app.get('/*', (_, reply) => reply.send('the host'));
    app.server.on('upgrade', handler.upgrade);
    await app.listen({ port: 0, host: '127.0.0.1' });
    close = async () => {
      app.server.closeAllConnections();
      await app.close();
    };
    await worksBelowPrefix(app.server.address() as AddressInfo);
  });
});
