import type { Duplex } from 'node:stream';
import type { FollowEnd, FollowOptions, Format, Sink } from '../follow/index.js';
import { CLOSE_APPENDER_LOST } from '../wire/websocket.js';
import { contentStart, followStart, graceMs, isFollowable } from './follow-chunked.js';
import { webSocketLive, webSocketTextOrBinary } from './formats.js';
import { sendContent } from './get.js';
import { admit } from './live-response.js';
import { OriginalClientSink, originalText } from './original-client.js';
import type { StreamRoute } from './route.js';
import type { StreamUpgrade, UpgradeExchange } from './upgrade.js';
import { closeWebSocket, whenPeerEnds } from './websocket-close.js';

/** Largest message from a follower, of which none is looked at: it must not fill memory with the half of a large one. */
const FOLLOWER_MESSAGE_BYTES_MAX = 4096;

/**
 * WebSocket, verb FOLLOW, as in httpfstream: with an appender the contents so far, then live until it leaves; without
 * one an ordinary 200 with the contents as the answer to the upgrade request.
 */
export const followWebSocket: StreamUpgrade = async (exchange) => {
  const { route, context } = exchange;
  const start = followStart(route);
  const stream = await context.follow.open(route.stream);
  const { info } = stream;
  if (!isFollowable(info, route)) {
    stream.release();
    return sendContent(exchange.respond(), info, contentStart(info, start));
  }
  const offset = admit(exchange, stream, start);
  // The original Go client sends the header; others are asked not to.
  const isOriginal = route.verbInHeader && exchange.protocols.size === 0;
  const format = isOriginal ? originalText : webSocketTextOrBinary;
  follow(exchange, stream, { offset, format, until: 'appender', graceMs: graceMs(exchange) });
};

/** WebSocket, `?live=ws`: data as binary messages, and where the reader stands as text ones, until the stream is closed. */
export const liveWebSocket: StreamUpgrade = async (exchange) => {
  const { route, context } = exchange;
  const start = followStart(route);
  const stream = await context.follow.open(route.stream);
  const offset = admit(exchange, stream, start);
  const until = route.verb === 'follow' ? 'appender' : 'closed';
  follow(exchange, stream, { offset, format: webSocketLive, until, graceMs: graceMs(exchange) });
};

function follow(
  exchange: UpgradeExchange<StreamRoute>,
  stream: { follow(options: FollowOptions): { stop(): void }; release(): void },
  options: Omit<FollowOptions, 'sink'> & { readonly format: Format },
): void {
  const { socket, context } = exchange;
  const ws = exchange.accept({ messageBytesMax: FOLLOWER_MESSAGE_BYTES_MAX });
  if (ws === undefined) {
    stream.release();
    return;
  }
  let following: { stop(): void } | undefined;
  const leave = () => {
    following?.stop();
    untrack();
  };
  const end = (reason: FollowEnd) => {
    leave();
    if (reason.kind === 'failed') context.log.warn({ err: reason.error }, 'a follower was cut off');
    const isOriginal = options.format === originalText;
    // The original Go client knows one end; whoever asks in another way is told which one it is.
    const [code, text] =
      reason.kind === 'appender' && reason.lost && !isOriginal
        ? ([CLOSE_APPENDER_LOST, 'the appender was lost'] as const)
        : CLOSES[reason.kind];
    closeWebSocket(ws, socket, code, text);
  };
  const untrack = context.track({ stop: () => end({ kind: 'stopped' }), abort: () => ws.terminate() });
  whenPeerEnds(ws, socket, leave);
  ws.on('error', () => {});
  context.heartbeat.pingFollower(ws, () => socket.writableNeedDrain);
  const sink = options.format === originalText ? new OriginalClientSink(ws, socket, end) : socketSink(socket, end);
  following = stream.follow({ ...options, sink });
}

/** Whole frames, shared by all followers, go straight to the socket: `ws` sees to the handshake, pings and the close. */
function socketSink(socket: Duplex, end: (reason: FollowEnd) => void): Sink {
  return {
    write: (bytes) => socket.write(bytes),
    onDrain: (resume) => void socket.on('drain', resume),
    end,
  };
}

const CLOSES: Readonly<Record<FollowEnd['kind'], readonly [code: number, reason: string]>> = {
  closed: [1000, ''],
  appender: [1000, ''],
  deleted: [4404, 'the stream was deleted'],
  stopped: [1001, 'the server is going down'],
  failed: [1011, 'the server could not read on'],
};
