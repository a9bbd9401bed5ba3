/** The part of `nsqjs` (which has no types of its own) that the NSQ driver uses. */
declare module 'nsqjs' {
  import type { EventEmitter } from 'node:events';

  export interface ConnectionOptions {
    readonly authSecret?: string;
    readonly clientId?: string;
    /** Seconds. */
    readonly heartbeatInterval?: number;
    /** Seconds without a byte from nsqd after which the connection is given up. */
    readonly idleTimeout?: number;
    readonly tls?: boolean;
    readonly tlsVerification?: boolean;
    readonly ca?: Buffer;
    readonly cert?: Buffer;
    readonly key?: Buffer;
  }

  export interface Message {
    readonly body: Buffer;
    /** Nanoseconds since 1970, by the clock of the nsqd that took it. */
    readonly timestamp: bigint;
    finish(): void;
  }

  /** Events: `ready`, `message`, `error`, `connection_error`, `closed`. */
  export class NSQDConnection extends EventEmitter {
    constructor(host: string, port: number, topic: string, channel: string, options?: ConnectionOptions);
    readonly maxRdyCount: number;
    connect(): void;
    setRdy(count: number): void;
    close(): void;
    destroy(): void;
    clearIdentifyTimeout(): void;
    /** What IDENTIFY tells nsqd of this client. */
    identify(): object;
  }

  export class WriterNSQDConnection extends NSQDConnection {
    constructor(host: string, port: number, options?: ConnectionOptions);
    produceMessages(
      topic: string,
      messages: readonly Buffer[],
      deferMs: number | undefined,
      callback: (error: Error | null) => void,
    ): void;
  }
}
