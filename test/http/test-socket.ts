import { WebSocket } from 'ws';
import { type Answer, collect } from './test-server.js';

export interface Message {
  readonly data: Buffer;
  readonly isBinary: boolean;
}

/** A WebSocket client that keeps what it gets. */
export interface TestSocket {
  readonly ws: WebSocket;
  readonly messages: readonly Message[];
  /** The payloads of all pings so far. */
  readonly pings: readonly Buffer[];
  /** The data of all messages so far. */
  readonly text: string;
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  /** The next message, as JSON. */
  nextJson(): Promise<Record<string, unknown>>;
  /** Resolves when so many bytes of data have come. */
  has(bytes: number): Promise<void>;
}

export interface SocketOptions {
  readonly protocols?: readonly string[];
  readonly headers?: Record<string, string>;
  readonly autoPong?: boolean;
}

/** Connects. Rejects where the server refuses. */
export async function open(
  server: { readonly port: number },
  path: string,
  options: SocketOptions = {},
): Promise<TestSocket> {
  const outcome = await tryOpen(server, path, options);
  if ('status' in outcome) throw new Error(`Refused: ${outcome.status} ${outcome.text}`);
  return outcome;
}

/** Connects, or gives the answer with which the server did not upgrade. */
export function tryOpen(
  server: { readonly port: number },
  path: string,
  options: SocketOptions = {},
): Promise<TestSocket | Answer> {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(`ws://127.0.0.1:${server.port}${path}`, [...(options.protocols ?? [])], {
      headers: options.headers ?? {},
      autoPong: options.autoPong ?? true,
      skipUTF8Validation: true,
    });
    const messages: Message[] = [];
    const pings: Buffer[] = [];
    // The first ones may come together with the handshake.
    ws.on('ping', (payload: Buffer) => pings.push(payload));
    let read = 0;
    let bytes = 0;
    let changed = () => {};
    const wait = async (ready: () => boolean) => {
      while (!ready()) {
        if (ws.readyState === WebSocket.CLOSED)
          throw new Error(`The socket was closed before that came: ${(await closed).code}, after ${bytes} bytes.`);
        await new Promise<void>((resume) => {
          changed = resume;
        });
      }
    };
    const closed = new Promise<{ code: number; reason: string }>((done) => {
      ws.once('close', (code: number, reason: Buffer) => {
        done({ code, reason: reason.toString() });
        changed();
      });
    });
    ws.on('message', (data: Buffer, isBinary: boolean) => {
      messages.push({ data, isBinary });
      bytes += data.length;
      changed();
    });
    ws.once('unexpected-response', (_, response) => resolve(collect(response)));
    ws.on('error', reject);
    ws.once('open', () =>
      resolve({
        ws,
        messages,
        pings,
        closed,
        get text() {
          return Buffer.concat(messages.map(({ data }) => data)).toString();
        },
        async nextJson() {
          await wait(() => messages.length > read);
          return JSON.parse(String(messages[read++]?.data)) as Record<string, unknown>;
        },
        has: (wanted) => wait(() => bytes >= wanted),
      }),
    );
  });
}
