import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { isMillraceError, MillraceError } from '../errors.js';
import type { Appended, AppendSession, SessionEnd } from '../log/index.js';
import {
  type Ack,
  APPEND_PROTOCOL,
  AppendCloseCode,
  type AppendFailure,
  parseClientMessage,
  type ServerMessage,
} from '../wire/append-protocol.js';
import type { JsonLines } from '../wire/json.js';
import { formatOffset } from '../wire/offset.js';
import { AppendIntake } from './append-intake.js';
import { acquireSession, sessionEnded, wantsClose } from './append-session.js';
import { watchAppender } from './appender-watch.js';
import { clientAddress } from './client-address.js';
import type { HttpContext } from './context.js';
import type { Receiving } from './heartbeat.js';
import { toProblem } from './problem.js';
import type { StreamRoute } from './route.js';
import { jsonLinesOf } from './scan-json.js';
import type { StreamUpgrade } from './upgrade.js';
import { closeWebSocket, whenPeerEnds } from './websocket-close.js';
import { readFrames } from './websocket-frames.js';

/** RFC 6455's close code, as registered with IANA. */
const TRY_AGAIN_LATER = 1013;

/** Acknowledgements wait while more than this is queued for a client that does not read them; the last one says it all. */
const UNREAD_BYTES_MAX = 64 * 1024;

/**
 * WebSocket, verb APPEND, as in httpfstream: each message, text or binary, is appended. The session is had before the
 * handshake, so a second appender is refused with a plain 403. With the subprotocol `millrace.append.v1` the client is
 * told what is durable (docs/websocket.md).
 */
export const appendWebSocket: StreamUpgrade = async (exchange) => {
  const { route, context, socket } = exchange;
  const session = await acquireSession(context, route, exchange.req.headers);
  const acknowledges = exchange.protocols.has(APPEND_PROTOCOL);
  const ws = exchange.accept(acknowledges ? { protocol: APPEND_PROTOCOL } : {});
  // Gone before the handshake: it may be one that comes back, and nobody has heard it say that it was done.
  if (ws === undefined) return session.release({ lost: true });
  if ('setKeepAlive' in socket) {
    (socket as Duplex & { setKeepAlive(on: boolean, ms: number): void }).setKeepAlive(
      true,
      context.limits.heartbeatIntervalMs,
    );
  }
  // The original Go client never reads. Anything that we send it would turn the close of its socket into a reset, and
  // a reset throws away what it had still to send.
  if (acknowledges || !route.verbInHeader) context.heartbeat.watchAppender(ws, socket as Receiving);
  const closes = wantsClose(route, exchange.req.headers);
  new AppendConnection(ws, socket, session, context, route, acknowledges, closes).start();
};

interface WaitingMessage {
  readonly message: Buffer;
  readonly isBinary: boolean;
}

/** How a connection ends: whether its stream is to be closed behind it, and whether its appender was lost. */
interface End {
  readonly close: boolean;
  readonly lost: boolean;
}

class AppendConnection {
  readonly #ws: WebSocket;
  readonly #socket: Duplex;
  readonly #session: AppendSession;
  readonly #context: HttpContext;
  readonly #route: StreamRoute;
  readonly #acknowledges: boolean;
  readonly #closes: boolean;
  readonly #intake: AppendIntake;
  /** The number of this connection's first frame. */
  readonly #firstSeq: number;
  #untrack = () => {};
  #ack: Ack | undefined;
  #ackQueued = false;
  #closing = false;
  /** What came while a large message is checked: its turn is after that one. */
  #waiting: WaitingMessage[] | undefined;
  #checking: Promise<void> | undefined;
  #full = false;
  #stopping = false;
  #ending: Promise<{ readonly error: unknown } | undefined> | undefined;
  #unwatch = () => {};
  /** Of its close frame, 1005 where it named none; undefined as long as there is none. */
  #peerCode: number | undefined;
  /** Nothing more is taken. */
  #over = false;

  constructor(
    ws: WebSocket,
    socket: Duplex,
    session: AppendSession,
    context: HttpContext,
    route: StreamRoute,
    acknowledges: boolean,
    closes: boolean,
  ) {
    this.#ws = ws;
    this.#socket = socket;
    this.#session = session;
    this.#context = context;
    this.#route = route;
    this.#acknowledges = acknowledges;
    this.#closes = closes;
    this.#firstSeq = firstSeq(session, route);
    const events = {
      onFull: (full: boolean) => {
        this.#full = full;
        this.#readOrPause();
      },
      onCommitted: (appended: Appended, frames: number) => this.#onCommitted(appended, frames),
      onFailed: (error: unknown) => this.#fail(error),
    };
    this.#intake = new AppendIntake(session, context, events, clientAddress(socket as Partial<Socket>));
  }

  start(): void {
    const { info, committed } = this.#session;
    if (this.#acknowledges) {
      this.#send({
        type: 'welcome',
        offset: formatOffset(info.tail, info.id),
        contentType: info.contentType,
        json: info.json,
        frameBytesMax: this.#context.limits.frameBytesMax,
        committed: committed ?? null,
      });
    }
    this.#ws.on('message', (data: Buffer, isBinary: boolean) => this.#onMessage(data, isBinary));
    const reading = readFrames(this.#ws, this.#socket, this.#context, {
      // Small frames come by the thousand. In a JSON stream each has to be looked at by itself.
      ...(info.json ? {} : { onRun: (data: Uint8Array, frames: number) => this.#onRun(data, frames) }),
      onClose: (code, answer) => void this.#onPeerCloses(code, answer),
      onRefused: (error) => this.#fail(error),
    });
    this.#unwatch = watchAppender(this.#context.limits, {
      socket: this.#socket as Receiving,
      isPaused: () => this.#ws.isPaused || reading.isWaiting,
      isUnfinished: () => reading.isUnfinished,
      onGone: (error) => this.#fail(error),
    });
    // `ws` closes by itself after a frame that is too large or malformed; what came before it is kept.
    this.#ws.on('error', () => {});
    this.#ws.once('close', (code: number) => {
      this.#context.log.debug({ path: info.path, code }, 'an appender is gone');
    });
    whenPeerEnds(this.#ws, this.#socket, () => void this.#end({ close: false, lost: !this.#isDone() }));
    void this.#session.ended.then((end) => this.#onSessionEnd(end));
    this.#untrack = this.#context.track({
      // It comes back, or is lost: it never said that it was done.
      stop: () => void this.#stop(1001, 'the server is going down'),
      abort: () => this.#ws.terminate(),
    });
  }

  /**
   * The client closes. That is answered once all that it sent is committed: whoever sees the answer finds all of it. If
   * that cannot be, the answer says so.
   */
  async #onPeerCloses(code: number | undefined, answer: () => void): Promise<void> {
    this.#peerCode = code ?? 1005;
    const done = this.#isDone();
    const failure = await this.#end({ close: this.#closes && done, lost: !done });
    if (failure !== undefined && this.#ws.readyState === this.#ws.OPEN) this.#ws.close(closeCodeOf(failure.error));
    answer();
  }

  /**
   * Whether the client has closed as one that is done does: with code 1000, or none. The original Go client closes its
   * connection and says nothing, so that is its way. Anything else may be an accident.
   */
  #isDone(): boolean {
    const code = this.#peerCode;
    if (code !== undefined) return code === 1000 || code === 1005;
    return !this.#acknowledges && this.#route.verbInHeader && this.#socket.readableEnded;
  }

  #onMessage(message: Buffer, isBinary: boolean): void {
    if (this.#waiting === undefined) this.#takeMessage(message, isBinary);
    else this.#waiting.push({ message, isBinary });
  }

  #takeMessage(message: Buffer, isBinary: boolean): void {
    if (this.#over) return;
    try {
      if (this.#acknowledges && !isBinary) {
        parseClientMessage(message.toString());
        this.#closing = true;
        this.#intake.closeStream();
        return;
      }
      this.#checkNotClosing();
      const lines = this.#session.info.json && message.length > 0 ? jsonLinesOf(message) : undefined;
      if (lines === undefined) this.#take(message);
      else if (lines instanceof Promise) this.#checking = this.#takeChecked(lines, message.length);
      else this.#take(lines.data);
    } catch (error) {
      this.#fail(error);
    }
  }

  #take(data: Uint8Array): void {
    if (data.length > 0) this.#intake.take(data);
    else if (this.#acknowledges) {
      throw new MillraceError('EMPTY_APPEND', 'The message is empty: send at least one byte, or one JSON value.');
    }
  }

  /** Takes a large message once it is checked, and then what came meanwhile: no more than the socket had been read. */
  async #takeChecked(lines: Promise<JsonLines>, bytes: number): Promise<void> {
    const waiting: WaitingMessage[] = [];
    this.#waiting = waiting;
    this.#readOrPause();
    const letGo = this.#intake.hold(bytes);
    try {
      const { data } = await lines;
      if (!this.#over) this.#take(data);
    } catch (error) {
      this.#fail(error);
    }
    letGo();
    this.#waiting = undefined;
    this.#checking = undefined;
    this.#readOrPause();
    // Should one of them be large again, the others wait for it.
    for (const { message, isBinary } of waiting) this.#onMessage(message, isBinary);
  }

  #readOrPause(): void {
    if (this.#full || this.#waiting !== undefined) this.#ws.pause();
    else this.#ws.resume();
  }

  /** Many binary messages at once; none is empty. */
  #onRun(payloads: Uint8Array, frames: number): void {
    if (this.#over) return;
    try {
      this.#checkNotClosing();
      this.#intake.take(payloads, frames);
    } catch (error) {
      this.#fail(error);
    }
  }

  #checkNotClosing(): void {
    if (!this.#closing) return;
    throw new MillraceError('STREAM_CLOSED', 'The close was the last message: send nothing after it.');
  }

  #onCommitted(appended: Appended, frames: number): void {
    if (this.#acknowledges) {
      const seq = this.#firstSeq + frames - 1;
      this.#ack = {
        type: 'ack',
        offset: formatOffset(appended.offset, appended.streamId),
        seq,
        ...(appended.closed ? { closed: true } : {}),
      };
      this.#queueAck();
    }
    if (appended.closed && this.#closing) void this.#stop(1000, '');
  }

  /** Several commits in one turn of the event loop are acknowledged by one message. */
  #queueAck(): void {
    if (this.#ackQueued) return;
    this.#ackQueued = true;
    setImmediate(() => {
      const send = () => {
        this.#ackQueued = false;
        this.#sendAck();
      };
      if (this.#ws.bufferedAmount <= UNREAD_BYTES_MAX) send();
      else this.#socket.once('drain', send);
    });
  }

  #sendAck(): void {
    if (this.#ack === undefined) return;
    this.#send(this.#ack);
    this.#ack = undefined;
  }

  #onSessionEnd(end: SessionEnd): void {
    if (end === 'released' || this.#closing) return;
    this.#fail(
      sessionEnded(end),
      { fenced: AppendCloseCode.fenced, closed: AppendCloseCode.closed, deleted: AppendCloseCode.deleted }[end],
    );
  }

  #fail(error: unknown, code: number = closeCodeOf(error)): void {
    this.#over = true;
    void this.#stop(code, isMillraceError(error) ? error.code : 'INTERNAL', error);
  }

  /** Commits what was taken, says so, and closes the socket. */
  async #stop(code: number, reason: string, error?: unknown): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    await this.#end({ close: false, lost: code !== 1000 });
    this.#sendAck();
    if (error !== undefined && this.#acknowledges) {
      const { type: _, ...problem } = toProblem(error, this.#context.log, 'append');
      this.#send({ type: 'error', problem } as AppendFailure);
    }
    closeWebSocket(this.#ws, this.#socket, code, reason);
  }

  /**
   * Ends the session, once; what had come is committed first. Closes the stream behind it, if wanted and all is well.
   * Resolves with what failed.
   */
  #end(how: End): Promise<{ readonly error: unknown } | undefined> {
    this.#ending ??= this.#finish(how);
    return this.#ending;
  }

  async #finish({ close, lost }: End): Promise<{ readonly error: unknown } | undefined> {
    while (this.#checking !== undefined && !this.#over) await this.#checking;
    // Something of it was refused, perhaps after its client had said goodbye.
    const refused = this.#over;
    if (close && !refused) this.#intake.closeStream();
    this.#over = true;
    this.#unwatch();
    try {
      await this.#intake.finish({ lost: lost || refused });
      return undefined;
    } catch (error) {
      // The client hears of it on its way out, if it is still there.
      this.#context.log.warn(
        { err: error, path: this.#session.info.path },
        'not all of what an appender sent was appended',
      );
      return { error };
    } finally {
      this.#untrack();
    }
  }

  #send(message: ServerMessage): void {
    if (this.#ws.readyState === this.#ws.OPEN) this.#ws.send(JSON.stringify(message));
  }
}

/** A producer's numbers live on in the epoch in which they were given; all others begin at 0. */
function firstSeq({ committed }: AppendSession, route: StreamRoute): number {
  return committed !== undefined && String(committed.epoch) === route.query.get('producerEpoch')
    ? committed.seq + 1
    : 0;
}

function closeCodeOf(error: unknown): number {
  if (!isMillraceError(error)) return AppendCloseCode.failed;
  switch (error.code) {
    case 'INVALID_REQUEST':
    case 'INVALID_JSON':
    case 'EMPTY_APPEND':
      return AppendCloseCode.invalid;
    case 'APPENDER_STALLED':
    case 'REQUEST_TIMEOUT':
      return AppendCloseCode.stalled;
    case 'INTAKE_BUSY':
      return TRY_AGAIN_LATER;
    case 'PRODUCER_FENCED':
      return AppendCloseCode.fenced;
    case 'STREAM_CLOSED':
      return AppendCloseCode.closed;
    case 'STREAM_NOT_FOUND':
    case 'STREAM_GONE':
      return AppendCloseCode.deleted;
    default:
      return AppendCloseCode.failed;
  }
}
