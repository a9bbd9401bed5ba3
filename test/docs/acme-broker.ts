import { EventEmitter } from 'node:events';

/** The make-believe broker of docs/write-a-driver.md, within the process, with a client as real ones have. */
class Broker {
  readonly clients = new Set<Client>();
  up = true;

  deliver(topic: string, bytes: Uint8Array): void {
    for (const client of this.clients) client.receive(topic, bytes);
  }
}

const brokers = new Map<string, Broker>();

export function startBroker(address: string): void {
  const broker = brokers.get(address) ?? new Broker();
  broker.up = true;
  brokers.set(address, broker);
}

/** As a crash would: clients find out, and lose their subscriptions until they are back. */
export function stopBroker(address: string): void {
  const broker = brokers.get(address);
  if (broker === undefined) return;
  broker.up = false;
  for (const client of broker.clients) client.lose();
}

type Listener = (bytes: Uint8Array) => void;

/** Reconnects by itself once it was open, and then renews its subscriptions. */
export class Client extends EventEmitter {
  readonly #address: string;
  readonly #retryDelayMs: (attempt: number) => number;
  readonly #topics = new Map<string, Set<Listener>>();
  #broker: Broker | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(address: string, options: { retryDelayMs: (attempt: number) => number }) {
    super();
    this.#address = address;
    this.#retryDelayMs = options.retryDelayMs;
  }

  async open({ signal }: { signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    if (!this.#connect()) throw new Error(`nobody listens at ${this.#address}`);
  }

  async publish(topic: string, bytes: Uint8Array): Promise<void> {
    if (this.#broker === undefined) throw new Error('the connection is down');
    const broker = this.#broker;
    const copy = bytes.slice();
    await new Promise((resolve) => setImmediate(resolve));
    if (!broker.up) throw new Error('the connection was lost');
    broker.deliver(topic, copy);
  }

  async subscribe(topic: string, listener: Listener): Promise<{ end(): Promise<void> }> {
    if (this.#broker === undefined) throw new Error('the connection is down');
    const listeners = this.#topics.get(topic) ?? new Set();
    this.#topics.set(topic, listeners.add(listener));
    return {
      async end() {
        listeners.delete(listener);
      },
    };
  }

  receive(topic: string, bytes: Uint8Array): void {
    for (const listener of this.#topics.get(topic) ?? []) listener(bytes);
  }

  lose(): void {
    this.#broker?.clients.delete(this);
    this.#broker = undefined;
    this.emit('lost', new Error('the broker died'));
    this.#retry(0);
  }

  async end(): Promise<void> {
    clearTimeout(this.#timer);
    this.#broker?.clients.delete(this);
    this.#broker = undefined;
  }

  #connect(): boolean {
    const broker = brokers.get(this.#address);
    if (broker?.up !== true) return false;
    this.#broker = broker;
    broker.clients.add(this);
    return true;
  }

  #retry(attempt: number): void {
    this.#timer = setTimeout(() => {
      if (this.#connect()) this.emit('restored');
      else this.#retry(attempt + 1);
    }, this.#retryDelayMs(attempt));
  }
}
