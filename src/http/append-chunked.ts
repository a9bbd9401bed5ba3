import type { IncomingMessage } from 'node:http';
import { MillraceError } from '../errors.js';
import type { Appended, AppendSession } from '../log/index.js';
import { NdjsonReader } from '../wire/ndjson.js';
import { AppendIntake } from './append-intake.js';
import { acquireSession, sessionEnded, wantsClose } from './append-session.js';
import { watchAppender } from './appender-watch.js';
import { checkContentEncoding } from './body.js';
import { clientAddress } from './client-address.js';
import type { Exchange, HttpContext, StreamHandler } from './context.js';
import { requireMethod } from './respond.js';
import type { StreamRoute } from './route.js';
import { positionFields } from './stream-fields.js';

/**
 * `PUT` or `POST` with `?verb=append`: an appender session over a request body. Bytes are appended as they arrive (to
 * a JSON stream line by line); the answer comes when all is durable. If the client disappears, what had arrived stays,
 * and the stream is free at once.
 */
export const appendChunked: StreamHandler = async (exchange) => {
  requireMethod(exchange, 'PUT', 'POST');
  const { req, res, route, context, base } = exchange;
  checkContentEncoding(req);
  const session = await acquireSession(context, route, req.headers, req.headers['content-type']);
  req.setTimeout(0);
  warnOfRequestTimeout(req, context);
  // There are no pings in a request body: TCP has to notice a peer that is gone.
  req.socket.setKeepAlive(true, context.limits.heartbeatIntervalMs);
  const { offset, closed } = await receive(exchange, session);
  res
    .writeHead(204, [...base, 'Cache-Control', 'no-store', ...positionFields(session.info.id, { offset, closed })])
    .end();
};

/** Appends the body. Answers when it has ended, for whatever reason, and all of it that came is durable. */
function receive(
  { req, res, route, context }: Exchange<StreamRoute>,
  session: AppendSession,
): Promise<{ offset: number; closed: boolean }> {
  return new Promise((resolve, reject) => {
    let { tail: offset, closed } = session.info;
    let over = false;
    let full = false;
    const readOrPause = () => void (full || line.isWaiting ? req.pause() : req.resume());
    const events = {
      onFull(now: boolean) {
        full = now;
        readOrPause();
      },
      onCommitted(appended: Appended) {
        offset = appended.offset;
        closed = appended.closed;
      },
      onFailed: (error: unknown) => stop(error),
    };
    const address = clientAddress(req.socket);
    const intake = new AppendIntake(session, context, events, address);
    /** For a line that is not whole yet. */
    const line = context.intake.open({ onFull: readOrPause, onRefused: (error) => stop(error) }, address);
    const declared = Number(req.headers['content-length'] ?? 0);
    let received = 0;
    const unwatch = watchAppender(context.limits, {
      socket: req.socket,
      isPaused: () => full || line.isWaiting,
      isUnfinished: () => received < declared,
      onGone: (error) => stop(error),
    });
    const take = (data: Uint8Array, frames?: number) => intake.take(data, frames);
    const lines = session.info.json ? new NdjsonReader(context.limits.frameBytesMax, take) : undefined;

    const onData = (data: Buffer) => {
      received += data.length;
      try {
        if (lines === undefined) return intake.take(data);
        lines.push(data);
        const { unfinishedBytes } = lines;
        if (unfinishedBytes < line.bytes) line.close();
        line.take(unfinishedBytes - line.bytes);
      } catch (error) {
        stop(error);
      }
    };
    const onEnd = () => {
      try {
        lines?.end();
      } catch (error) {
        return stop(error);
      }
      if (wantsClose(route, req.headers)) intake.closeStream();
      stop(undefined);
    };
    const onClose = () => stop(new MillraceError('ABORTED', 'The client went away.'));
    /** What was taken is committed, and the stream freed, before anyone hears of the end. */
    const stop = (error: unknown) => {
      if (over) return;
      over = true;
      unwatch();
      line.close();
      req.off('data', onData).off('end', onEnd).off('close', onClose);
      intake
        .finish({ lost: error !== undefined })
        .then(() => (error === undefined ? resolve({ offset, closed }) : reject(error)), reject)
        .finally(untrack);
    };
    const untrack = context.track({
      stop: () => stop(new MillraceError('SHUTTING_DOWN', 'The server is going down: what arrived is appended.')),
      abort: () => res.destroy(),
    });
    req.on('data', onData).once('end', onEnd).once('close', onClose);
    void session.ended.then((end) => {
      if (end !== 'released') stop(sessionEnded(end));
    });
    if (req.destroyed) onClose();
  });
}

const warned = new WeakSet<object>();

/** A server that `configureServer` was not called with cuts every request after five minutes, also an upload that works. */
function warnOfRequestTimeout(req: IncomingMessage, context: HttpContext): void {
  const { server } = req.socket as { readonly server?: { readonly requestTimeout?: number } };
  if (server?.requestTimeout === undefined || server.requestTimeout === 0 || warned.has(server)) return;
  warned.add(server);
  context.log.warn(
    { requestTimeout: server.requestTimeout },
    'long appends will be cut off by the requestTimeout of this server: call configureServer(server), or set it to 0',
  );
}
