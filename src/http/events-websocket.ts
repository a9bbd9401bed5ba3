import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type RawData, type WebSocket, WebSocketServer } from 'ws';
import { isMillraceError, MillraceError } from '../errors.js';
import type { AnyHub, Hub, HubEvent, HubSubscription, LagPolicy, Pattern } from '../hub/index.js';
import { turnBudget } from '../turn-budget.js';
import { socketEvent } from '../wire/events.js';
import { encodeFragment, TEXT } from '../wire/websocket.js';
import { EncodedEvents } from './encoded-events.js';
import { type Ids, invalid, type Order, type ReadOrder, readOrder } from './event-order.js';
import { DEFAULT_EVENTS_HEARTBEAT_MS, DEFAULT_EVENTS_MAX_LAG, DEFAULT_EVENTS_MAX_LAG_BYTES } from './events-sse.js';
import { beatEach } from './heartbeat.js';
import { defaultSendBudget, type EventTarget, type SendBudget } from './send-budget.js';
import { closeWebSocket, whenPeerEnds } from './websocket-close.js';

/** Options of {@link sendEventsOverWebSocket}. */
export interface EventSocketOptions {
  /** How often the client is pinged; one that did not answer the ping before is cut off (default 10 s). */
  readonly heartbeatIntervalMs?: number;
  /** How many events of a channel a slow client may be behind (default `DEFAULT_EVENTS_MAX_LAG`). */
  readonly maxLag?: number;
  /** How many bytes of messages of a channel (default `DEFAULT_EVENTS_MAX_LAG_BYTES`); one message may always wait. */
  readonly maxLagBytes?: number;
  /** What happens then: the client is told of a gap (default), or its connection is closed with 1013. */
  readonly whenLagging?: LagPolicy;
  /** What bounds the large messages that are on their way to slow clients, shared with others (default: one for the process). */
  readonly sendBudget?: SendBudget;
  /** Whether the client may publish (default true). */
  readonly publish?: boolean;
  /** How many channels and patterns one client may follow. */
  readonly channelsMax?: number;
  /** How many publishes of one client may wait for the broker; its socket is not read while there are as many. */
  readonly publishesMax?: number;
  /** How many bytes these may have until its socket is not read. */
  readonly publishBytesMax?: number;
  /** The largest message from the client in bytes; the socket is closed with 1009 beyond it. */
  readonly messageBytesMax?: number;
  /**
   * For who bounds what all sockets together have under way: called with the bytes of each order; what it answers with is
   * called when that is done.
   */
  readonly hold?: (bytes: number) => () => void;
  /** Closes the socket with 1001 when it aborts. */
  readonly signal?: AbortSignal;
}

/** Default of {@link EventSocketOptions.channelsMax}. */
export const DEFAULT_SOCKET_CHANNELS_MAX = 1024;
/** Default of {@link EventSocketOptions.publishesMax}. */
export const DEFAULT_SOCKET_PUBLISHES_MAX = 256;
/** Default of {@link EventSocketOptions.publishBytesMax}. */
export const DEFAULT_SOCKET_PUBLISH_BYTES_MAX = 4 * 1024 * 1024;
/** Default of {@link EventSocketOptions.messageBytesMax}. */
export const DEFAULT_SOCKET_MESSAGE_BYTES_MAX = 1024 * 1024;

type Channels = string | Pattern | readonly (string | Pattern)[];

/** What reading an order and answering it counts for in a turn, whatever its size: as much work as so many bytes are. */
const ORDER_TURN_BYTES = 4 * 1024;

/** Frames are made once per event and shared by all sockets. */
const frames = new EncodedEvents(socketEvent, (piece, isFirst, isLast) => encodeFragment(TEXT, piece, isFirst, isLast));

/**
 * The WebSocket twin of `sendEvents`, for the `upgrade` event of any Node server: shakes hands, follows the channels and
 * speaks the protocol of docs/events.md, by which the client may follow others, leave them, and publish.
 * Resolves when the connection is over. Never rejects.
 */
export function sendEventsOverWebSocket(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  hub: AnyHub,
  channels: Channels = [],
  options: EventSocketOptions = {},
): Promise<void> {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: options.messageBytesMax ?? DEFAULT_SOCKET_MESSAGE_BYTES_MAX,
  });
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    server.handleUpgrade(request, socket, head, (ws) => {
      void serveEventSocket(ws, socket, hub, channels, options);
    });
  });
}

/** Speaks the protocol on a WebSocket that is open. Resolves when its client is gone. */
export function serveEventSocket(
  ws: WebSocket,
  socket: Duplex,
  hub: AnyHub,
  channels: Channels,
  options: EventSocketOptions = {},
): Promise<void> {
  return new Promise((resolve) => {
    const client = new EventSocket(ws, socket, hub as Hub, options, resolve);
    const list = (Array.isArray(channels) ? channels : [channels]) as readonly (string | Pattern)[];
    if (list.length > 0) void client.obey({ op: 'subscribe', targets: list, after: {} });
  });
}

type PublishOrder = Extract<Order, { readonly op: 'publish' }>;

interface Followed {
  readonly key: string;
  readonly subscription: HubSubscription<HubEvent>;
  /** How many orders under way count on it. The one that fails ends it only where no other does. */
  orders: number;
  /** Whether an order for it was answered with `ok`: then its events are sent. */
  confirmed: boolean;
}

class EventSocket {
  readonly #ws: WebSocket;
  readonly #socket: Duplex;
  readonly #hub: Hub;
  readonly #options: EventSocketOptions;
  readonly #followed = new Map<string, Followed>();
  readonly #channelsMax: number;
  readonly #publishesMax: number;
  readonly #publishBytesMax: number;
  readonly #sendBudget: SendBudget;
  /** Orders that wait for the broker, and what they have to publish. */
  #publishing = 0;
  #publishingBytes = 0;
  /** The order that is being read, and those behind it. */
  #reading: Promise<void> | undefined;
  /** The large event that is being sent: another text between its frames would be part of it. */
  #sending: Promise<void> | undefined;
  readonly #target: EventTarget;
  #drained: Promise<void> | undefined;
  #resume: (() => void) | undefined;
  #answered = true;

  constructor(ws: WebSocket, socket: Duplex, hub: Hub, options: EventSocketOptions, onEnd: () => void) {
    this.#ws = ws;
    this.#socket = socket;
    this.#hub = hub;
    this.#options = options;
    this.#channelsMax = options.channelsMax ?? DEFAULT_SOCKET_CHANNELS_MAX;
    this.#publishesMax = options.publishesMax ?? DEFAULT_SOCKET_PUBLISHES_MAX;
    this.#publishBytesMax = options.publishBytesMax ?? DEFAULT_SOCKET_PUBLISH_BYTES_MAX;
    this.#sendBudget = options.sendBudget ?? defaultSendBudget;
    this.#target = {
      write: (piece) => socket.write(piece),
      drained: () => this.#whenDrained(),
      get isOpen() {
        return ws.readyState === ws.OPEN;
      },
      cut: () => ws.terminate(),
    };
    const stopBeating = beatEach(options.heartbeatIntervalMs ?? DEFAULT_EVENTS_HEARTBEAT_MS, () => this.#ping());
    const onAbort = () => closeWebSocket(ws, socket, 1001, 'the server is going down');
    const onDrain = () => this.#onDrain();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    if (options.signal?.aborted) onAbort();
    socket.on('drain', onDrain);
    ws.on('error', () => {});
    ws.on('pong', () => {
      this.#answered = true;
    });
    ws.on('message', (data, isBinary) => this.#onMessage(data, isBinary));
    whenPeerEnds(ws, socket, () => {
      stopBeating();
      options.signal?.removeEventListener('abort', onAbort);
      for (const { subscription } of this.#followed.values()) subscription.close();
      this.#followed.clear();
      this.#onDrain();
      onEnd();
    });
  }

  /** Does what the client asked for, and answers. `ref` is the client's own JSON, given back with the answer. */
  async obey(order: Order, ref?: string): Promise<void> {
    try {
      let wanted: Followed[] = [];
      if (order.op === 'publish') await this.#publish(order);
      else if (order.op === 'subscribe') wanted = await this.#follow(order.targets, order.after);
      else for (const target of order.targets) this.#leave(target);
      this.#answer({ op: 'ok' }, ref);
      // The answer comes before the first message.
      for (const followed of wanted) this.#consume(followed);
    } catch (error) {
      this.#answer(failure(error), ref);
    }
  }

  /**
   * One order after the other: one that takes several turns to be read holds up those behind it. One read of the socket
   * can bring thousands, each of which wants an answer: they share the turns with all other large work.
   */
  #onMessage(data: RawData, isBinary: boolean): void {
    const before = this.#reading;
    const letGo = this.#options.hold?.((data as Buffer).length);
    const read = () => this.#read(data, isBinary, letGo);
    const readInTurn = () => turnBudget.take(ORDER_TURN_BYTES)?.then(read) ?? read();
    const reading = before === undefined ? readInTurn() : before.then(readInTurn);
    if (reading === undefined) return;
    this.#reading = reading;
    this.#limitIntake();
    void reading.then(() => {
      if (this.#reading === reading) this.#reading = undefined;
      this.#limitIntake();
    });
  }

  #read(data: RawData, isBinary: boolean, letGo = () => {}): Promise<void> | undefined {
    if (isBinary) {
      letGo();
      this.#answer(failure(invalid('Messages of this protocol are text.')));
      return undefined;
    }
    const refuse = (error: unknown, ref?: string) => {
      letGo();
      this.#answer(failure(error), ref);
    };
    const begin = ({ ref, order }: ReadOrder) => {
      if (order instanceof MillraceError) refuse(order, ref);
      else void this.obey(order, ref).finally(letGo);
    };
    const read = readOrder(data as Buffer);
    if (read instanceof Promise) return read.then(begin, refuse);
    begin(read);
    return undefined;
  }

  /** Reads no more of the socket while there is enough to do for its client. */
  #limitIntake(): void {
    const isFull =
      this.#publishing >= this.#publishesMax ||
      this.#publishingBytes >= this.#publishBytesMax ||
      this.#reading !== undefined ||
      // A client that asks and does not read its answers is not read either, until it does.
      this.#socket.writableNeedDrain;
    if (isFull && !this.#ws.isPaused) this.#ws.pause();
    else if (!isFull && this.#ws.isPaused) this.#ws.resume();
  }

  /** Follows all of the targets, or none but those that are followed already. Resolves when all are confirmed. */
  async #follow(targets: readonly (string | Pattern)[], after: Ids): Promise<Followed[]> {
    const wanted: Followed[] = [];
    try {
      for (const target of targets) {
        const followed = this.#followed.get(keyOf(target)) ?? this.#begin(target, after);
        followed.orders++;
        wanted.push(followed);
      }
      await Promise.all(wanted.map(({ subscription }) => subscription.ready));
      for (const followed of wanted) followed.orders--;
      return wanted;
    } catch (error) {
      for (const followed of wanted) {
        followed.orders--;
        if (followed.orders === 0 && !followed.confirmed) this.#end(followed);
      }
      throw error;
    }
  }

  #begin(target: string | Pattern, after: Ids): Followed {
    if (this.#followed.size >= this.#channelsMax) {
      throw new MillraceError(
        'HUB_BUSY',
        `One client may follow ${this.#channelsMax} channels: unsubscribe from some.`,
      );
    }
    const { maxLag = DEFAULT_EVENTS_MAX_LAG, maxLagBytes = DEFAULT_EVENTS_MAX_LAG_BYTES } = this.#options;
    const from = typeof target === 'string' && Object.hasOwn(after, target) ? after[target] : undefined;
    const subscription: HubSubscription<HubEvent> = this.#hub.subscribe(target, {
      maxLag,
      maxLagBytes,
      whenLagging: this.#options.whenLagging ?? 'gap',
      ...(from === undefined ? {} : { after: from }),
    });
    const followed: Followed = { key: keyOf(target), subscription, orders: 0, confirmed: false };
    this.#followed.set(followed.key, followed);
    return followed;
  }

  /** Ends one, and forgets it unless the client has left it and follows the same anew. */
  #end(followed: Followed): void {
    if (this.#followed.get(followed.key) === followed) this.#followed.delete(followed.key);
    followed.subscription.close();
  }

  #consume(followed: Followed): void {
    if (followed.confirmed) return;
    followed.confirmed = true;
    const onEnd = (error?: unknown) => {
      // Left by the client, or with the connection.
      if (this.#followed.get(followed.key) !== followed) return;
      this.#followed.delete(followed.key);
      if (isMillraceError(error, 'HUB_LAGGED')) closeWebSocket(this.#ws, this.#socket, 1013, 'too slow');
      else this.#closeWithHub();
    };
    followed.subscription.consume((event) => this.#send(event)).then(onEnd, onEnd);
  }

  #leave(target: string | Pattern): void {
    const followed = this.#followed.get(keyOf(target));
    if (followed !== undefined) this.#end(followed);
  }

  #closeWithHub(): void {
    closeWebSocket(this.#ws, this.#socket, 1001, 'the hub is closed');
  }

  async #publish({ channels, message }: PublishOrder): Promise<void> {
    if (this.#options.publish === false) throw invalid('This socket is for following only.');
    this.#publishing++;
    this.#publishingBytes += message.bytes.length;
    this.#limitIntake();
    try {
      await this.#hub.publish(channels, message);
    } finally {
      this.#publishing--;
      this.#publishingBytes -= message.bytes.length;
      this.#limitIntake();
    }
  }

  /** Sends an event; answers with a promise when the client has to catch up first. */
  #send(event: HubEvent): Promise<void> | undefined {
    if (this.#sending !== undefined) return this.#sending.then(() => this.#send(event));
    if (this.#ws.readyState !== this.#ws.OPEN) return undefined;
    const frame = frames.of(event);
    if (frame instanceof Uint8Array) return this.#socket.write(frame) ? undefined : this.#whenDrained();
    this.#sending = this.#sendBudget.send(frame, this.#target).finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  #whenDrained(): Promise<void> {
    this.#drained ??= new Promise((resolve) => {
      this.#resume = resolve;
    });
    return this.#drained;
  }

  #answer(answer: object, ref?: string): void {
    if (this.#sending !== undefined) {
      void this.#sending.then(() => this.#answer(answer, ref));
      return;
    }
    if (this.#ws.readyState !== this.#ws.OPEN) return;
    const text = JSON.stringify(answer);
    this.#ws.send(ref === undefined ? text : `${text.slice(0, -1)},"ref":${ref}}`);
    this.#limitIntake();
  }

  #onDrain(): void {
    this.#limitIntake();
    this.#resume?.();
    this.#resume = undefined;
    this.#drained = undefined;
  }

  #ping(): void {
    // A client that follows nothing has no subscription that would tell.
    if (this.#hub.status === 'closed') this.#closeWithHub();
    // While its socket is full a ping would wait behind the data, and while it is paused no answer can be seen.
    if (this.#socket.writableNeedDrain || this.#ws.isPaused) {
      this.#answered = true;
      return;
    }
    if (this.#answered) this.#ws.ping();
    else this.#ws.terminate();
    this.#answered = false;
  }
}

function keyOf(target: string | Pattern): string {
  return typeof target === 'string' ? `c${target}` : `p${target.pattern}`;
}

/** An error as the client may see it. */
function failure(error: unknown): object {
  if (!isMillraceError(error)) return { op: 'error', code: 'INTERNAL', detail: 'The server failed.' };
  return { op: 'error', code: error.code, detail: error.message };
}
