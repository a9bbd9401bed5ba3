import { type ErrorCode, MillraceError } from '../errors.js';
import { APPEND_PROTOCOL, type CloseStream, type ServerMessage, type Welcome } from '../wire/append-protocol.js';
import type { CheckedConnection } from './connection-options.js';
import { type Deferred, deferred } from './deferred.js';
import { connectionLost, errorFromProblem, errorFromRefusal } from './problem.js';
import { explainRefusal } from './requests.js';
import { openSocket, type Socket } from './socket.js';

/** One connection of an appender, from its welcome on. */
export interface AppendConnection {
  readonly welcome: Welcome;
  /** Who is told of what happens from now on, and of what happened since the welcome. */
  attach(events: AppendConnectionEvents): void;
  /** Sends a frame. */
  send(frame: Uint8Array): void;
  /** Asks the server to close the stream after all frames so far. */
  closeStream(): void;
  /** Says goodbye; resolves when the server has answered, or the connection is gone in another way. */
  close(): Promise<void>;
  /** Cuts the connection. */
  terminate(): void;
}

/** What happens on an {@link AppendConnection}. */
export interface AppendConnectionEvents {
  /** All frames up to `seq` are durable, and end at `offset`. */
  onAck(ack: { readonly seq: number; readonly offset: string; readonly closed: boolean }): void;
  /** The connection is over; `error` says why. Nothing follows. */
  onLost(error: MillraceError): void;
}

/** What a close code says where the server gave no error of its own (docs/websocket.md). */
const codeOfClose: Readonly<Record<number, readonly [ErrorCode, string]>> = {
  1009: ['APPEND_TOO_LARGE', 'A frame was larger than the server takes: set a smaller frameBytesMax.'],
  4400: ['INVALID_REQUEST', 'The server did not understand a frame: in a JSON stream each write must be JSON.'],
  4403: ['PRODUCER_FENCED', 'A newer appender with the same producer id has taken over.'],
  4404: ['STREAM_NOT_FOUND', 'The stream was deleted.'],
  4409: ['STREAM_CLOSED', 'The stream was closed: nothing can be appended to it any more.'],
};

/**
 * Connects and waits for the server's welcome.
 * Errors: `CONNECTION_FAILED`, `UNEXPECTED_RESPONSE`, and what the server answers; the signal's reason.
 */
export async function connectAppend(url: URL, options: CheckedConnection): Promise<AppendConnection> {
  const link = new Link(url);
  const outcome = await openSocket(url, link, { ...options, protocols: [APPEND_PROTOCOL] });
  if (outcome.kind === 'refused') {
    throw outcome.refusal === undefined ? await explainRefusal(url, options) : errorFromRefusal(outcome.refusal, url);
  }
  if (outcome.socket.protocol !== APPEND_PROTOCOL) {
    outcome.socket.terminate();
    throw new MillraceError(
      'UNEXPECTED_RESPONSE',
      `${url.host} does not speak ${APPEND_PROTOCOL}: it is no Millrace server, or an older one.`,
    );
  }
  const cut = () => outcome.socket.terminate();
  const timer = setTimeout(cut, options.connectTimeoutMs);
  options.signal?.addEventListener('abort', cut, { once: true });
  try {
    const welcome = await link.welcome.promise;
    return {
      welcome,
      attach: (events) => link.attach(events),
      send: (frame) => outcome.socket.send(frame),
      closeStream: () => outcome.socket.send(JSON.stringify({ type: 'close' } satisfies CloseStream)),
      close: () => {
        outcome.socket.close();
        return link.over.promise;
      },
      terminate: () => outcome.socket.terminate(),
    };
  } catch (error) {
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', cut);
  }
}

/** What comes from the server, sorted. */
class Link {
  readonly welcome: Deferred<Welcome> = deferred();
  /** Resolves when the connection is over, for whatever reason. */
  readonly over: Deferred<void> = deferred();
  readonly #url: URL;
  #socket: Socket | undefined;
  #events: AppendConnectionEvents | undefined;
  #error: MillraceError | undefined;
  #lost: MillraceError | undefined;

  constructor(url: URL) {
    this.#url = url;
    // Whoever awaits it is told; when the connection attempt itself failed, nobody does.
    this.welcome.promise.catch(() => undefined);
  }

  attach(events: AppendConnectionEvents): void {
    this.#events = events;
    if (this.#lost !== undefined) events.onLost(this.#lost);
  }

  onOpen(socket: Socket): void {
    this.#socket = socket;
  }

  onText(text: string): void {
    const message = parseServerMessage(text);
    switch (message?.type) {
      case 'welcome':
        this.welcome.resolve(message);
        return;
      case 'ack':
        // Before anybody can have sent anything there is nothing to acknowledge.
        if (this.#events === undefined) this.#notUnderstood();
        else this.#events.onAck({ seq: message.seq, offset: message.offset, closed: message.closed === true });
        return;
      case 'error':
        this.#error = errorFromProblem(message.problem, message.problem.status, this.#url);
        return;
      default:
        this.#notUnderstood();
    }
  }

  onBinary(): void {
    this.#notUnderstood();
  }

  onClose(code: number, reason: string): void {
    const known = codeOfClose[code];
    const error =
      this.#error ??
      (known === undefined ? connectionLost(this.#url, code, reason) : new MillraceError(known[0], known[1]));
    this.#lost = error;
    this.welcome.reject(error);
    this.over.resolve();
    this.#events?.onLost(error);
  }

  #notUnderstood(): void {
    this.#error ??= new MillraceError(
      'UNEXPECTED_RESPONSE',
      `${this.#url.host} sent what ${APPEND_PROTOCOL} does not know.`,
    );
    this.#socket?.terminate();
  }
}

/** A message of the server, checked as far as it is used. */
function parseServerMessage(text: string): ServerMessage | undefined {
  let message: Partial<Record<string, unknown>> | null;
  try {
    message = JSON.parse(text) as typeof message;
  } catch {
    return undefined;
  }
  switch (message?.type) {
    case 'welcome':
      return typeof message.offset === 'string' &&
        typeof message.contentType === 'string' &&
        typeof message.json === 'boolean' &&
        Number.isSafeInteger(message.frameBytesMax)
        ? (message as unknown as ServerMessage)
        : undefined;
    case 'ack':
      return typeof message.offset === 'string' && Number.isSafeInteger(message.seq)
        ? (message as unknown as ServerMessage)
        : undefined;
    case 'error':
      return typeof message.problem === 'object' && message.problem !== null
        ? (message as unknown as ServerMessage)
        : undefined;
    default:
      return undefined;
  }
}
