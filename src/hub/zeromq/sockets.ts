import type { Socket, XPublisher, XSubscriber } from 'zeromq';

/** The package, as far as it is used here. */
export type ZeromqPackage = Pick<typeof import('zeromq'), 'Proxy' | 'XPublisher' | 'XSubscriber'>;

type Frames = readonly (string | Uint8Array)[];

/** First byte of a message that subscribes, or ends a subscription; the topic follows. */
const SUBSCRIBE = 1;
const UNSUBSCRIBE = 0;

/** Sends one message after the other, as the package allows one at a time. */
class SendQueue {
  readonly #socket: XPublisher | XSubscriber;
  #queue: Frames[] = [];
  #sending = false;

  constructor(socket: XPublisher | XSubscriber) {
    this.#socket = socket;
  }

  send(frames: Frames): void {
    this.#queue.push(frames);
    if (!this.#sending) void this.#sendAll();
  }

  clear(): void {
    this.#queue = [];
  }

  async #sendAll(): Promise<void> {
    this.#sending = true;
    try {
      while (this.#queue.length > 0) {
        const queue = this.#queue;
        this.#queue = [];
        for (const frames of queue) await this.#socket.send(frames as Uint8Array[]);
      }
    } catch {
      // The socket was closed; whoever waits for an answer is told elsewhere.
      this.#queue = [];
    }
    this.#sending = false;
  }
}

/** A socket that publishes, and hears which topics others subscribe to. */
export class PublishingSocket {
  readonly socket: XPublisher;
  readonly #queue: SendQueue;
  readonly #onSubscription: (topic: Buffer, begins: boolean) => void;

  constructor(socket: XPublisher, onSubscription: (topic: Buffer, begins: boolean) => void) {
    this.socket = socket;
    this.#queue = new SendQueue(socket);
    this.#onSubscription = onSubscription;
  }

  /** From now on it hears of subscriptions, also of earlier ones. Not before it is bound: until then it must not receive. */
  listen(): void {
    void receiveAll(this.socket, ([frame]) => {
      if (frame !== undefined) this.#onSubscription(frame.subarray(1), frame[0] === SUBSCRIBE);
    });
  }

  publish(topic: string | Buffer, payload: string | Uint8Array): void {
    this.#queue.send([topic, payload]);
  }

  /** Forgets what was not sent yet. */
  clear(): void {
    this.#queue.clear();
  }

  close(): void {
    this.clear();
    if (!this.socket.closed) this.socket.close();
  }
}

/**
 * A socket that subscribes. It is an XSUB, whose subscriptions are sent: those of a SUB are socket options, and by a bug
 * of the package (6.8) setting one while a receive waits may swallow the wake-up for a message.
 */
export class SubscribingSocket {
  readonly socket: XSubscriber;
  readonly #queue: SendQueue;

  constructor(socket: XSubscriber, onMessage: (frames: readonly Buffer[]) => void) {
    this.socket = socket;
    this.#queue = new SendQueue(socket);
    void receiveAll(socket, onMessage);
  }

  /** To all topics that begin with this; as often as it is subscribed it must be unsubscribed. */
  subscribe(prefix: Buffer): void {
    this.#queue.send([Buffer.concat([Buffer.from([SUBSCRIBE]), prefix])]);
  }

  unsubscribe(prefix: Buffer): void {
    if (!this.socket.closed) this.#queue.send([Buffer.concat([Buffer.from([UNSUBSCRIBE]), prefix])]);
  }

  close(): void {
    this.#queue.clear();
    if (!this.socket.closed) this.socket.close();
  }
}

/** Hands over every message until the socket is closed. */
async function receiveAll(
  socket: XPublisher | XSubscriber,
  onMessage: (frames: readonly Buffer[]) => void,
): Promise<void> {
  try {
    while (!socket.closed) onMessage(await socket.receive());
  } catch (error) {
    // A receive that waits when the socket is closed fails; nothing else makes it fail.
    if (!socket.closed) throw error;
  }
}

/** What happens to the connections of a socket that connects, by endpoint. */
export interface LinkEvents {
  /** It is up. */
  onUp(endpoint: string): void;
  /** It was up and is lost. */
  onDown(endpoint: string): void;
  /** An attempt has failed; libzmq tries again by itself. */
  onFailure(endpoint: string, cause?: unknown): void;
}

/** Watches a socket's connections. */
export function watchLinks(socket: Socket, events: LinkEvents): void {
  socket.events.on('handshake', ({ address }) => events.onUp(address));
  socket.events.on('disconnect', ({ address }) => events.onDown(address));
  socket.events.on('close', ({ address }) => events.onFailure(address));
  socket.events.on('handshake:error:auth', ({ address, error }) => events.onFailure(address, error));
  socket.events.on('handshake:error:protocol', ({ address, error }) => events.onFailure(address, error));
  socket.events.on('handshake:error:other', ({ address, error }) => events.onFailure(address, error));
}
