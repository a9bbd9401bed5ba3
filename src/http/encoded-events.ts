import type { HubEvent } from '../hub/index.js';

/**
 * What events become on the wire, made once per event and shared by all who send it. The hub hands the very same event
 * to all subscribers of the same channels; the encoding is garbage when the event is.
 */
export class EncodedEvents {
  readonly #encode: (event: HubEvent) => Uint8Array;
  readonly #done = new WeakMap<HubEvent, Uint8Array>();

  constructor(encode: (event: HubEvent) => Uint8Array) {
    this.#encode = encode;
  }

  /** The bytes of an event. A message that has no JSON form becomes a gap: in memory anything can be published. */
  of(event: HubEvent): Uint8Array {
    let bytes = this.#done.get(event);
    if (bytes === undefined) {
      try {
        bytes = this.#encode(event);
      } catch (error) {
        const detail = error instanceof Error ? error.message : String(error);
        bytes = this.#encode({ channel: event.channel, gap: { reason: 'undecodable', missed: 1, detail } });
      }
      this.#done.set(event, bytes);
    }
    return bytes;
  }
}
