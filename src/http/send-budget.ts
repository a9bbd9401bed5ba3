import { SLICE_BYTES, turnBudget } from '../turn-budget.js';
import type { LargeEvent } from './encoded-events.js';

/** Default of `eventsSendBytesMax`. */
export const DEFAULT_EVENTS_SEND_BYTES_MAX = 64 * 1024 * 1024;

/** Who gets a large event. */
export interface EventTarget {
  /** Answers false when it has to catch up first. */
  write(piece: Uint8Array): boolean;
  /** Resolves when it has, or is gone. */
  drained(): Promise<void>;
  readonly isOpen: boolean;
  /** Ends the connection at once. */
  cut(): void;
}

/**
 * The large messages that are on their way to clients: each is in memory until the last of those who get it has all of it.
 * When they are too many bytes, whoever has taken nothing for the longest time is cut off: it can come back, and the others
 * are served meanwhile.
 */
export class SendBudget {
  readonly #bytesMax: number;
  /** By what was last taken, longest ago first. */
  readonly #targets = new Map<EventTarget, Uint8Array>();
  /** How many get each message. */
  readonly #messages = new Map<Uint8Array, number>();
  #bytes = 0;

  constructor(bytesMax = DEFAULT_EVENTS_SEND_BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  /** Sends a large event in pieces, and lets others have their turn in between. Resolves when it is out, or its client is gone. */
  async send(event: LargeEvent, target: EventTarget): Promise<void> {
    this.#begin(event.bytes, target);
    try {
      const text = await event.text();
      for (let at = 0; at < text.pieceCount; at++) {
        await turnBudget.take(SLICE_BYTES);
        if (!target.isOpen) return;
        if (!target.write(event.piece(text, at))) await target.drained();
        this.#moved(target, event.bytes);
      }
    } finally {
      this.#end(target);
    }
  }

  #begin(message: Uint8Array, target: EventTarget): void {
    const count = this.#messages.get(message) ?? 0;
    this.#messages.set(message, count + 1);
    if (count === 0) this.#bytes += message.length;
    for (const [slowest] of this.#targets) {
      if (this.#bytes <= this.#bytesMax) break;
      this.#end(slowest);
      slowest.cut();
    }
    this.#targets.set(target, message);
  }

  #moved(target: EventTarget, message: Uint8Array): void {
    if (this.#targets.delete(target)) this.#targets.set(target, message);
  }

  #end(target: EventTarget): void {
    const message = this.#targets.get(target);
    if (message === undefined) return;
    this.#targets.delete(target);
    const count = (this.#messages.get(message) ?? 0) - 1;
    if (count > 0) {
      this.#messages.set(message, count);
      return;
    }
    this.#messages.delete(message);
    this.#bytes -= message.length;
  }
}

/** For `sendEvents` and its twin where nobody gives them one. */
export const defaultSendBudget = new SendBudget();
