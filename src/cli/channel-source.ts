import { InvalidArgumentError } from 'commander';
import { WebSocket } from 'ws';
import { DEFAULT_CONNECT_TIMEOUT_MS } from '../client/index.js';
import { type ErrorCode, errorCodes, isMillraceError, MillraceError } from '../errors.js';
import { createHub, EncodedMessage, encodedMessageOf, type Gap, type HubEvent, type Pattern } from '../hub/index.js';
import { combineSignals } from '../signals.js';
import { collectMembers, JsonScanner } from '../wire/index.js';

/** What comes on a channel: a message as it was written, or a gap. */
export type ChannelEvent =
  | { readonly channel: string; readonly message: EncodedMessage; readonly gap?: undefined }
  | { readonly channel: string; readonly gap: Gap };

type OnEvent = (event: ChannelEvent) => Promise<void>;

/**
 * Where channels are: a broker (`redis://…`, any URL that `createHub` takes), or the hub of a Millrace server
 * (`http://…`). Both look the same to the commands.
 */
export interface ChannelSource {
  publish(channel: string, message: EncodedMessage): Promise<void>;
  /** Calls `onEvent` with each message and gap; a promise that it returns is awaited. Resolves when `signal` aborts. */
  follow(
    targets: readonly (string | Pattern)[],
    onEvent: OnEvent,
    onReady: () => void,
    signal: AbortSignal,
  ): Promise<void>;
  close(): Promise<void>;
}

/** Opens a source. Errors: those of `createHub`. */
export function openChannels(url: URL): ChannelSource {
  return url.protocol === 'http:' || url.protocol === 'https:' ? serverSource(url) : brokerSource(url);
}

/** A broker's or server's URL as people type it, for commander: without a scheme, `http://` is meant. */
export function channelsUrl(text: string): URL {
  // In `localhost:4437` the host looks like a scheme; `memory:` is the one that needs no slashes.
  const url = /^([a-z][a-z0-9+.-]*:\/\/|memory:)/i.test(text) ? text : `http://${text}`;
  if (URL.canParse(url)) return new URL(url);
  throw new InvalidArgumentError(
    'It must be a URL like http://localhost:4437 (a server) or redis://localhost (a broker).',
  );
}

function brokerSource(url: URL): ChannelSource {
  const hub = createHub(url.href);
  return {
    publish: (channel, message) => hub.publish(channel, message),
    async follow(targets, onEvent, onReady, signal) {
      const subscription = hub.subscribe(targets);
      signal.addEventListener('abort', () => subscription.close(), { once: true });
      if (signal.aborted) subscription.close();
      await subscription.ready;
      onReady();
      await subscription.consume((event: HubEvent) => onEvent(asWritten(event)));
    },
    close: () => hub.close(),
  };
}

function asWritten(event: HubEvent): ChannelEvent {
  if (event.gap !== undefined) return event;
  const message = encodedMessageOf(event) ?? EncodedMessage.json(JSON.stringify(event.message));
  return { channel: event.channel, message };
}

function serverSource(base: URL): ChannelSource {
  /** Below the server's own path; what its query holds, a token for instance, is kept. */
  const place = (name: string, query: URLSearchParams) => {
    const url = new URL(base);
    url.pathname = `${base.pathname.replace(/\/$/, '')}/-/${name}`;
    url.hash = '';
    for (const [key, value] of query) url.searchParams.append(key, value);
    return url;
  };
  return {
    async publish(channel, message) {
      const { signal, release } = combineSignals([], DEFAULT_CONNECT_TIMEOUT_MS);
      const request = {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: message.bytes as Uint8Array<ArrayBuffer>,
        signal,
      };
      try {
        const response = await fetch(place('publish', new URLSearchParams({ channel })), request);
        if (!response.ok) throw refused(response.status, await response.text());
      } catch (cause) {
        throw isMillraceError(cause) ? cause : unreachable(base, cause);
      } finally {
        release();
      }
    },
    follow(targets, onEvent, onReady, signal) {
      const query = new URLSearchParams();
      for (const target of targets) {
        if (typeof target === 'string') query.append('channel', target);
        else query.append('pattern', target.pattern);
      }
      const url = place('events', query);
      url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
      return followServer(url, base, onEvent, onReady, signal);
    },
    close: async () => {},
  };
}

/** The WebSocket protocol of docs/events.md. */
function followServer(url: URL, base: URL, onEvent: OnEvent, onReady: () => void, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout: DEFAULT_CONNECT_TIMEOUT_MS });
    const stop = () => {
      clearTimeout(answer);
      resolve();
      socket.close();
    };
    // The handshake has a limit of its own; a server that then says nothing is no better.
    const answer = setTimeout(() => {
      socket.terminate();
      reject(unreachable(base, new Error(`it did not answer within ${DEFAULT_CONNECT_TIMEOUT_MS} ms`)));
    }, DEFAULT_CONNECT_TIMEOUT_MS);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    socket.on('unexpected-response', (_, response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text) => {
        body += text;
      });
      response.on('end', () => reject(refused(response.statusCode ?? 0, body)));
    });
    socket.on('error', (cause) => reject(unreachable(base, cause)));
    socket.on('close', () => clearTimeout(answer));
    socket.on('close', () => reject(unreachable(base, new Error('the server ended the connection'))));
    socket.on('message', (data) => {
      try {
        const event = readEvent(data as Buffer);
        if ('op' in event) {
          clearTimeout(answer);
          onReady();
        } else {
          socket.pause();
          onEvent(event).then(() => socket.resume(), reject);
        }
      } catch (error) {
        reject(isMillraceError(error) && error.code !== 'INVALID_JSON' ? error : notUnderstood(base));
      }
    });
  });
}

const EVENT_MEMBERS: ReadonlySet<string> = new Set(['op', 'channel', 'gap', 'message', 'base64', 'code', 'detail']);

/** What a server says: `ok`, a message or a gap. The message stays the text that it is. Throws the error that it tells of. */
function readEvent(frame: Uint8Array): ChannelEvent | { readonly op: 'ok' } {
  const found = new Map<string, Uint8Array>();
  new JsonScanner(frame, {
    depthMax: Number.POSITIVE_INFINITY,
    onEntry: collectMembers(frame, EVENT_MEMBERS, found),
  }).scan();
  const value = (name: string) => {
    const bytes = found.get(name);
    return bytes === undefined ? undefined : JSON.parse(Buffer.from(bytes).toString());
  };
  const op = value('op');
  if (op === 'ok') return { op };
  if (op === 'error') throw new MillraceError(value('code'), value('detail'));
  const channel = value('channel');
  if (op === 'gap') return { channel, gap: value('gap') };
  const json = found.get('message');
  const message =
    json === undefined
      ? new EncodedMessage(Buffer.from(value('base64'), 'base64'), 'binary')
      : new EncodedMessage(json, 'json');
  return { channel, message };
}

function notUnderstood(base: URL): MillraceError {
  const message = `The server at ${base} sent what is no event of a channel: it is no Millrace server, or another one.`;
  return new MillraceError('UNEXPECTED_RESPONSE', message);
}

function unreachable(base: URL, cause: unknown): MillraceError {
  return new MillraceError(
    'CONNECTION_FAILED',
    `The server at ${base} cannot be reached: ${reasonOf(cause)}`,
    {},
    { cause },
  );
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  if (cause.name === 'TimeoutError') return `it did not answer within ${DEFAULT_CONNECT_TIMEOUT_MS} ms`;
  return (cause.cause as Error | undefined)?.message ?? cause.message;
}

/** The error that a server's problem tells of. */
function refused(status: number, body: string): MillraceError {
  let problem: { code?: unknown; detail?: unknown } = {};
  try {
    problem = JSON.parse(body);
  } catch {
    // No problem of ours: something else answers there.
  }
  const { code, detail } = problem;
  if (typeof detail === 'string' && errorCodes.includes(code as ErrorCode)) {
    return new MillraceError(code as ErrorCode, detail, { status });
  }
  return new MillraceError('UNEXPECTED_RESPONSE', `The server answered ${status}.`, { status });
}
