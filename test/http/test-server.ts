import { createServer, type IncomingHttpHeaders, type IncomingMessage, request, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { configureServer, createHandler, type Handler, type HandlerOptions } from '../../src/http/index.js';
import { createMemoryStore, type Store } from '../../src/log/index.js';

/** A server of its own on a free port, over a memory store. */
export interface TestServer {
  readonly url: string;
  readonly port: number;
  readonly store: Store;
  readonly handler: Handler;
  readonly server: Server;
  close(): Promise<void>;
}

export async function serve(options: Partial<HandlerOptions> = {}): Promise<TestServer> {
  const store = options.store ?? createMemoryStore();
  const handler = createHandler({ ...options, store });
  const server = createServer(handler.request).on('upgrade', handler.upgrade);
  configureServer(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    store,
    handler,
    server,
    async close() {
      await handler.close({ drainMs: 500 });
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await store.close();
    },
  };
}

/** A whole answer. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
}

/** Sends a request exactly as given: unlike `fetch` it leaves the path alone. */
export function ask(
  server: { readonly port: number; readonly host?: string },
  method: string,
  path: string,
  options: { headers?: Record<string, string>; body?: string | Uint8Array } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request(
      {
        host: server.host ?? '127.0.0.1',
        port: server.port,
        method,
        path,
        headers: options.headers ?? {},
        agent: false,
      },
      (res) => resolve(collect(res)),
    );
    req.on('error', reject);
    req.end(options.body);
  });
}

/** Reads a response to its end. Rejects where it was cut off. */
export async function collect(res: IncomingMessage): Promise<Answer> {
  const pieces: Buffer[] = [];
  for await (const piece of res) pieces.push(piece as Buffer);
  const body = Buffer.concat(pieces);
  return { status: res.statusCode ?? 0, headers: res.headers, body, text: body.toString() };
}

/** Begins a request, and gives its response as soon as the headers are there. */
export function begin(
  server: { readonly port: number },
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port: server.port, method, path, headers, agent: false }, resolve)
      .on('error', reject)
      .end();
  });
}

/** A plain connection, for requests that no client library would send. */
export function dial(server: { readonly port: number }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, '127.0.0.1', () => resolve(socket));
    socket.on('error', reject);
  });
}

/** Everything that comes until the server ends the connection. */
export async function drain(socket: Socket): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('latin1');
}

/** The `code` of a problem, checked to be one that a client can understand. */
export function problemOf(answer: Answer): string {
  if (answer.headers['content-type'] !== 'application/problem+json') throw new Error(`No problem: ${answer.text}`);
  const problem = JSON.parse(answer.text) as { code: string; status: number; detail: string; title: string };
  if (problem.status !== answer.status || problem.detail === '' || problem.title === '') throw new Error(answer.text);
  return problem.code;
}

/** Waits, in turns of the event loop, until something is so. */
export async function until(what: () => boolean | Promise<boolean>, limitMs = 10_000): Promise<void> {
  for (const end = Date.now() + limitMs; !(await what()); ) {
    if (Date.now() > end) throw new Error(`Never so: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
