import { MillraceError } from '../errors.js';

/**
 * The WebSocket subprotocol of an appender that wants to know what is durable. Binary frames, client to server, are
 * data, numbered from 0 or as `welcome` says; text frames, both ways, are the JSON messages below.
 * docs/websocket.md describes it for those who write a client.
 */
export const APPEND_PROTOCOL = 'millrace.append.v1';

/** The first message from the server. */
export interface Welcome {
  readonly type: 'welcome';
  /** The stream's tail. */
  readonly offset: string;
  /** The stream's type. It does not tell whether the stream is a JSON stream: see `json`. */
  readonly contentType: string;
  /**
   * Whether this is a JSON stream, where each frame is JSON. A stream of type `application/json` may be bytes: a file
   * put there by hand, or what an appender made without naming a type.
   */
  readonly json: boolean;
  /** Most bytes of one frame: the server closes the socket at a larger one. */
  readonly frameBytesMax: number;
  /** With a producer: what it had committed before this session, `seq` -1 for nothing. */
  readonly committed: { readonly epoch: number; readonly seq: number } | null;
}

/** Everything up to and with frame `seq` is durable. Acknowledgements are cumulative: some frames get none of their own. */
export interface Ack {
  readonly type: 'ack';
  /** The stream's offset after that frame. */
  readonly offset: string;
  readonly seq: number;
  /** The stream is closed, as asked for. */
  readonly closed?: true;
}

/** Why the server is about to close the socket: the fields of an RFC 9457 problem. */
export interface AppendFailure {
  readonly type: 'error';
  readonly problem: {
    readonly code: string;
    readonly status: number;
    readonly title: string;
    readonly detail: string;
    readonly [detail: string]: string | number | boolean | null;
  };
}

/** Client to server: close the stream, for good, after all frames sent so far. */
export interface CloseStream {
  readonly type: 'close';
}

export type ServerMessage = Welcome | Ack | AppendFailure;

/** Close codes of appender sockets, beside RFC 6455's own (1000, 1001, 1009, 1011, 1013). */
export const AppendCloseCode = {
  /** The client sent what is not part of the subprotocol, or no JSON to a JSON stream. */
  invalid: 4400,
  /** The same producer came back with a higher epoch: this session is over. */
  fenced: 4403,
  /** The stream was deleted. */
  deleted: 4404,
  /** Nothing came for too long, in the middle of a message or at all. */
  stalled: 4408,
  /** The stream was closed. */
  closed: 4409,
  /** The store failed; `error` says how. */
  failed: 4500,
} as const;

/** Reads what an appender sent as text. Errors: `INVALID_REQUEST`. */
export function parseClientMessage(text: string): CloseStream {
  try {
    const message = JSON.parse(text) as { type?: unknown } | null;
    if (message?.type === 'close') return { type: 'close' };
  } catch {
    // Said below.
  }
  throw new MillraceError(
    'INVALID_REQUEST',
    `In ${APPEND_PROTOCOL} data goes in binary frames, and the only text message is {"type":"close"}.`,
  );
}
