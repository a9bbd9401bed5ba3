import { OutgoingMessage, type ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { FollowEnd, Format, Sink } from '../follow/index.js';
import { chunked } from './formats.js';

/** A response whose body goes out bit by bit. */
export interface ResponseSink extends Sink {
  /** The format that fits the way the bytes take: follow with this one. */
  readonly format: Format;
  /** Ends the body so that the client can tell that something is missing. What was written still arrives. */
  cut(): void;
  /** Lets go of the socket, which may serve another request after this one. */
  detach(): void;
}

/**
 * A sink on a response whose headers are out.
 *
 * Where nothing stands between us and the socket the bytes go straight to it, chunk frames included: then all
 * followers share one buffer, and a delivery costs one `write`. Where something does (compression, HTTP/2, a
 * pipelined request whose turn has not come) they go through `response.write`.
 */
export function openResponseSink(
  res: ServerResponse,
  format: Format,
  onEnd: (reason: FollowEnd) => void,
): ResponseSink {
  const socket = directSocket(res);
  let onDrain = () => {};
  const resume = () => onDrain();
  if (socket === undefined) {
    // Compression keeps back what it is given until it is told not to.
    const { flush } = res as { readonly flush?: () => void };
    res.on('drain', resume);
    return {
      format,
      write(bytes) {
        const wants = res.write(bytes);
        flush?.call(res);
        return wants;
      },
      onDrain(wanted) {
        onDrain = wanted;
      },
      end: onEnd,
      cut: () => res.destroy(),
      detach: () => void res.off('drain', resume),
    };
  }
  socket.on('drain', resume);
  return {
    format: res.chunkedEncoding ? chunked(format) : format,
    write: (bytes) => socket.write(bytes),
    onDrain(wanted) {
      onDrain = wanted;
    },
    end: onEnd,
    cut() {
      // Without chunks (HTTP/1.0) the end of the connection is the end of the body: only a reset says otherwise.
      if (res.chunkedEncoding) socket.end();
      // Over TLS that is a connection that breaks off without a goodbye.
      else if ('encrypted' in socket) socket.destroy();
      else socket.resetAndDestroy();
    },
    detach: () => void socket.off('drain', resume),
  };
}

function directSocket(res: ServerResponse): Socket | undefined {
  const { socket } = res;
  const plain = res instanceof OutgoingMessage && res.write === OutgoingMessage.prototype.write;
  return plain && socket instanceof Socket ? socket : undefined;
}
