import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type RawData, type WebSocket, WebSocketServer } from 'ws';
import { isMillraceError, MillraceError } from '../errors.js';
import type { Hub, HubEvent, HubSubscription, LagPolicy, Pattern } from '../hub/index.js';
import { encodeEventFrame } from '../wire/events.js';
import { EncodedEvents } from './encoded-events.js';
import { DEFAULT_EVENTS_HEARTBEAT_MS, DEFAULT_EVENTS_MAX_LAG } from './events-sse.js';
import { beatEach } from './heartbeat.js';
import { closeWebSocket, whenPeerEnds } from './websocket-close.js';

/** Options of {@link sendEventsOverWebSocket}. */
export interface EventSocketOptions {
  /** How often the client is pinged; one that did not answer the ping before is cut off (default 10 s). */
  readonly heartbeatIntervalMs?: number;
  /** How many events of a channel a slow client may be behind (default `DEFAULT_EVENTS_MAX_LAG`). */
  readonly maxLag?: number;
  /** What happens then: the client is told of a gap (default), or its connection is closed with 1013. */
  readonly whenLagging?: LagPolicy;
  /** Whether the client may publish (default true). */
  readonly publish?: boolean;
  /** How many channels and patterns one client may follow. */
  readonly channelsMax?: number;
  /** How many publishes of one client may wait for the broker; its socket is not read while there are as many. */
  readonly publishesMax?: number;
  /** The largest message from the client in bytes; the socket is closed with 1009 beyond it. */
  readonly messageBytesMax?: number;
  /** Closes the socket with 1001 when it aborts. */
  readonly signal?: AbortSignal;
}

/** Default of {@link EventSocketOptions.channelsMax}. */
export const DEFAULT_SOCKET_CHANNELS_MAX = 1024;
/** Default of {@link EventSocketOptions.publishesMax}. */
export const DEFAULT_SOCKET_PUBLISHES_MAX = 256;
/** Default of {@link EventSocketOptions.messageBytesMax}. */
export const DEFAULT_SOCKET_MESSAGE_BYTES_MAX = 1024 * 1024;

type Channels = string | Pattern | readonly (string | Pattern)[];

/** Frames are made once per event and shared by all sockets. */
const frames = new EncodedEvents(encodeEventFrame);

/**
 * The WebSocket twin of `sendEvents`, for the `upgrade` event of any Node server: shakes hands, follows the channels and
 * speaks the protocol of docs/events.md, by which the client may follow others, leave them, and publish.
 * Resolves when the connection is over. Never rejects.
 */
export function sendEventsOverWebSocket(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  hub: Hub,
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
  hub: Hub,
  channels: Channels,
  options: EventSocketOptions = {},
): Promise<void> {
  return new Promise((resolve) => {
    const client = new EventSocket(ws, socket, hub, options, resolve);
    const list = (Array.isArray(channels) ? channels : [channels]) as readonly (string | Pattern)[];
    if (list.length > 0) void client.obey({ op: 'subscribe', targets: list, after: {} });
  });
}

/** Ids to go on after, by channel. */
type Ids = Readonly<Record<string, string>>;

/** What a client asks for, checked. */
type Order =
  | { readonly op: 'subscribe'; readonly targets: readonly (string | Pattern)[]; readonly after: Ids }
  | { readonly op: 'unsubscribe'; readonly targets: readonly (string | Pattern)[] }
  | { readonly op: 'publish'; readonly channels: readonly string[]; readonly message: unknown };

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
  #publishing = 0;
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

  /** Does what the client asked for, and answers. `ref` is the client's own, given back with the answer. */
  async obey(order: Order, ref?: unknown): Promise<void> {
    try {
      let wanted: Followed[] = [];
      if (order.op === 'publish') await this.#publish(order.channels, order.message);
      else if (order.op === 'subscribe') wanted = await this.#follow(order.targets, order.after);
      else for (const target of order.targets) this.#leave(target);
      this.#answer({ op: 'ok', ref });
      // The answer comes before the first message.
      for (const followed of wanted) this.#consume(followed);
    } catch (error) {
      this.#answer(failure(error, ref));
    }
  }

  #onMessage(data: RawData, isBinary: boolean): void {
    let ref: unknown;
    try {
      if (isBinary) throw invalid('Messages of this protocol are text.');
      const order = parseObject(String(data));
      ref = order.ref;
      void this.obey(checkOrder(order), ref);
    } catch (error) {
      this.#answer(failure(error, ref));
    }
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
    const { maxLag = DEFAULT_EVENTS_MAX_LAG, whenLagging = 'gap' } = this.#options;
    const from = typeof target === 'string' && Object.hasOwn(after, target) ? after[target] : undefined;
    const subscription: HubSubscription<HubEvent> = this.#hub.subscribe(target, {
      maxLag,
      whenLagging,
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

  async #publish(channels: readonly string[], message: unknown): Promise<void> {
    if (this.#options.publish === false) throw invalid('This socket is for following only.');
    this.#publishing++;
    if (this.#publishing >= this.#publishesMax) this.#ws.pause();
    try {
      await this.#hub.publish(channels, message);
    } finally {
      this.#publishing--;
      if (this.#ws.isPaused && this.#publishing < this.#publishesMax) this.#ws.resume();
    }
  }

  /** Sends an event; answers with a promise when the client has to catch up first. */
  #send(event: HubEvent): Promise<void> | undefined {
    if (this.#ws.readyState !== this.#ws.OPEN || this.#socket.write(frames.of(event))) return undefined;
    this.#drained ??= new Promise((resolve) => {
      this.#resume = resolve;
    });
    return this.#drained;
  }

  #answer(answer: object): void {
    if (this.#ws.readyState !== this.#ws.OPEN) return;
    this.#ws.send(JSON.stringify(answer));
    // A client that asks and does not read its answers is not read either, until it does.
    if (this.#socket.writableNeedDrain) this.#ws.pause();
  }

  #onDrain(): void {
    if (this.#ws.isPaused && this.#publishing < this.#publishesMax) this.#ws.resume();
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

function parseObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid('The message is not JSON.');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('The message is no object.');
  return value as Record<string, unknown>;
}

function checkOrder(order: Record<string, unknown>): Order {
  const { op, after = {} } = order;
  switch (op) {
    case 'subscribe': {
      if (typeof after !== 'object' || after === null || Object.values(after).some((id) => typeof id !== 'string')) {
        throw invalid('after must be an object of ids by channel.');
      }
      return { op, targets: checkTargets(order), after: after as Ids };
    }
    case 'unsubscribe':
      return { op, targets: checkTargets(order) };
    case 'publish': {
      const channels = checkNames(order.channels, 'channels');
      if (channels.length === 0) throw invalid('publish needs channels.');
      if ('base64' in order) return { op, channels, message: checkBytes(order.base64) };
      if (!('message' in order)) throw invalid('publish needs a message.');
      return { op, channels, message: order.message };
    }
    default:
      throw invalid('op must be subscribe, unsubscribe or publish.');
  }
}

function checkTargets(order: Record<string, unknown>): (string | Pattern)[] {
  const patterns = checkNames(order.patterns, 'patterns').map((pattern) => ({ pattern }));
  const targets = [...checkNames(order.channels, 'channels'), ...patterns];
  if (targets.length === 0) throw invalid('Name at least one of channels or patterns.');
  return targets;
}

function checkNames(value: unknown, name: string): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || !value.every((each) => typeof each === 'string')) {
    throw invalid(`${name} must be a list of strings.`);
  }
  return value;
}

function checkBytes(value: unknown): Uint8Array {
  if (typeof value !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(value)) throw invalid('base64 must be base64.');
  return new Uint8Array(Buffer.from(value, 'base64'));
}

function invalid(detail: string): MillraceError {
  return new MillraceError('INVALID_REQUEST', detail);
}

/** An error as the client may see it. */
function failure(error: unknown, ref: unknown): object {
  if (!isMillraceError(error)) return { op: 'error', ref, code: 'INTERNAL', detail: 'The server failed.' };
  return { op: 'error', ref, code: error.code, detail: error.message };
}
